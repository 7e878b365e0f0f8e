// What waits to be sent and whether there is a link, told live by the node.
const LANES = ["critical", "important", "normal"];

export function followSync(text, fill) {
  const pill = document.getElementById("link");
  const label = document.getElementById("link-text");
  const list = document.getElementById("lanes");
  const queue = document.getElementById("queue");
  const show = (open) => { queue.hidden = !open; pill.setAttribute("aria-expanded", String(open)); };
  pill.addEventListener("click", () => show(queue.hidden));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") show(false); });
  document.addEventListener("click", (event) => { if (!event.target.closest(".top")) show(false); });

  const source = new EventSource("/balcao/sync");
  source.addEventListener("sync", (event) => draw(JSON.parse(event.data)));
  source.onerror = () => { pill.dataset.link = "unknown"; label.textContent = text.link_unknown; };
  addEventListener("pagehide", () => source.close());

  function draw(now) {
    const total = LANES.reduce((sum, lane) => sum + (now.lanes[lane]?.count ?? 0), 0);
    pill.dataset.link = now.link;
    label.textContent = fill(text[`link_${now.link}${total && now.link !== "unknown" ? "_waiting" : ""}`], { n: total });
    list.replaceChildren(...LANES.map((lane) => row(lane, now.lanes[lane] ?? { count: 0 })));
  }

  function row(lane, { count, oldest_s }) {
    const item = document.createElement("li");
    item.dataset.lane = count ? lane : "";
    const name = document.createElement("b");
    name.textContent = count ? `${text[`lane_${lane}`]} · ${count}` : text[`lane_${lane}`];
    const wait = document.createElement("span");
    wait.textContent = count ? fill(text.lane_wait, { t: age(oldest_s ?? 0) }) : text.lane_none;
    item.append(name, wait);
    return item;
  }

  function age(seconds) {
    if (seconds < 90) return fill(text.seconds, { n: Math.round(seconds) });
    if (seconds < 5400) return fill(text.minutes, { n: Math.round(seconds / 60) });
    return fill(text.hours, { n: Math.round(seconds / 3600) });
  }
}
