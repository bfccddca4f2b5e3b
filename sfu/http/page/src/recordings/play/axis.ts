// A player's own time (seconds in its buffer) and the wall time it shows: the same pace, but small holes are closed. Pure.

import { GAP_MS } from "../data/spans.js";

/** A stretch of one segment in the buffer: `media` in seconds, `wall` in ms. */
interface Piece {
  media: number;
  wall: number;
  wallEnd: number;
  /** Of its segment. */
  began: number;
}

// Sound runs on a little past a cut between two segments.
const OVERLAP_MS = 200;

export class Axis {
  private pieces: Piece[] = [];

  /** `origin`: the wall time at 0. */
  constructor(private readonly origin: number) {}

  /** Forgets what the buffer held; the axis stays where it is. */
  clear(): void {
    this.pieces = [];
  }

  /** Notes that [start, end) goes into the buffer, of a segment that began at `began`; how far it is to be moved, in seconds. */
  put(start: number, end: number, began: number): number {
    const last = this.pieces.at(-1);
    const hole = last ? start - last.wallEnd : 0;
    if (last && last.began === began && Math.abs(hole) < GAP_MS) {
      last.wallEnd = end;
      return last.media - (last.wall - began) / 1_000;
    }
    const straight = (start - this.origin) / 1_000;
    const after = last ? last.media + (last.wallEnd - last.wall) / 1_000 : straight;
    // A cut is closed, so that playing does not stop at it; so is a clock that was set back. A gap stays.
    const closed = hole < -OVERLAP_MS || (hole > 0 && hole < GAP_MS);
    const media = closed ? after : Math.max(straight, after + Math.min(hole, 0) / 1_000);
    this.pieces.push({ media, wall: start, wallEnd: end, began });
    return media - (start - began) / 1_000;
  }

  wall(media: number): number {
    const piece = this.pieces.findLast((it) => it.media <= media + 0.001) ?? this.pieces[0];
    return piece ? Math.min(piece.wall + (media - piece.media) * 1_000, piece.wallEnd) : this.origin + media * 1_000;
  }

  /** Where `wall` lies in what was put, or null. */
  media(wall: number): number | null {
    const piece = this.pieces.findLast((it) => it.wall <= wall && wall < it.wallEnd);
    return piece ? piece.media + (wall - piece.wall) / 1_000 : null;
  }
}
