/* What plays now goes on: bars that move by this clock, and levers that are not swept away in use. */
(function () {
  "use strict";
  function move() {
    document.querySelectorAll("progress[data-since]").forEach(function (bar) {
      bar.value = Math.max(0, Math.min(bar.max, Date.now() - Date.parse(bar.dataset.since)));
    });
  }
  setInterval(move, 500);
  document.body.addEventListener("htmx:afterSwap", move);
  move();
  /* A slider that somebody holds is not taken from under the hand. */
  document.body.addEventListener("htmx:beforeSwap", function (event) {
    var focus = document.activeElement;
    var live = event.detail.requestConfig && event.detail.requestConfig.verb === "get";
    if (live && focus && focus.matches("[data-volume]") && event.target.contains(focus)) event.detail.shouldSwap = false;
  });
})();
