// The counter's page: push to talk or type; see and hear the answer; see what waits to be sent.
import { pushToTalk } from "./button.js";
import { enrolment } from "./enrol.js";
import { Line } from "./line.js";
import { Microphone } from "./microphone.js";
import { Player } from "./player.js";
import { followSync } from "./sync.js";
import { Talk } from "./talk.js";

const TURNS_KEPT = 60;
const byId = (id) => document.getElementById(id);
const text = JSON.parse(byId("text").textContent);
const fill = (template, values) => template.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
const seconds = new Intl.NumberFormat(document.documentElement.lang, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

let current = null; // the turn being answered: its bubble and its sound
const player = new Player({
  onFirst: () => line.send("sounding"),
  onEnd: () => line.send("silent"),
  onLevel: (level) => { if (document.body.dataset.state === "speaking") setLevel(level); },
});
const microphone = new Microphone((pcm, level) => { setLevel(level); line.sound(pcm); });
const line = new Line({ onEvent: receive, onSound: (piece) => player.push(piece), onOpen: () => {}, onAway: away });
const enrol = enrolment(text, fill, (type, more) => { player.unlock(); line.send(type, more); });

const talk = new Talk({
  microphone, line, onProblem: explain,
  onStart: () => { player.stop(); player.unlock(); byId("trouble").hidden = true; },
});
pushToTalk(byId("talk"), {
  begin: () => talk.press(), release: () => talk.stop(), tapped: () => { talk.tap(); labelButton(); },
});
byId("typing").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = byId("words").value.trim();
  if (words && say(words)) byId("words").value = "";
});
for (const button of document.querySelectorAll("[data-say]")) {
  button.addEventListener("click", () => say(button.dataset.say));
}
for (const button of document.querySelectorAll("[data-choice]")) {
  button.addEventListener("click", () => { player.unlock(); player.stop(); line.send("choice", { choice: button.dataset.choice }); });
}
byId("trouble-close").addEventListener("click", () => { byId("trouble").hidden = true; });
if (matchMedia("(max-width: 52rem)").matches) byId("examples").open = false;
followSync(text, fill);

function say(words) {
  player.unlock();
  player.stop();
  return line.send("text", { text: words });
}

function receive(event) {
  const handler = handlers[event.type];
  if (handler) handler(event);
}

const handlers = {
  state({ state }) { setState(state); },
  partial({ text: words }) { byId("partial").textContent = words; },
  heard({ text: words }) {
    clearTimeout(waits);
    byId("choices").hidden = true;
    byId("partial").textContent = "";
    if (words && !enrol.active) addTurn("you", words);
  },
  answer({ text: words, ok, choices, awaits, options = [] }) {
    current = addTurn("aurora", words, !ok);
    ask(choices, awaits, options);
  },
  trouble({ text: words }) { current = addTurn("aurora", words, true); },
  sound({ rate }) { player.begin(rate); if (current) keep(current, player.last); },
  "sound-end"() { player.end(); },
  hush() { player.stop(); },
  timings({ ms }) { if (current && ms.total > 0) note(current, took(ms.total)); },
  enrol(event) { enrol.event(event); },
};

let waits = 0; // the timer of the question that stands open

/** Show what a question can be answered with, for as long as the node waits for it. */
function ask(yesOrNo, awaits, options) {
  clearTimeout(waits);
  byId("options").replaceChildren(...options.map(option));
  for (const button of document.querySelectorAll("[data-choice]")) {
    button.hidden = button.dataset.choice !== "cancel" && !yesOrNo;
  }
  byId("choices").hidden = !awaits;
  if (awaits) waits = setTimeout(expired, Number(document.body.dataset.questionS) * 1000);
}

function option(label) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "choice option";
  button.textContent = label;
  button.addEventListener("click", () => say(label));
  return button;
}

function expired() {
  const focused = byId("choices").contains(document.activeElement);
  byId("choices").hidden = true;
  if (focused) byId("words").focus();
  addTurn("aurora", text.expired, true);
}

function setState(state) {
  if (state !== "listening" && document.body.dataset.state === "listening") talk.over();
  document.body.dataset.state = state;
  if (state === "listening") { byId("choices").hidden = true; byId("partial").textContent = ""; }
  const label = text[state] ?? text.idle;
  if (byId("state").textContent !== label) byId("state").textContent = label;
  byId("talk").setAttribute("aria-pressed", String(state === "listening"));
  labelButton();
  setLevel(0);
}

function labelButton() {
  const state = document.body.dataset.state;
  const listening = talk.mode === "tap" ? text.tap_end : text.release;
  byId("talk-text").textContent = { listening, speaking: text.interrupt }[state] ?? text.hold;
}

function setLevel(level) {
  document.documentElement.style.setProperty("--level", Math.min(1, Math.sqrt(level) * 1.2).toFixed(3));
}

function away() {
  talk.over();
  document.body.dataset.state = "away";
  byId("state").textContent = text.offline_page;
}

function explain({ code = "mic_failed", why = "" }) {
  byId("trouble-text").textContent = fill(text[code] ?? text.mic_failed, { why });
  byId("trouble").hidden = false;
}

function addTurn(who, words, troubled = false) {
  byId("empty").hidden = true;
  const item = document.createElement("li");
  item.className = `turn ${who}${troubled ? " trouble-turn" : ""}`;
  const speaker = document.createElement("span");
  speaker.className = "hidden";
  speaker.textContent = `${text[who]}: `;
  const said = document.createElement("p");
  said.append(speaker, words.replace(/R\$ (?=\d)/g, "R$\u00a0"));
  const footer = document.createElement("footer");
  footer.hidden = true;
  item.append(said, footer);
  byId("turns").append(item);
  while (byId("turns").children.length > TURNS_KEPT) byId("turns").firstChild.remove();
  if (who === "you" && innerHeight < 1000) byId("examples").open = false;
  follow();
  return item;
}

function follow() {
  const last = byId("turns").lastElementChild;
  if (last) requestAnimationFrame(() => last.scrollIntoView({ block: "end", behavior: "smooth" }));
}

function keep(turn, recording) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text.again;
  button.addEventListener("click", () => { player.unlock(); player.again(recording); });
  turn.querySelector("footer").prepend(button);
  turn.querySelector("footer").hidden = false;
  follow();
}

function took(ms) {
  return ms < 50 ? text.took_no_time : fill(text.took, { n: seconds.format(ms / 1000) });
}

function note(turn, words) {
  const span = document.createElement("span");
  span.textContent = words;
  turn.querySelector("footer").append(span);
  turn.querySelector("footer").hidden = false;
}
