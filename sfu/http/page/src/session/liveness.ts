// Detects a dead path to the server: no byte arrives for too long. `Silence` decides and is pure; `Watch` samples.

const SAMPLE_EVERY_MS = 200;
// Spreads the ICE restarts of all viewers after a short pause of the server.
const SPREAD_MS = 200;
const PROOF_MS = 1_500;

type Report = Record<string, unknown>;

export class Watch {
  private readonly timer: number;
  private busy = false;

  /** `connection` returns the one to watch; null while nothing is expected from it. `patience`: see `Silence`. */
  constructor(connection: () => RTCPeerConnection | null, patience: number, onSilent: () => void) {
    const silence = new Silence(patience + Math.random() * SPREAD_MS);
    this.timer = window.setInterval(() => {
      if (this.busy) return;
      this.busy = true;
      const present = connection();
      void arrived(present)
        .then((bytes) => silence.sample(bytes, present?.signalingState !== "stable", performance.now()) && onSilent())
        .finally(() => (this.busy = false));
    }, SAMPLE_EVERY_MS);
  }

  stop(): void {
    clearInterval(this.timer);
  }
}

/** Resolves to true as soon as a byte arrives at the connection, to false after 1.5 s without one. */
export async function receives(connection: RTCPeerConnection): Promise<boolean> {
  const before = (await arrived(connection)) ?? 0;
  for (let waited = 0; waited < PROOF_MS; waited += SAMPLE_EVERY_MS) {
    await new Promise((resolve) => window.setTimeout(resolve, SAMPLE_EVERY_MS));
    const bytes = await arrived(connection);
    if (bytes !== null && bytes > before) return true;
  }
  return false;
}

/** Returns the bytes received on all candidate pairs; null if the connection is not connected. */
async function arrived(connection: RTCPeerConnection | null): Promise<number | null> {
  if (connection?.connectionState !== "connected") return null;
  let bytes = 0;
  const reports = await connection.getStats();
  reports.forEach((report: Report) => {
    if (report.type === "candidate-pair") bytes += Number(report.bytesReceived) || 0;
  });
  return bytes;
}

const MAX_PATIENCE_MS = 6_000;
const PATIENCE_FACTOR = 2;
// A path that recovered on its own may do so again: it gets more time, for a while.
const RECOVERED_AFTER_MS = 30_000;

export class Silence {
  private bytes = -1;
  private heardAt = 0;
  private samples = 0;
  private reported = false;
  private reportedAt = -Infinity;
  private patience: number;

  /** `least`: ms without a byte after which the path is dead. The server always sends more often. */
  constructor(private readonly least: number) {
    this.patience = least;
  }

  /**
   * Takes the bytes received so far (null while nothing is expected) at `now` ms of any one clock. `restarting`: the
   * server has not answered the ICE restart yet. Returns true once for each silence that is too long.
   */
  sample(bytes: number | null, restarting: boolean, now: number): boolean {
    if (bytes === null || bytes !== this.bytes) {
      if (this.reported && restarting) this.patience = Math.min(MAX_PATIENCE_MS, this.patience * PATIENCE_FACTOR);
      this.bytes = bytes ?? -1;
      this.heardAt = now;
      this.samples = 0;
      this.reported = false;
      return false;
    }
    this.samples += 1;
    if (now - this.reportedAt > RECOVERED_AFTER_MS) this.patience = this.least;
    // In a page that was suspended, the first sample may be older than the bytes that arrived meanwhile.
    if (this.reported || this.samples < 2 || now - this.heardAt < this.patience) return false;
    this.reported = true;
    this.reportedAt = now;
    return true;
  }
}
