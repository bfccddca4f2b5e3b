// Reads the parts of a camera's recordings in order, from any time on: across playlists, gaps and the growing end.

import { type Camera, parts, Refused, segments } from "./catalogue.js";
import type { Part } from "./playlist.js";
import { GAP_MS, type Segment } from "./spans.js";

const PAGE_MS = 120_000;
// How far a playlist reaches into the future, for a segment that still grows.
const AHEAD_MS = 10_000;
const POLL_MS = 1_000;
const OVERLAP_MS = 100;
const HOUR = 3_600_000;
// How far to look for the end of a gap, step by step.
const LOOK_AHEAD_MS = [HOUR, 24 * HOUR, 30 * 24 * HOUR, 400 * 24 * HOUR];

/** Thrown when a segment has no parts to read: it can only be played as a whole file. */
export class NoParts extends Error {
  constructor(readonly segment: Segment) {
    super(`${segment.url} has no parts`);
  }
}

export class PartReader {
  private queue: Part[] = [];
  private last: Part | null = null;

  /** Starts at `until`. Calls `onEdge` when all parts were returned and the recorder still writes. */
  constructor(
    private readonly camera: Camera,
    private until: number,
    private readonly signal: AbortSignal,
    private readonly onEdge: () => void,
  ) {}

  /** Returns the next part that ends after `from`, waiting until it is written; null after the last. */
  async next(from = -Infinity): Promise<Part | null> {
    for (;;) {
      this.queue = this.queue.filter((part) => part.end > from);
      const part = this.queue.shift();
      if (part) return (this.last = part);
      this.until = Math.max(this.until, from);
      if (!(await this.more())) return null;
    }
  }

  /** Requests parts from `until` on. Returns false if there are no more. */
  private async more(): Promise<boolean> {
    const start = this.until;
    const end = Math.max(start + 1, Math.min(start + PAGE_MS, Date.now() + AHEAD_MS));
    // Includes a bit of the last part: with nothing to list, the server would answer with an error.
    const since = this.last?.end === start ? start - OVERLAP_MS : start;
    const found = await parts(this.camera, { start: since, end }, this.signal).catch(noneWhenMissing);
    this.queue = found.filter((part) => this.follows(part));
    if ((this.queue[0]?.start ?? Infinity) - start >= GAP_MS && (await this.skipped(start, found))) return true;
    if (this.queue.length > 0) {
      this.until = Math.max(this.queue.at(-1)!.end, start + 1);
      return true;
    }
    return this.jump(start, end);
  }

  /** Returns true if a segment without parts follows, and continues there. Throws NoParts if it is at `start`. */
  private async skipped(start: number, found: readonly Part[]): Promise<boolean> {
    const end = this.queue[0]?.start ?? start + GAP_MS;
    const listed = await segments(this.camera, { start, end });
    const whole = listed.find(
      (it) => !it.writing && it.end - start >= GAP_MS && !found.some((part) => part.url.endsWith(it.url)),
    );
    if (!whole) return false;
    if (whole.start <= start) throw new NoParts(whole);
    this.queue = [];
    this.until = whole.start;
    return true;
  }

  private async jump(start: number, end: number): Promise<boolean> {
    for (const far of LOOK_AHEAD_MS) {
      const later = await segments(this.camera, { start, end: start + far });
      const following = later.find((segment) => segment.end > end);
      if (following) this.until = Math.max(following.start, end);
      else if (later.some((segment) => segment.writing)) await this.pause();
      else continue;
      return true;
    }
    return false;
  }

  /** A playlist starts at the key frame before the requested time: its first parts may have been returned before. */
  private follows(part: Part): boolean {
    const { last } = this;
    if (!last) return true;
    return part.url === last.url ? part.offset > last.offset : part.start > last.start;
  }

  private async pause(): Promise<void> {
    this.onEdge();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    this.signal.throwIfAborted();
  }
}

function noneWhenMissing(error: unknown): Part[] {
  if (error instanceof Refused && error.status === 404) return [];
  throw error;
}
