// Chooses a window's jitter buffer target: long enough for lost packets to be retransmitted in time. Pure.

/** What a window has received so far: counts since the start of its connection, times in ms. */
export interface PathStats {
  /** NACKs sent for lost packets. */
  nacks: number;
  freezes: number;
  /** Frames that arrived too late and were skipped. */
  dropped: number;
  /** To the server and back; null if the browser does not report it. */
  roundTrip: number | null;
  jitter: number;
}

// One round trip for NACK and retransmission, and half of one for jitter.
const ROUND_TRIPS_FACTOR = 1.5;
// Loss between camera and server is repaired there first. That time cannot be measured here.
const CAMERA_REPAIR_MS = 60;
const UNKNOWN_TRIP_MS = 100;
const MAX_TARGET_MS = 600;
const LATE_FACTOR = 1.25;
// A single lost packet now and then is not worth a delay.
const REPEATED_WITHIN_MS = 10_000;
const LOWER_AFTER_MS = 30_000;
// Slow enough that nobody notices the faster playback.
const LOWER_MS_PER_S = 15;
// The browser buffers about as much on its own.
const MIN_TARGET_MS = 40;

export class Cushion {
  /** Delay in ms; null leaves it to the browser. */
  target: number | null = null;

  private before: PathStats | null = null;
  private seenAt = 0;
  private lossAt = -Infinity;

  /** Returns the new `target`. Call it about once a second; `now` in ms of any one clock. */
  update(stats: PathStats, now: number): number | null {
    const { before, seenAt } = this;
    this.before = stats;
    this.seenAt = now;
    if (!before || stats.nacks < before.nacks) return this.target;
    if (stats.nacks > before.nacks)
      this.lost(stats, stats.freezes + stats.dropped > before.freezes + before.dropped, now);
    else if (this.target !== null && now - this.lossAt > LOWER_AFTER_MS)
      this.lower((LOWER_MS_PER_S * (now - seenAt)) / 1000);
    return this.target;
  }

  private lost(stats: PathStats, late: boolean, now: number): void {
    const repeated = now - this.lossAt < REPEATED_WITHIN_MS;
    this.lossAt = now;
    if (!repeated && this.target === null) return;
    const needed = ROUND_TRIPS_FACTOR * (stats.roundTrip ?? UNKNOWN_TRIP_MS) + 2 * stats.jitter + CAMERA_REPAIR_MS;
    const more = late ? LATE_FACTOR * (this.target ?? 0) : 0;
    // Never lower while packets are lost: each change of the delay changes the playback speed.
    this.target = Math.round(Math.min(MAX_TARGET_MS, Math.max(this.target ?? 0, needed, more)));
  }

  private lower(by: number): void {
    const left = Math.round((this.target ?? 0) - by);
    this.target = left < MIN_TARGET_MS ? null : left;
  }
}
