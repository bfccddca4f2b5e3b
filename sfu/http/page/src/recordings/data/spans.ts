// What was recorded when: wall times in ms since 1970, and what lies between. Pure.

export interface Span {
  start: number;
  end: number;
}

export interface Segment extends Span {
  bytes: number;
  /** Relative to the page's root. */
  url: string;
  protected: boolean;
  /** The recorder is at it: its end moves on. */
  writing: boolean;
}

/** Holes shorter than this are cuts between two segments; longer ones are gaps, and shown. */
export const GAP_MS = 1_000;

/** The stretches without a gap, in order. */
export function stretches(segments: readonly Span[]): Span[] {
  const found: Span[] = [];
  for (const { start, end } of segments) {
    const last = found.at(-1);
    if (last && start - last.end < GAP_MS) last.end = Math.max(last.end, end);
    else found.push({ start, end });
  }
  return found;
}

export function spanAt<T extends Span>(spans: readonly T[], time: number): T | null {
  return spans.findLast((span) => span.start <= time && time < span.end) ?? null;
}

/** The start of the stretch after (`way` 1) or before (-1) the one that holds `time`; null where there is none. */
export function neighbour(spans: readonly Span[], time: number, way: 1 | -1): number | null {
  if (way > 0) return spans.find((span) => span.start > time)?.start ?? null;
  // Like a CD player: the first press goes back to this one's start, the second to the one before.
  return spans.findLast((span) => span.start < time - 3_000)?.start ?? null;
}

/** Bytes that a clip of `span` takes, about. */
export function bytesOf(segments: readonly Segment[], span: Span): number {
  let sum = 0;
  for (const { start, end, bytes } of segments) {
    const shared = Math.min(end, span.end) - Math.max(start, span.start);
    if (shared > 0) sum += (bytes * shared) / (end - start);
  }
  return sum;
}
