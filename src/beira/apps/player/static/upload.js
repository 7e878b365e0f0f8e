/* Sending files to the library: many and large, each and all with their progress, by tus, so that a
   lost connection costs nothing that has arrived. What fails stays in the list with its reason. */
(function () {
  "use strict";
  var box = document.querySelector("[data-upload]");
  if (!box || !window.tus) return;
  var pt = (document.body.dataset.lang || "pt-BR") === "pt-BR";
  var AT_ONCE = 3, CHUNK_BYTES = 6 * 1024 * 1024, WAIT_MS = 4000, MOST = 5000;
  var sends = [], list = box.querySelector("[data-sends]"), kind = box.querySelector("#upload-kind");
  var bar = box.querySelector("[data-total]"), line = box.querySelector("[data-total-text]");
  var area = box.querySelector("[data-sending]"), clear = box.querySelector("[data-clear]"), said = "";

  function t(a, b) { return pt ? a : b; }
  function size(bytes) {
    var units = ["B", "kB", "MB", "GB"], unit = 0;
    while (bytes >= 1000 && unit < 3) { bytes /= 1000; unit += 1; }
    return new Intl.NumberFormat(pt ? "pt-BR" : "en", { maximumFractionDigits: unit ? 1 : 0 }).format(bytes) + " " + units[unit];
  }
  function part(tag, className, text) {
    var made = document.createElement(tag);
    if (className) made.className = className;
    if (text) made.textContent = text;
    return made;
  }

  /* One file: its row, and how far it is. State: waiting, sending, away, done, known, failed. */
  function Send(file) {
    this.file = file; this.state = "waiting"; this.sent = 0; this.kind = kind.value;
    this.row = part("li", "send");
    this.name = part("strong", "", file.name);
    this.note = part("span", "sub", size(file.size));
    this.bar = part("progress", "wide");
    this.bar.max = 1000; this.bar.value = 0;
    this.bar.setAttribute("aria-label", file.name);
    this.tools = part("span", "row send-tools");
    this.row.append(this.name, this.note, this.tools, this.bar);
    list.append(this.row);
  }
  Send.prototype.tell = function (state, note) {
    this.state = state;
    this.row.dataset.state = state;
    this.note.textContent = note;
    this.tools.textContent = "";
    this.bar.hidden = state === "done" || state === "known" || state === "failed";
    if (state === "failed") {
      this.tool(t("Tentar de novo", "Try again"), this.again);
      this.tool(t("Tirar da lista", "Drop it"), this.drop);
    } else if (state === "waiting" || state === "sending" || state === "away") {
      this.tool(t("Cancelar", "Cancel"), this.drop);
    }
    summary();
  };
  Send.prototype.tool = function (text, act) {
    var button = part("button", "button quiet small", text), send = this;
    button.type = "button";
    button.append(part("span", "hidden", " " + this.file.name));
    button.addEventListener("click", function () { act.call(send); });
    this.tools.append(button);
  };
  Send.prototype.again = function () { this.upload = null; this.tell("waiting", t("Na fila", "Waiting")); next(); };
  Send.prototype.drop = function () {
    if (this.upload) this.upload.abort(true).catch(function () {});
    clearTimeout(this.timer);
    this.row.remove();
    sends.splice(sends.indexOf(this), 1);
    summary(); next();
  };
  Send.prototype.start = function () {
    var send = this;
    this.tell("sending", t("Começando…", "Beginning…"));
    this.upload = new tus.Upload(this.file, {
      endpoint: box.dataset.upload, chunkSize: CHUNK_BYTES, retryDelays: [0, 500, 1500, 3000],
      headers: { "Beira-Form": box.dataset.csrf }, removeFingerprintOnSuccess: true,
      metadata: { filename: this.file.name, command: box.dataset.command, params: JSON.stringify({ kind: this.kind }) },
      fingerprint: function (file) {
        return Promise.resolve(["beira", file.name, file.size, file.lastModified, send.kind].join("-"));
      },
      onShouldRetry: function (error) { return !refused(error); },
      onProgress: function (sent, total) { send.progress(sent, total); },
      onSuccess: function () { send.done(); },
      onError: function (error) { send.failed(error); }
    });
    this.upload.findPreviousUploads().then(function (earlier) {
      if (earlier.length) send.upload.resumeFromPreviousUpload(earlier[0]);
      send.upload.start();
    });
  };
  Send.prototype.progress = function (sent, total) {
    this.sent = sent;
    this.bar.value = total ? Math.round(sent / total * 1000) : 1000;
    if (this.state !== "sending") this.tell("sending", "");
    this.note.textContent = size(sent) + " " + t("de", "of") + " " + size(total);
    summary();
  };
  /* Whole. What became of it is said in its receipt. */
  Send.prototype.done = function () {
    var send = this;
    this.sent = this.file.size;
    fetch(this.upload.url, { credentials: "same-origin" }).then(function (answer) {
      return answer.ok ? answer.json() : {};
    }).then(function (told) { send.settled(told.receipt); }, function () { send.settled(null); });
  };
  Send.prototype.settled = function (receipt) {
    var result = (receipt && receipt.result) || {};
    if (receipt && !receipt.ok) this.tell("failed", [receipt.message, receipt.hint].filter(Boolean).join(" "));
    else if (result.duplicate) this.tell("known", t("Já estava na biblioteca", "It was in the library already") + (result.title ? ": " + result.title : "") + ".");
    else this.tell("done", t("Enviada. A nuvem a prepara agora.", "Sent. The cloud makes it ready now."));
    next();
  };
  /* The server said no: trying again would not help. What lacks an answer is the link's fault. */
  function refused(error) {
    var status = error.originalResponse ? error.originalResponse.getStatus() : 0;
    return status >= 400 && status < 500 && status !== 409 && status !== 423 && status !== 429;
  }
  Send.prototype.failed = function (error) {
    var send = this;
    if (refused(error)) {
      this.tell("failed", reason(error.originalResponse));
      next();
      return;
    }
    this.tell("away", t("Sem ligação; continua sozinho de onde parou.", "No link; it goes on by itself from where it stopped."));
    this.timer = setTimeout(function () { if (send.state === "away") send.upload.start(); }, WAIT_MS);
  };
  function reason(response) {
    var told = {};
    try { told = JSON.parse(response.getBody()); } catch (error) { /* no JSON: the status must do */ }
    if (response.getStatus() === 401) return t("Sua sessão terminou: entre de novo e continue daqui.", "Your session ended: sign in again and go on from here.");
    return [told.message || told.error || (t("O servidor recusou", "The server refused it") + " (" + response.getStatus() + ")."), told.hint].filter(Boolean).join(" ");
  }

  function next() {
    var busy = sends.filter(function (s) { return s.state === "sending" || s.state === "away"; }).length;
    sends.filter(function (s) { return s.state === "waiting"; }).slice(0, Math.max(0, AT_ONCE - busy)).forEach(function (s) { s.start(); });
  }
  function count(state) { return sends.filter(function (s) { return s.state === state; }).length; }
  function summary() {
    var total = 0, sent = 0;
    sends.forEach(function (s) { if (s.state !== "failed") { total += s.file.size; sent += Math.min(s.sent, s.file.size); } });
    area.hidden = sends.length === 0;
    bar.value = total ? Math.floor(sent / total * 1000) : 0;
    var done = count("done") + count("known"), wrong = count("failed"), open = sends.length - done - wrong;
    bar.hidden = open === 0;
    clear.hidden = done === 0;
    var text = done + " " + t("de", "of") + " " + sends.length + " " + t("enviados", "sent");
    if (count("known")) text += " · " + count("known") + " " + t("já existiam", "were known");
    if (wrong) text += " · " + wrong + " " + t("com problema", "with a problem");
    if (count("away")) text += " · " + t("esperando a internet", "waiting for the link");
    if (text !== said) line.textContent = said = text;
  }
  function take(files) {
    files.slice(0, MOST - sends.length).forEach(function (file) {
      var send = new Send(file);
      sends.push(send);
      if (file.size === 0) send.tell("failed", t("O arquivo está vazio.", "The file is empty."));
      else send.tell("waiting", t("Na fila", "Waiting"));
    });
    next();
  }

  /* Folders come as entries, which give their files a hundred at a time. */
  function files(entry) {
    return new Promise(function (done) {
      if (entry.isFile) { entry.file(function (file) { done([file]); }, function () { done([]); }); return; }
      var reader = entry.createReader(), found = [];
      (function more() {
        reader.readEntries(function (entries) {
          if (!entries.length) { done(Promise.all(found).then(function (lists) { return lists.flat(); })); return; }
          entries.forEach(function (one) { found.push(files(one)); });
          more();
        }, function () { done([]); });
      })();
    });
  }
  var audible = /\.(mp3|flac|wav|m4a|ogg|opus|aac|aif|aiff|wma|mp4)$/i;
  var drop = box.querySelector("[data-drop]"), depth = 0;
  drop.addEventListener("dragenter", function (event) { event.preventDefault(); depth += 1; drop.classList.add("over"); });
  drop.addEventListener("dragleave", function () { depth -= 1; if (!depth) drop.classList.remove("over"); });
  drop.addEventListener("dragover", function (event) { event.preventDefault(); });
  drop.addEventListener("drop", function (event) {
    event.preventDefault();
    depth = 0; drop.classList.remove("over");
    var entries = Array.prototype.map.call(event.dataTransfer.items || [], function (item) {
      return item.webkitGetAsEntry && item.webkitGetAsEntry();
    }).filter(Boolean);
    if (!entries.length) { take(Array.from(event.dataTransfer.files)); return; }
    Promise.all(entries.map(files)).then(function (lists) {
      var all = lists.flat(), folders = entries.some(function (e) { return e.isDirectory; });
      take(folders ? all.filter(function (f) { return audible.test(f.name); }) : all);
    });
  });
  box.querySelector("#upload-files").addEventListener("change", function (event) {
    take(Array.from(event.target.files));
    event.target.value = "";
  });
  clear.addEventListener("click", function () {
    sends.filter(function (s) { return s.state === "done" || s.state === "known"; }).forEach(function (s) { s.drop(); });
  });
  addEventListener("online", function () {
    sends.forEach(function (s) { if (s.state === "away") { clearTimeout(s.timer); s.upload.start(); } });
  });
  addEventListener("beforeunload", function (event) {
    if (count("sending") + count("away") + count("waiting")) event.preventDefault();
  });
})();
