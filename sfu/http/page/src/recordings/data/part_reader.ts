// The parts of a camera's recordings in order, from any moment on: across playlists, gaps, and the growing end.

import { type Camera, parts, Refused, segments } from "./catalogue.js";
import type { Part } from "./playlist.js";
import { GAP_MS, type Segment } from "./spans.js";

const PAGE_MS = 120_000;
// How far a playlist reaches into the time to come, which a growing segment moves into.
const AHEAD_MS = 10_000;
const POLL_MS = 1_000;
const KNOWN_MS = 100;
const HOUR = 3_600_000;
// How far it looks for what follows a gap, step by step.
const FAR = [HOUR, 24 * HOUR, 30 * 24 * HOUR, 400 * 24 * HOUR];

/** Thrown when a segment has no parts to read: it can only be played as a whole file. */
export class NoParts extends Error {
  constructor(readonly segment: Segment) {
    super(`${segment.url} has no parts`);
  }
}

export class PartReader {
  /** Everything there is has been handed out, and the recorder is at work: more comes. */
  onEdge: () => void = () => undefined;

  private queue: Part[] = [];
  private last: Part | null = null;

  constructor(
    private readonly camera: Camera,
    private until: number,
    private readonly signal: AbortSignal,
  ) {}

  /** The next part that ends after `from`, waiting for it if it is yet to be written; null after the last. */
  async next(from = -Infinity): Promise<Part | null> {
    for (;;) {
      this.queue = this.queue.filter((part) => part.end > from);
      const part = this.queue.shift();
      if (part) return (this.last = part);
      this.until = Math.max(this.until, from);
      if (!(await this.more())) return null;
    }
  }

  /** Looks for parts from `until` on; false when none will ever come. */
  private async more(): Promise<boolean> {
    const start = this.until;
    const end = Math.max(start + 1, Math.min(start + PAGE_MS, Date.now() + AHEAD_MS));
    // With a little of what is known already, an edge answers with that and not with an error.
    const since = this.last?.end === start ? start - KNOWN_MS : start;
    const found = await parts(this.camera, { start: since, end }, this.signal).catch(noneWhenMissing);
    this.queue = found.filter((part) => this.follows(part));
    if ((this.queue[0]?.start ?? Infinity) - start >= GAP_MS && (await this.skipped(start, found))) return true;
    if (this.queue.length > 0) {
      this.until = Math.max(this.queue.at(-1)!.end, start + 1);
      return true;
    }
    return this.jump(start, end);
  }

  /** Whether a segment begins later on that no playlist knows, for it has no parts; it throws when that one is here. */
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
    for (const far of FAR) {
      const later = await segments(this.camera, { start, end: start + far });
      const following = later.find((segment) => segment.end > end);
      if (following) this.until = Math.max(following.start, end);
      else if (later.some((segment) => segment.writing)) await this.pause();
      else continue;
      return true;
    }
    return false;
  }

  /** Playlists begin at the key frame before what was asked for: some of it may have been handed out. */
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
