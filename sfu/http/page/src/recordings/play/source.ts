// What a player needs of whatever gives its video element pictures by wall time.

import type { Span } from "../data/spans.js";

/** `edge`: what comes next is yet to be recorded. `handover`: another source has to go on at `resumeAt`. */
export type Condition = "loading" | "edge" | "end" | "handover" | "failed";

/** Times are wall times in ms, but `media`, which is the video element's own in seconds. */
export interface PlaybackSource {
  readonly condition: Condition;
  readonly resumeAt: number;
  close(): void;
  /** Whether `wall` can be sought here. */
  reaches(wall: number): boolean;
  /** The video has moved on: more may be wanted. */
  poke(): void;
  wall(media: number): number;
  /** Where the video can go on when it has come to the end of what is buffered in one piece. */
  after(media: number): number | null;
  /** Moves the video to `wall` or the next recorded moment after it; false: nothing was recorded since. */
  seek(wall: number): Promise<boolean>;
  /** Moves the video to the first key frame from `wall` on, or near it, and fetches nothing else; null: none is left. */
  stride(wall: number): Promise<Span | null>;
}
