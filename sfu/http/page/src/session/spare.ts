// A connection made ahead, with the offer of one window: making both takes a browser longer than everything after.

export const CONFIGURATION = { bundlePolicy: "max-bundle", rtcpMuxPolicy: "require" } as const;

// Not while a new page awaits its first pictures.
const FIRST_AFTER_MS = 1_000;
// Nor those that the last one was for; soon enough for who looks from room to room.
const NEXT_AFTER_MS = 400;
// The addresses in the offer age, and a page may be open for days.
const RENEWED_AFTER_MS = 300_000;

/** Which kinds of section a window consists of, in this order. */
export const KINDS = ["video", "audio"] as const;

export class Spare {
  private connection: RTCPeerConnection | null = null;
  private timer = 0;

  /** `wanted`: whether there is ever to be one. An idle page is not to use STUN and TURN servers. */
  constructor(private readonly wanted: boolean) {
    addEventListener("online", () => this.renew(FIRST_AFTER_MS));
    this.renew(FIRST_AFTER_MS);
  }

  /** Another one is made later. Null while there is none. */
  take(): RTCPeerConnection | null {
    const { connection } = this;
    this.connection = null;
    this.renew(NEXT_AFTER_MS);
    return connection;
  }

  private renew(delay: number): void {
    this.connection?.close();
    this.connection = null;
    clearTimeout(this.timer);
    if (this.wanted) this.timer = window.setTimeout(() => void this.make(), delay);
  }

  private async make(): Promise<void> {
    const connection = new RTCPeerConnection(CONFIGURATION);
    KINDS.forEach((kind) => connection.addTransceiver(kind, { direction: "recvonly" }));
    try {
      await connection.setLocalDescription();
    } catch {
      connection.close();
      return;
    }
    // One may have been taken meanwhile, and the next one be due.
    clearTimeout(this.timer);
    this.connection = connection;
    this.timer = window.setTimeout(() => this.renew(0), RENEWED_AFTER_MS);
  }
}
