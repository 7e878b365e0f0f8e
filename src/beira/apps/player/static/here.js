/* The node's own page: the bar of what is heard moves on from where the player was when it was asked. */
(function () {
  "use strict";
  var asked = Date.now();
  function move() {
    document.querySelectorAll("progress[data-at]").forEach(function (bar) {
      bar.value = Math.min(bar.max, Number(bar.dataset.at) + Date.now() - asked);
    });
  }
  setInterval(move, 500);
  document.body.addEventListener("htmx:afterSwap", function () { asked = Date.now(); move(); });
})();
