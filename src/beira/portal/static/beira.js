/* What the pages need of a browser besides htmx: live news, ticking times, small conveniences.
   Every page works without it; with it, pages keep themselves current. */
(function () {
  "use strict";
  var lang = document.body.dataset.lang || "pt-BR";
  var pt = lang === "pt-BR";

  /* Times: "há 30 s" goes on counting. Nothing is announced: it would never stop talking. */
  function span(seconds) {
    if (seconds < 60) return Math.max(0, Math.floor(seconds)) + " s";
    if (seconds < 3600) return Math.floor(seconds / 60) + " min";
    if (seconds < 86400) return Math.floor(seconds / 3600) + " h";
    var days = Math.floor(seconds / 86400);
    return days + (pt ? (days === 1 ? " dia" : " dias") : " d");
  }
  function tick() {
    var now = Date.now();
    document.querySelectorAll("time[data-ago]").forEach(function (el) {
      var seconds = (now - Date.parse(el.dateTime)) / 1000;
      var text = seconds < -5
        ? (pt ? "em " : "in ") + span(-seconds)
        : (pt ? "há " + span(Math.max(0, seconds)) : span(Math.max(0, seconds)) + " ago");
      if (el.textContent !== text) el.textContent = text;
    });
  }
  setInterval(tick, 1000);

  /* Live: one stream a page. What changed is named, and the parts that show it ask again. */
  var meta = document.querySelector('meta[name="beira-live"]');
  var pulse = document.getElementById("pulse");
  var source = null, failures = 0, timer = 0, everOpen = false, down = false;

  /* The first news at once, what follows at most every 0.7 s, and never without the last. */
  var told = {}, coming = {};
  function tell(name) {
    told[name] = Date.now();
    delete coming[name];
    document.body.dispatchEvent(new CustomEvent("live-" + name));
  }
  function fire(name) {
    var wait = (told[name] || 0) + 700 - Date.now();
    if (wait <= 0) tell(name);
    else if (!coming[name]) coming[name] = setTimeout(tell, wait, name);
  }
  function show(id, on) { var el = document.getElementById(id); if (el) el.hidden = !on; }
  function state(name) {
    if (!pulse) return;
    pulse.dataset.state = name;
    var text = pulse.querySelector(".pulse-text");
    text.textContent = text.dataset[name];
  }
  function outage(on) {
    down = on;
    show("outage", on && !document.body.hasAttribute("data-stale"));
  }
  function back() {
    outage(false);
    fire("back");
    if (document.body.hasAttribute("data-stale")) refreshMain();
  }
  function refreshMain() {
    htmx.ajax("GET", location.pathname + location.search, { target: "#main", select: "#main", swap: "outerHTML" })
      .then(function () {
        if (!document.querySelector("[data-outage], [data-retry]")) document.body.removeAttribute("data-stale");
      });
  }
  function listen() {
    clearTimeout(timer);
    source = new EventSource(meta.content);
    source.addEventListener("hello", function (event) {
      var again = everOpen;
      failures = 0; everOpen = true;
      show("unlinked", false);
      state("on");
      if (event.data === "down") outage(true);
      else if (again || document.body.hasAttribute("data-stale")) back();
    });
    source.addEventListener("live", function (event) {
      if (event.data === "outage") outage(true);
      else if (event.data === "back") back();
      else fire(event.data);
    });
    source.addEventListener("bye", function () { source.close(); location.reload(); });
    source.onerror = function () {
      failures += 1;
      if (failures > 1) { state("off"); show("unlinked", !document.body.hasAttribute("data-stale")); }
      if (source.readyState === EventSource.CLOSED) {
        timer = setTimeout(listen, Math.min(5000, 500 * Math.pow(2, failures)));
      }
    };
  }
  if (meta) {
    listen();
    addEventListener("pagehide", function () { if (source) source.close(); clearTimeout(timer); });
    addEventListener("pageshow", function (event) { if (event.persisted) listen(); });
  }

  /* A page that could not be shown tries again; the reader need do nothing. */
  function retry() {
    if (!document.querySelector("[data-retry]")) return;
    fetch(location.href, { headers: { "X-Beira": "retry" }, credentials: "same-origin" }).then(function (answer) {
      if (answer.ok && !answer.redirected) location.reload(); else setTimeout(retry, 3000);
    }, function () { setTimeout(retry, 3000); });
  }
  if (document.querySelector("[data-retry]")) setTimeout(retry, 2000);
  setInterval(function () {
    if (document.body.hasAttribute("data-stale") && !(source && source.readyState === EventSource.OPEN && down)) refreshMain();
  }, 4000);

  /* What a form sent by itself is answered: it may be sent again. */
  document.body.addEventListener("htmx:afterRequest", function (event) {
    var form = event.target.closest && event.target.closest("form");
    if (form) { delete form.dataset.sent; form.removeAttribute("aria-busy"); }
  });
  /* A part that answers 503 keeps what it shows. */
  document.body.addEventListener("htmx:responseError", function (event) {
    if (event.detail.xhr.status === 503 && meta) outage(true);
  });
  /* What was unfolded stays so when a part is renewed. */
  var unfolded = [];
  document.body.addEventListener("htmx:beforeSwap", function (event) {
    unfolded = Array.prototype.map.call(event.target.querySelectorAll("details[open][id]"), function (el) { return el.id; });
  });
  document.body.addEventListener("htmx:afterSwap", function () {
    unfolded.forEach(function (id) { var el = document.getElementById(id); if (el) el.open = true; });
    unfolded = [];
    tick(); plots();
  });

  /* Small conveniences. */
  function centre() {
    document.querySelectorAll(".subnav").forEach(function (nav) {
      var here = nav.querySelector("[aria-current]");
      if (here) nav.scrollLeft = here.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;
    });
  }
  centre();
  addEventListener("resize", centre);
  document.addEventListener("change", function (event) {
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
  });
  document.addEventListener("submit", function (event) {
    var form = event.target, question = form.dataset && form.dataset.confirm;
    if (question && !confirm(question)) { event.preventDefault(); return; }
    if (form.method === "post") {
      if (form.dataset.sent) { event.preventDefault(); return; }
      form.dataset.sent = "1";
      setTimeout(function () { delete form.dataset.sent; }, 4000);
      form.setAttribute("aria-busy", "true");
    }
  });
  function copyFrom(button) {
    var from = button.parentNode.querySelector("input, pre"), text = from.value || from.textContent;
    if (from.select) from.select(); else getSelection().selectAllChildren(from);
    (navigator.clipboard ? navigator.clipboard.writeText(text) : Promise.resolve(document.execCommand("copy")))
      .then(function () { button.textContent = button.dataset.copied; });
  }
  document.addEventListener("click", function (event) {
    var copy = event.target.closest("[data-copy]");
    if (copy) copyFrom(copy);
    if (event.target.closest("[data-print]")) print();
    document.querySelectorAll("details.menu[open], details.more[open]").forEach(function (open) {
      if (!open.contains(event.target)) open.removeAttribute("open");
    });
  });
  document.addEventListener("keydown", function (event) {
    if (event.key !== "Escape") return;
    document.querySelectorAll("details.menu[open], details.more[open]").forEach(function (open) {
      open.removeAttribute("open");
      open.querySelector("summary").focus();
    });
  });
  if (location.hash.length > 1) {
    var code = decodeURIComponent(location.hash.slice(1)).slice(0, 64);
    document.querySelectorAll("[data-code]").forEach(function (el) { el.textContent = code; });
    var given = document.querySelector('form:is([action="/join"], [action="/recover"]) input[name="code"]');
    if (given && !given.value) given.value = code;
  }
  if (location.search.indexOf("done=") >= 0 && history.replaceState) {
    var url = new URL(location.href);
    url.searchParams.delete("done");
    history.replaceState(null, "", url);
  }

  /* Plots: drawn from a table's data, in the theme's colours; the table stays for who cannot see. */
  function colour(name) { return getComputedStyle(document.body).getPropertyValue(name).trim(); }
  function plots() {
    if (!window.uPlot) return;
    document.querySelectorAll("figure[data-plot]:not([data-drawn])").forEach(function (figure) {
      var given = JSON.parse(figure.dataset.plot);
      figure.dataset.drawn = "1";
      draw(figure, given);
    });
  }
  function draw(figure, given) {
    var box = figure.querySelector(".plot"), ink = colour("--ink-soft"), line = colour("--line");
    box.textContent = "";
    var format = new Intl.NumberFormat(lang, { maximumFractionDigits: 1 });
    var series = [{ label: given.axis || (pt ? "hora" : "hour"), value: function (_, v) { return v === null ? "–" : given.labels[v]; } }].concat(given.series.map(function (one, index) {
      var stroke = colour(index === 0 ? "--accent" : "--accent-2");
      return {
        label: one.label, stroke: stroke, width: given.bars ? 0 : 2, fill: given.bars ? stroke : undefined,
        paths: given.bars ? uPlot.paths.bars({ size: [0.7, 28], radius: 0.25 }) : undefined,
        points: { show: !given.bars, size: 5, fill: stroke }, spanGaps: false,
        value: function (_, v) { return v === null ? "–" : format.format(v) + (given.unit || ""); }
      };
    }));
    var axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "12px Figtree, sans-serif" };
    figure._plot = new uPlot({
      width: Math.max(200, box.clientWidth), height: given.height || 190, legend: { live: true },
      cursor: { points: { size: 7 }, drag: { x: false, y: false } },
      scales: { x: { time: false, range: function (_, lo, hi) { return given.bars ? [lo - 0.6, hi + 0.6] : [lo - 0.2, hi + 0.2]; } }, y: { range: function (_, lo, hi) { return [0, Math.max(1, hi * 1.12)]; } } },
      axes: [
        Object.assign({}, axis, { grid: { show: false }, values: function (_, marks) { return marks.map(function (m) { return given.labels[m] === undefined ? "" : given.labels[m]; }); }, splits: function () { return given.x.filter(function (_, i) { return i % Math.ceil(given.x.length / (box.clientWidth / 58)) === 0; }); } }),
        Object.assign({}, axis, { size: 46, values: function (_, marks) { return marks.map(function (m) { return format.format(m); }); } })
      ],
      series: series
    }, [given.x].concat(given.series.map(function (one) { return one.values; })), box);
  }
  function redraw() {
    document.querySelectorAll("figure[data-drawn]").forEach(function (figure) {
      if (figure._plot) figure._plot.destroy();
      delete figure.dataset.drawn;
    });
    plots();
  }
  var resizing = 0;
  addEventListener("resize", function () { clearTimeout(resizing); resizing = setTimeout(redraw, 150); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  plots();
})();
