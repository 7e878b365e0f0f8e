// Keeps each node's card current and works its network plug.
const EVERY_MS = 1000;

function show(state) {
  const card = document.getElementById(state.site);
  const plug = card.querySelector('[role="switch"]');
  plug.setAttribute("aria-checked", String(state.plugged));
  const net = card.querySelector(".net");
  const text = !state.lanes ? "O programa não responde" : state.plugged ? (state.connected ? "Na rede" : "Ligando…") : "Sem rede: o trabalho continua";
  if (net.textContent !== text) net.textContent = text;
  for (const [lane, held] of Object.entries(state.lanes ?? {})) {
    card.querySelector(`[data-lane="${lane}"]`).textContent = held.waiting;
  }
}

async function refresh() {
  try {
    const response = await fetch("/state");
    for (const state of await response.json()) show(state);
  } catch {
    for (const net of document.querySelectorAll(".net")) net.textContent = "A demonstração parou";
  }
  setTimeout(refresh, EVERY_MS);
}

for (const plug of document.querySelectorAll('[role="switch"]')) {
  plug.addEventListener("click", async () => {
    const response = await fetch(`/plug/${plug.dataset.site}`, { method: "POST" });
    show(await response.json());
  });
}
refresh();
