// Runs beside the page: takes the microphone's samples in blocks of 40 ms, as int16, with their level.
class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Int16Array(Math.round(sampleRate / 25));
    this.filled = 0;
    this.loudest = 0;
  }
  process(inputs) {
    const channel = inputs[0][0];
    if (!channel) return true;
    for (const value of channel) {
      const clipped = Math.max(-1, Math.min(1, value));
      this.loudest = Math.max(this.loudest, Math.abs(clipped));
      this.block[this.filled++] = Math.round(clipped * 32767);
      if (this.filled === this.block.length) {
        this.port.postMessage({ pcm: this.block.buffer, level: this.loudest }, [this.block.buffer]);
        this.block = new Int16Array(Math.round(sampleRate / 25));
        this.filled = 0;
        this.loudest = 0;
      }
    }
    return true;
  }
}
registerProcessor("capture", Capture);
