// The part of a day that the bar shows, and how it is zoomed and moved; where its ticks stand. Pure.

import type { Span } from "../data/spans.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
export const NARROWEST = 2 * MINUTE;

const STEPS = [
  ...[5, 10, 30].map((count) => count * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((count) => count * MINUTE),
  ...[1, 2, 3, 4, 6].map((count) => count * HOUR),
];

/** `shown`, `factor` times as long, with `around` staying where it is; never more than `whole`, never too short. */
export function zoomed(shown: Span, whole: Span, factor: number, around: number): Span {
  const length = clamp((shown.end - shown.start) * factor, NARROWEST, whole.end - whole.start);
  const share = (around - shown.start) / (shown.end - shown.start);
  return within(around - share * length, length, whole);
}

export function moved(shown: Span, whole: Span, by: number): Span {
  return within(shown.start + by, shown.end - shown.start, whole);
}

/** `shown`, moved just so far that `time` is in it, an eighth from the edge. */
export function following(shown: Span, whole: Span, time: number): Span {
  const margin = (shown.end - shown.start) / 8;
  if (time > shown.end - margin / 4) return moved(shown, whole, time - shown.start - margin);
  if (time < shown.start) return moved(shown, whole, time - shown.start - margin);
  return shown;
}

/** Times of ticks at least `apart` ms from each other: whole hours or minutes of the day that begins at `midnight`. */
export function ticks(shown: Span, midnight: number, apart: number): { step: number; times: number[] } {
  const step = STEPS.find((each) => each >= apart) ?? 12 * HOUR;
  const times: number[] = [];
  for (let time = midnight + Math.ceil((shown.start - midnight) / step) * step; time <= shown.end; time += step)
    times.push(time);
  return { step, times };
}

/** The local day of `time`: 23 to 25 hours long. */
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
