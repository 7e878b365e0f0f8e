// Ten phrases read aloud, so that the node's model fits this person's voice better.
const byId = (id) => document.getElementById(id);

export function enrolment(text, fill, send) {
  const card = byId("enrol");
  const phrase = byId("enrol-phrase");
  const step = byId("enrol-step");
  const bar = byId("enrol-progress");
  let active = false;

  const reset = () => {
    active = false;
    phrase.textContent = text.enrol_intro;
    step.textContent = "";
    bar.value = 0;
    byId("enrol-start").hidden = false;
  };
  byId("enrol-open")?.addEventListener("click", () => { reset(); card.hidden = false; byId("enrol-start").focus(); });
  byId("enrol-start").addEventListener("click", () => send("enrol", { action: "start" }));
  byId("enrol-forget").addEventListener("click", () => send("enrol", { action: "forget" }));
  byId("enrol-stop").addEventListener("click", () => {
    if (active) send("enrol", { action: "stop" });
    reset();
    card.hidden = true;
  });

  return {
    get active() { return active; },
    event({ step: kind, n, of, text: words, before, after }) {
      card.hidden = false;
      active = kind === "phrase" || kind === "repeat" || kind === "learning";
      byId("enrol-start").hidden = active;
      if (kind === "phrase" || kind === "repeat") {
        bar.max = of;
        bar.value = n - 1;
        step.textContent = `${fill(text.enrol_of, { n, of })} · ${kind === "repeat" ? text.enrol_repeat : text.enrol_read}`;
        phrase.textContent = `“${words}”`;
      } else if (kind === "learning") {
        bar.value = bar.max;
        step.textContent = "";
        phrase.textContent = text.enrol_learning;
      } else if (kind === "done") {
        step.textContent = "";
        phrase.textContent = fill(after > before ? text.enrol_done : text.enrol_same, { before, after });
      } else if (kind === "forgotten") {
        phrase.textContent = text.enrol_forgotten;
      }
    },
  };
}
