// Plays speech as it streams in, piece after piece without gaps; keeps the last answer to be heard again.
const LEAD_S = 0.02;

export class Player {
  constructor({ onFirst, onEnd, onLevel }) {
    Object.assign(this, { onFirst, onEnd, onLevel });
    this.context = null;
    this.reset();
  }

  /** Must be called from a gesture once, or the browser stays mute. */
  async unlock() {
    this.context ??= new AudioContext();
    if (this.context.state === "suspended") await this.context.resume();
  }

  begin(rate) {
    this.stop();
    this.rate = rate;
    this.last = { rate, pieces: [] };
  }

  push(buffer) {
    if (!this.rate) return;
    this.last.pieces.push(buffer);
    this.schedule(buffer);
  }

  end() {
    this.complete = true;
    if (this.playing.size === 0) this.finished();
  }

  again(recording) {
    this.stop();
    this.rate = recording.rate;
    for (const piece of recording.pieces) this.schedule(piece);
    this.complete = true;
  }

  stop() {
    for (const source of this.playing ?? []) { source.onended = null; source.stop(); }
    this.reset();
  }

  reset() {
    this.playing = new Set();
    this.at = 0;
    this.rate = 0;
    this.complete = false;
    this.begun = false;
  }

  schedule(buffer) {
    const context = this.context;
    if (!context || buffer.byteLength < 2) return;
    const pcm = new Int16Array(buffer);
    const audio = context.createBuffer(1, pcm.length, this.rate);
    const channel = audio.getChannelData(0);
    let loudest = 0;
    for (let i = 0; i < pcm.length; i++) {
      channel[i] = pcm[i] / 32768;
      loudest = Math.max(loudest, Math.abs(channel[i]));
    }
    const source = context.createBufferSource();
    source.buffer = audio;
    source.connect(context.destination);
    this.at = Math.max(this.at, context.currentTime + LEAD_S);
    source.start(this.at);
    const delay = (this.at - context.currentTime) * 1000;
    if (!this.begun) setTimeout(() => this.onFirst(), delay);
    setTimeout(() => this.onLevel(loudest), delay);
    this.begun = true;
    this.at += audio.duration;
    this.playing.add(source);
    source.onended = () => {
      this.playing.delete(source);
      if (this.complete && this.playing.size === 0) this.finished();
    };
  }

  finished() {
    const begun = this.begun;
    this.reset();
    this.onLevel(0);
    if (begun) this.onEnd();
  }
}
