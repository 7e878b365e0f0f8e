/* Putting a list in order by dragging, with mouse or finger. The arrows beside do the same by keyboard. */
(function () {
  "use strict";
  var held = null;

  function rows(list) { return Array.prototype.filter.call(list.children, function (el) { return el.dataset.at !== undefined; }); }
  document.addEventListener("pointerdown", function (event) {
    var grip = event.target.closest("[data-grip]");
    if (!grip || event.button > 0) return;
    event.preventDefault();
    var row = grip.closest("[data-at]");
    held = { row: row, list: row.parentNode, pointer: event.pointerId };
    row.classList.add("held");
    grip.setPointerCapture(event.pointerId);
  });
  document.addEventListener("pointermove", function (event) {
    if (!held || event.pointerId !== held.pointer) return;
    var before = rows(held.list).find(function (el) {
      var box = el.getBoundingClientRect();
      return el !== held.row && event.clientY < box.top + box.height / 2;
    });
    if (before !== held.row.nextElementSibling) held.list.insertBefore(held.row, before || null);
    if (event.clientY > innerHeight - 60) scrollBy(0, 14);
    else if (event.clientY < 100) scrollBy(0, -14);
  });
  function release(event) {
    if (!held || event.pointerId !== held.pointer) return;
    var row = held.row, list = held.list;
    held = null;
    row.classList.remove("held");
    var to = Number(list.dataset.from) + rows(list).indexOf(row);
    if (String(to) === row.dataset.at) return;
    htmx.ajax("POST", list.dataset.order, {
      target: "#tracks", swap: "innerHTML settle:0ms",
      values: { csrf: list.dataset.csrf, part: "yes", asset: row.dataset.asset, at: row.dataset.at, to: to, from: list.dataset.from }
    });
  }
  document.addEventListener("pointerup", release);
  document.addEventListener("pointercancel", release);

  /* After an arrow was pressed the focus goes with the track: at once (settle:0ms), or a second press
     of the key would move another. */
  var follow = "";
  document.body.addEventListener("htmx:beforeRequest", function (event) {
    var button = document.activeElement;
    follow = "";
    if (!button || !button.closest || !button.closest(".track-tools")) return;
    var way = button.id.split("-")[0];
    if (way === "up" || way === "down") follow = way + "-" + button.value;
    else follow = "out-" + (button.form.elements.at || {}).value;
  });
  document.body.addEventListener("htmx:afterSettle", function () {
    if (!follow) return;
    var button = document.getElementById(follow);
    if (button && button.disabled) button = document.getElementById(follow.replace(/^up|^down/, function (w) { return w === "up" ? "down" : "up"; }));
    follow = "";
    if (button) button.focus();
  });
})();
