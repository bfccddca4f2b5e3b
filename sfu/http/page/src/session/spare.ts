// A connection with an offer, prepared in advance: making both takes longer than all later steps of a start.

export const CONFIGURATION = { bundlePolicy: "max-bundle", rtcpMuxPolicy: "require" } as const;

// Not while a new page waits for its first frames.
const FIRST_AFTER_MS = 1_000;
// After the first frames of the last one, but in time for a person who goes from room to room.
const NEXT_AFTER_MS = 400;
// Network addresses in the offer become outdated, and a page may stay open for days.
const MAX_AGE_MS = 300_000;

/** The media sections of one window, in this order. */
export const KINDS = ["video", "audio"] as const;

export class Spare {
  private connection: RTCPeerConnection | null = null;
  private timer = 0;

  /** `wanted` false: never prepares a connection, so that an idle page does not use STUN or TURN servers. */
  constructor(private readonly wanted: boolean) {
    addEventListener("online", () => this.replace(FIRST_AFTER_MS));
    this.replace(FIRST_AFTER_MS);
  }

  /** Returns the prepared connection, or null; a new one is prepared later. */
  take(): RTCPeerConnection | null {
    const { connection } = this;
    this.connection = null;
    this.replace(NEXT_AFTER_MS);
    return connection;
  }

  private replace(delay: number): void {
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
    // `take` may have started another timer meanwhile.
    clearTimeout(this.timer);
    this.connection = connection;
    this.timer = window.setTimeout(() => this.replace(0), MAX_AGE_MS);
  }
}
