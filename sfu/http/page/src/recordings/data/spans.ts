// Spans of recorded time, in ms since 1970, and the gaps between them. Pure.

export interface Span {
  start: number;
  end: number;
}

export interface Segment extends Span {
  bytes: number;
  /** Relative to the page's root. */
  url: string;
  protected: boolean;
  /** True while it is being recorded: `end` still grows. */
  writing: boolean;
}

/** Shorter holes are cuts between two segments, which are skipped; longer ones are gaps, which are shown. */
export const GAP_MS = 1_000;

/** Returns the spans without a gap, in order. */
export function stretches(segments: readonly Span[]): Span[] {
  const found: Span[] = [];
  for (const { start, end } of segments) {
    const last = found.at(-1);
    if (last && start - last.end < GAP_MS) last.end = Math.max(last.end, end);
    else found.push({ start, end });
  }
  return found;
}

/** Returns the last span that contains `time`, or null. */
export function spanAt<T extends Span>(spans: readonly T[], time: number): T | null {
  return spans.findLast((span) => span.start <= time && time < span.end) ?? null;
}

/** Returns the start of the next (`step` 1) or previous (-1) span; null if there is none. */
export function neighbour(spans: readonly Span[], time: number, step: 1 | -1): number | null {
  if (step > 0) return spans.find((span) => span.start > time)?.start ?? null;
  // Like a CD player: first back to the start of this span, and from its first seconds to the one before.
  return spans.findLast((span) => span.start < time - 3_000)?.start ?? null;
}

/** Returns the approximate size of a clip of `span`, in bytes. */
export function bytesOf(segments: readonly Segment[], span: Span): number {
  let sum = 0;
  for (const { start, end, bytes } of segments) {
    const shared = Math.min(end, span.end) - Math.max(start, span.start);
    if (shared > 0) sum += (bytes * shared) / (end - start);
  }
  return sum;
}
