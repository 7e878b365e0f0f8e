/* Listening in the browser: one sound at a time, the button tells what a press will do. */
(function () {
  "use strict";
  var pt = (document.body.dataset.lang || "pt-BR") === "pt-BR";
  var sound = null, playing = "";

  function icons(button, on) {
    var path = button.querySelector("path");
    if (!button.dataset.play) button.dataset.play = path.getAttribute("d");
    path.setAttribute("d", on ? "M7.5 5v14M16.5 5v14" : button.dataset.play);
    button.setAttribute("aria-pressed", on ? "true" : "false");
  }
  function show() {
    document.querySelectorAll("[data-listen]").forEach(function (button) {
      icons(button, playing !== "" && button.dataset.listen === playing);
    });
  }
  function stop() {
    if (sound) { sound.pause(); sound.removeAttribute("src"); sound.load(); }
    playing = "";
    show();
  }
  function failed(button) {
    stop();
    button.title = pt ? "Não foi possível ouvir agora." : "It cannot be heard now.";
    button.classList.add("bad-ink");
  }
  function start(button) {
    if (!sound) {
      sound = new Audio();
      sound.addEventListener("ended", stop);
    }
    playing = button.dataset.listen;
    sound.src = playing;
    sound.onerror = function () { if (playing) failed(button); };
    sound.play().catch(function (error) { if (error.name !== "AbortError") failed(button); });
    show();
  }
  document.addEventListener("click", function (event) {
    var button = event.target.closest("[data-listen]");
    if (!button) return;
    if (playing === button.dataset.listen) stop(); else start(button);
  });
  document.body.addEventListener("htmx:afterSwap", show);
})();
