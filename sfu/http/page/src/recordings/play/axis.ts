// Maps the video element's time (seconds) to wall time (ms): the same pace, but small holes are closed. Pure.

import { GAP_MS } from "../data/spans.js";

/** A buffered piece of one segment: `media` in seconds, `wall` in ms. */
interface Piece {
  media: number;
  wall: number;
  wallEnd: number;
  /** Start of its segment. */
  began: number;
}

// Audio continues a little after a cut between two segments.
const OVERLAP_MS = 200;

export class Axis {
  private pieces: Piece[] = [];

  /** `origin`: the wall time at media time 0. */
  constructor(private readonly origin: number) {}

  /** Forgets all pieces; the origin stays. */
  clear(): void {
    this.pieces = [];
  }

  /** Adds the piece [start, end) of the segment that starts at `began`. Returns its timestamp offset, in seconds. */
  put(start: number, end: number, began: number): number {
    const last = this.pieces.at(-1);
    const hole = last ? start - last.wallEnd : 0;
    if (last && last.began === began && Math.abs(hole) < GAP_MS) {
      last.wallEnd = end;
      return last.media - (last.wall - began) / 1_000;
    }
    const straight = (start - this.origin) / 1_000;
    const after = last ? last.media + (last.wallEnd - last.wall) / 1_000 : straight;
    // A cut is closed, so that playback does not stop; so is a step back of the clock. A gap stays.
    const closed = hole < -OVERLAP_MS || (hole > 0 && hole < GAP_MS);
    const media = closed ? after : Math.max(straight, after + Math.min(hole, 0) / 1_000);
    this.pieces.push({ media, wall: start, wallEnd: end, began });
    return media - (start - began) / 1_000;
  }

  /** Returns the wall time shown at `media`. */
  wall(media: number): number {
    const piece = this.pieces.findLast((it) => it.media <= media + 0.001) ?? this.pieces[0];
    return piece ? Math.min(piece.wall + (media - piece.media) * 1_000, piece.wallEnd) : this.origin + media * 1_000;
  }

  /** Returns the media time of `wall`, or null if no piece contains it. */
  media(wall: number): number | null {
    const piece = this.pieces.findLast((it) => it.wall <= wall && wall < it.wallEnd);
    return piece ? piece.media + (wall - piece.wall) / 1_000 : null;
  }
}
