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
  document.body.addEventListener("change", function (event) {
    var input = event.target, most = Number(input.dataset.most);
    if (!most) return;
    var tooLarge = Array.prototype.some.call(input.files, function (file) { return file.size > most; });
    input.setCustomValidity(tooLarge ? input.dataset.tooLarge : "");
    input.reportValidity();
  });
  document.body.addEventListener("htmx:afterRequest", function (event) {
    var form = event.target;
    if (event.detail.successful && form.tagName === "FORM" && form.enctype === "multipart/form-data") form.reset();
  });
  /* What became of a lever is read, and then goes. */
  var reading = 0;
  document.body.addEventListener("htmx:afterSwap", function (event) {
    asked = Date.now();
    move();
    if (event.detail.requestConfig.verb !== "post") return;
    clearTimeout(reading);
    reading = setTimeout(function () { document.getElementById("here-said").textContent = ""; }, 8000);
  });
})();
