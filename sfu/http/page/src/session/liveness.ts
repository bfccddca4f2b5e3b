// Looks several times a second whether anything still comes over a connection, and says when its way seems to be dead.

import { Silence } from "./silence.js";

const EVERY_MS = 200;
// All viewers of a server that paused for a moment would come in one moment.
const SPREAD_MS = 200;

type Report = Record<string, unknown>;

export class Watch {
  private readonly timer: number;
  private looking = false;

  /** `connection` whose way is looked after: null while nothing is to be expected of any. */
  constructor(connection: () => RTCPeerConnection | null, patience: number, onSilent: () => void) {
    const silence = new Silence(patience + Math.random() * SPREAD_MS);
    this.timer = window.setInterval(() => {
      if (this.looking) return;
      this.looking = true;
      const present = connection();
      void arrived(present)
        .then((bytes) => silence.look(bytes, present?.signalingState !== "stable", performance.now()) && onSilent())
        .finally(() => (this.looking = false));
    }, EVERY_MS);
  }

  stop(): void {
    clearInterval(this.timer);
  }
}

/** Bytes of media and reports, by all ways that the connection has. */
async function arrived(connection: RTCPeerConnection | null): Promise<number | null> {
  if (connection?.connectionState !== "connected") return null;
  let bytes = 0;
  const reports = await connection.getStats();
  reports.forEach((report: Report) => {
    if (report.type === "candidate-pair") bytes += Number(report.bytesReceived) || 0;
  });
  return bytes;
}
