// Listening, from the press of the button to the end of the sentence, whoever says that it ended.
export class Talk {
  constructor({ microphone, line, onStart, onProblem }) {
    Object.assign(this, { microphone, line, onStart, onProblem });
    this.phase = "idle"; // opening: the microphone is not there yet; on: the node is listening
    this.mode = "hold";
    this.ending = false;
  }

  async press() {
    this.ending = this.phase === "on";
    if (this.phase !== "idle") return;
    this.phase = "opening";
    this.mode = "hold";
    this.onStart();
    try {
      await this.microphone.open();
    } catch (problem) {
      this.phase = "idle";
      this.onProblem(problem);
      return;
    }
    if (this.phase !== "opening") return;
    this.phase = "on";
    this.line.send("start", { rate: this.microphone.rate, mode: this.mode });
  }

  /** A short press: from here on the node hears when the sentence is over. */
  tap() {
    if (this.ending) { this.stop(); return; }
    this.mode = "tap";
    if (this.phase === "on") this.line.send("mode", { mode: "tap" });
  }

  /** A long press let go: what was to be said has been said. */
  stop() {
    if (this.phase === "on") this.line.send("stop");
    this.over();
  }

  over() {
    this.phase = "idle";
    this.ending = false;
    this.microphone.rest();
  }
}
