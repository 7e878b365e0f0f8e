// The browser's microphone: opened at the first push, kept for two minutes after the last.
const KEPT_MS = 120_000;

export class Microphone {
  constructor(onBlock) {
    this.onBlock = onBlock;
    this.context = null;
    this.stream = null;
    this.wanted = false;
    this.timer = 0;
  }

  get rate() { return this.context ? this.context.sampleRate : 16000; }

  /** Start giving blocks; throws {code, why} with a code of the page's texts. */
  async open() {
    this.wanted = true;
    clearTimeout(this.timer);
    if (!this.stream || !this.stream.active) await this.connect();
    if (this.context.state !== "running") await this.context.resume();
  }

  /** Stop giving blocks; the device is let go a little later. */
  rest() {
    this.wanted = false;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.close(), KEPT_MS);
  }

  close() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.context?.close();
    this.stream = this.context = null;
  }

  async connect() {
    if (!navigator.mediaDevices?.getUserMedia) throw { code: "mic_insecure" };
    this.close();
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        audio: { channelCount: 1, echoCancellation: true, noiseSuppression: false, autoGainControl: true },
      });
    } catch (error) {
      throw { code: CODES[error.name] ?? "mic_failed", why: error.message };
    }
    try {
      await this.listen(new AudioContext({ sampleRate: 16000 }));
    } catch {
      await this.listen(new AudioContext()); // where a context must have the device's own rate
    }
  }

  async listen(context) {
    await context.audioWorklet.addModule("/balcao/static/capture.js");
    const node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => { if (this.wanted) this.onBlock(data.pcm, data.level); };
    context.createMediaStreamSource(this.stream).connect(node);
    this.context = context;
  }
}

const CODES = {
  NotAllowedError: "mic_denied", SecurityError: "mic_insecure", NotFoundError: "mic_missing",
  OverconstrainedError: "mic_missing", NotReadableError: "mic_busy", AbortError: "mic_busy",
};
