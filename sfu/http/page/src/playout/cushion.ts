// How long a window keeps pictures and sound before it shows them, so that what was lost comes again in time. Pure.

/** What has happened on a window's way so far: counts since its beginning, times in ms. */
export interface PathStats {
  /** Requests for lost packets. */
  nacks: number;
  freezes: number;
  /** Pictures that came too late: a later key frame could be shown without them. */
  dropped: number;
  /** To the server and back; null where the browser does not tell. */
  roundTrip: number | null;
  jitter: number;
}

// A packet is asked for after one way, sent again after the other one, and half of that again for a late one.
const TRIPS = 1.5;
// What was lost between the camera and the server is retransmitted there first; how long that takes nothing here tells.
const CAMERA_MS = 60;
const UNKNOWN_TRIP_MS = 100;
const MOST_MS = 600;
const MORE_FOR_WHAT_CAME_LATE = 1.25;
// One packet lost now and then is not worth a delay.
const TWICE_WITHIN_MS = 10_000;
const CLEAN_FOR_MS = 30_000;
// As slowly as nobody sees pictures run faster.
const LESS_MS_PER_S = 15;
// The browser keeps about as much by itself.
const NOT_WORTH_MS = 40;

export class Cushion {
  /** ms to keep; null leaves it to the browser. */
  target: number | null = null;

  private before: PathStats | null = null;
  private seenAt = 0;
  private lossAt = -Infinity;

  /** To be called about once a second with ms of any one clock; returns the new `target`. */
  update(way: PathStats, now: number): number | null {
    const { before, seenAt } = this;
    this.before = way;
    this.seenAt = now;
    if (!before || way.nacks < before.nacks) return this.target;
    if (way.nacks > before.nacks) this.lost(way, way.freezes + way.dropped > before.freezes + before.dropped, now);
    else if (this.target !== null && now - this.lossAt > CLEAN_FOR_MS)
      this.sink((LESS_MS_PER_S * (now - seenAt)) / 1000);
    return this.target;
  }

  private lost(way: PathStats, late: boolean, now: number): void {
    const again = now - this.lossAt < TWICE_WITHIN_MS;
    this.lossAt = now;
    if (!again && this.target === null) return;
    const needed = TRIPS * (way.roundTrip ?? UNKNOWN_TRIP_MS) + 2 * way.jitter + CAMERA_MS;
    const more = late ? MORE_FOR_WHAT_CAME_LATE * (this.target ?? 0) : 0;
    // Never less while packets are lost: each change of the delay is a change of the pictures' speed.
    this.target = Math.round(Math.min(MOST_MS, Math.max(this.target ?? 0, needed, more)));
  }

  private sink(by: number): void {
    const left = Math.round((this.target ?? 0) - by);
    this.target = left < NOT_WORTH_MS ? null : left;
  }
}
