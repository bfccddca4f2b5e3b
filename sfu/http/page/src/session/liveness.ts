// Decides when the path to the server is dead: no byte has come for too long. `Silence` decides and is pure; `Watch` asks the browser.

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
        .then((bytes) => silence.sample(bytes, present?.signalingState !== "stable", performance.now()) && onSilent())
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

const MOST_MS = 6_000;
const MORE = 2;
// A way that came to life again by itself may do so again: it is given longer then.
const FORGOTTEN_AFTER_MS = 30_000;

export class Silence {
  private bytes = -1;
  private heardAt = 0;
  private looks = 0;
  private told = false;
  private toldAt = -Infinity;
  private patience: number;

  /** `patience`: ms without a byte that the server, even one whose cameras all stand still, never lets pass. */
  constructor(private readonly least: number) {
    this.patience = least;
  }

  /**
   * `bytes` that came so far, at `now` ms of any one clock; null while nothing is expected. `mending`: the server has
   * not answered yet to what was done about it. Returns true once for each silence that is too long.
   */
  sample(bytes: number | null, mending: boolean, now: number): boolean {
    if (bytes === null || bytes !== this.bytes) {
      if (this.told && mending) this.patience = Math.min(MOST_MS, this.patience * MORE);
      this.bytes = bytes ?? -1;
      this.heardAt = now;
      this.looks = 0;
      this.told = false;
      return false;
    }
    this.looks += 1;
    if (now - this.toldAt > FORGOTTEN_AFTER_MS) this.patience = this.least;
    // A page that was asleep looks once before what came meanwhile is counted.
    if (this.told || this.looks < 2 || now - this.heardAt < this.patience) return false;
    this.told = true;
    this.toldAt = now;
    return true;
  }
}
