// The interface of a source: something that fills the player's video element, and is sought by wall time.

import type { Span } from "../data/spans.js";

/** `edge`: the next part is still to be recorded. `handover`: another source must continue at `resumeAt`. */
export type Condition = "loading" | "edge" | "end" | "handover" | "failed";

/** Times are wall times in ms; only `media` is the video element's own time, in seconds. */
export interface PlaybackSource {
  readonly condition: Condition;
  readonly resumeAt: number;
  close(): void;
  /** True if this source can seek to `wall`. */
  reaches(wall: number): boolean;
  /** Fetches more if the buffer is low. Call it while the video plays. */
  poke(): void;
  wall(media: number): number;
  /** Returns the start of the next buffered range if the one at `media` is at its end; null otherwise. */
  after(media: number): number | null;
  /** Moves the video to `wall` or to the next recorded time. Resolves to false if there is none. */
  seek(wall: number): Promise<boolean>;
  /** Moves the video to the next key frame near `wall`, and fetches only its part. Resolves to null after the last. */
  showKeyFrame(wall: number): Promise<Span | null>;
}
