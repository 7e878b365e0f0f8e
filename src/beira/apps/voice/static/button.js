// One button for two habits: hold it while speaking, or tap it and be heard to the end of the sentence.
const TAP_MS = 350;

export function pushToTalk(button, { begin, release, tapped }) {
  let since = 0;
  let down = false;

  const press = () => {
    if (down) return;
    down = true;
    since = performance.now();
    begin();
  };
  const lift = () => {
    if (!down) return;
    down = false;
    if (performance.now() - since < TAP_MS) tapped();
    else release();
  };

  button.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    button.setPointerCapture(event.pointerId);
    press();
  });
  button.addEventListener("pointerup", lift);
  button.addEventListener("pointercancel", lift);
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  button.addEventListener("click", (event) => { if (event.detail === 0 && !down) { press(); lift(); } });

  const ours = (event) => event.code === "Space" && (event.target === button
    || !event.target.closest("input, textarea, button, summary, a, select"));
  addEventListener("keydown", (event) => {
    if (!ours(event)) return;
    event.preventDefault();
    if (!event.repeat) press();
  });
  addEventListener("keyup", (event) => { if (ours(event)) { event.preventDefault(); lift(); } });
  addEventListener("blur", lift);
}
