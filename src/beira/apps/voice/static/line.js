// The page's line to the node: events and sound both ways, opened again whenever it breaks.
const RETRY_MS = [300, 800, 2000, 4000];

export class Line {
  constructor({ onEvent, onSound, onOpen, onAway }) {
    Object.assign(this, { onEvent, onSound, onOpen, onAway });
    this.failures = 0;
    this.connect();
  }

  get open() { return this.socket?.readyState === WebSocket.OPEN; }

  send(type, more = {}) {
    if (this.open) this.socket.send(JSON.stringify({ type, ...more }));
    return this.open;
  }

  sound(buffer) { if (this.open) this.socket.send(buffer); }

  connect() {
    const url = new URL("/balcao/ws", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("lang", document.documentElement.lang);
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => { this.failures = 0; this.onOpen(); };
    this.socket.onmessage = ({ data }) => {
      if (typeof data === "string") this.onEvent(JSON.parse(data));
      else this.onSound(data);
    };
    this.socket.onclose = () => {
      this.onAway();
      setTimeout(() => this.connect(), RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)]);
    };
  }
}
