// Zooms and moves the part of a day that the timeline shows, and places its ticks. Pure.

import type { Span } from "../data/spans.js";

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
export const SHORTEST_MS = 2 * MINUTE_MS;

const STEPS = [
  ...[5, 10, 30].map((count) => count * SECOND_MS),
  ...[1, 2, 5, 10, 15, 30].map((count) => count * MINUTE_MS),
  ...[1, 2, 3, 4, 6].map((count) => count * HOUR_MS),
];

/** Returns `shown` made `factor` times as long, with `around` at its place; at most `whole`, at least 2 minutes. */
export function zoomed(shown: Span, whole: Span, factor: number, around: number): Span {
  const length = clamp((shown.end - shown.start) * factor, SHORTEST_MS, whole.end - whole.start);
  const share = (around - shown.start) / (shown.end - shown.start);
  return within(around - share * length, length, whole);
}

export function moved(shown: Span, whole: Span, by: number): Span {
  return within(shown.start + by, shown.end - shown.start, whole);
}

/** Returns `shown`, moved if necessary so that `time` is in it, an eighth from its edge. */
export function following(shown: Span, whole: Span, time: number): Span {
  const margin = (shown.end - shown.start) / 8;
  if (time > shown.end - margin / 4) return moved(shown, whole, time - shown.start - margin);
  if (time < shown.start) return moved(shown, whole, time - shown.start - margin);
  return shown;
}

/** Returns times of ticks, at least `apart` ms apart: full hours or minutes of the day that starts at `midnight`. */
export function ticks(shown: Span, midnight: number, apart: number): { step: number; times: number[] } {
  const step = STEPS.find((each) => each >= apart) ?? 12 * HOUR_MS;
  const times: number[] = [];
  for (let time = midnight + Math.ceil((shown.start - midnight) / step) * step; time <= shown.end; time += step)
    times.push(time);
  return { step, times };
}

/** Returns the local day that contains `time`: 23 to 25 hours long. */
export function dayOf(time: number): Span {
  const day = new Date(time);
  const midnight = (shift: number): number =>
    new Date(day.getFullYear(), day.getMonth(), day.getDate() + shift).getTime();
  return { start: midnight(0), end: midnight(1) };
}

export function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}

function within(start: number, length: number, whole: Span): Span {
  const first = clamp(start, whole.start, whole.end - length);
  return { start: first, end: first + length };
}
