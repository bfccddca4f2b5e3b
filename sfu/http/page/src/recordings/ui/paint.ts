// Draws the timeline: the whole day small on top, below it the ticks and the part that is shown. Never handles events.

import type { Segment, Span } from "../data/spans.js";
import { clock } from "./format.js";
import { ticks } from "./scale.js";

/** Vertical positions are CSS pixels from the top. */
export const OVERVIEW = { top: 2, bottom: 10 };
const LABELS = 29;
export const LANE = { top: 38, bottom: 74 };
export const HEIGHT = 84;
const LABEL_APART = 68;

export interface Picture {
  width: number;
  day: Span;
  shown: Span;
  segments: readonly Segment[];
  stretches: readonly Span[];
  position: number | null;
  hover: number | null;
  clip: Span | null;
  now: number;
}

export interface Colours {
  lane: string;
  future: string;
  recorded: string;
  writing: string;
  protected: string;
  text: string;
  line: string;
  head: string;
  clip: string;
}

export function paint(pen: CanvasRenderingContext2D, picture: Picture, colours: Colours): void {
  pen.clearRect(0, 0, picture.width, HEIGHT);
  overview(pen, picture, colours);
  labels(pen, picture, colours);
  lane(pen, picture, colours);
  if (picture.clip) clip(pen, picture, picture.clip, colours);
  const x = across(picture, picture.shown);
  if (picture.hover !== null) upright(pen, x(picture.hover), LANE.top - 4, LANE.bottom + 4, 1, colours.text);
  if (picture.position !== null) head(pen, x(picture.position), colours);
}

function across({ width }: Picture, span: Span): (time: number) => number {
  return (time) => ((time - span.start) / (span.end - span.start)) * width;
}

function overview(pen: CanvasRenderingContext2D, picture: Picture, colours: Colours): void {
  const x = across(picture, picture.day);
  const { top, bottom } = OVERVIEW;
  box(pen, 0, top, picture.width, bottom, 4, colours.lane);
  for (const { start, end } of picture.stretches) {
    box(pen, x(start), top + 2, Math.max(x(start) + 1.5, x(end)), bottom - 2, 1, colours.recorded);
  }
  const { shown } = picture;
  if (shown.end - shown.start < picture.day.end - picture.day.start - 1) {
    pen.strokeStyle = colours.head;
    pen.lineWidth = 1.5;
    pen.beginPath();
    round(
      pen,
      x(shown.start) + 0.75,
      top - 1.25,
      Math.max(5, x(shown.end) - x(shown.start) - 1.5),
      bottom - top + 2.5,
      4,
    );
    pen.stroke();
  }
}

function labels(pen: CanvasRenderingContext2D, picture: Picture, colours: Colours): void {
  const x = across(picture, picture.shown);
  const length = picture.shown.end - picture.shown.start;
  const { step, times } = ticks(picture.shown, picture.day.start, (length / picture.width) * LABEL_APART);
  pen.font = "12px system-ui, sans-serif";
  pen.textAlign = "center";
  for (const time of times) {
    const at = x(time);
    pen.fillStyle = colours.line;
    pen.fillRect(Math.round(at), LANE.top - 5, 1, 4);
    pen.fillStyle = colours.text;
    if (at > 18 && at < picture.width - 18) pen.fillText(clock(time, step < 60_000), at, LABELS);
  }
}

function lane(pen: CanvasRenderingContext2D, picture: Picture, colours: Colours): void {
  const x = across(picture, picture.shown);
  pen.save();
  pen.beginPath();
  round(pen, 0, LANE.top, picture.width, LANE.bottom - LANE.top, 8);
  pen.clip();
  pen.fillStyle = colours.lane;
  pen.fillRect(0, LANE.top, picture.width, LANE.bottom - LANE.top);
  pen.fillStyle = colours.future;
  if (picture.now < picture.shown.end)
    pen.fillRect(Math.max(0, x(picture.now)), LANE.top, picture.width, LANE.bottom - LANE.top);
  for (const { start, end } of picture.stretches) {
    box(pen, x(start), LANE.top, Math.max(x(start) + 2, x(end)), LANE.bottom, 3, colours.recorded);
  }
  for (const segment of picture.segments) details(pen, x(segment.start), x(segment.end), segment, colours);
  pen.restore();
}

function details(pen: CanvasRenderingContext2D, from: number, to: number, segment: Segment, colours: Colours): void {
  if (segment.protected) {
    pen.fillStyle = colours.protected;
    pen.fillRect(from, LANE.bottom - 5, Math.max(2, to - from), 5);
  }
  // The end of a file, if files are wide enough to see it.
  if (to - from > 24) upright(pen, to, LANE.top, LANE.bottom, 1, colours.lane);
  if (segment.writing) upright(pen, to - 1.5, LANE.top, LANE.bottom, 3, colours.writing);
}

function clip(pen: CanvasRenderingContext2D, picture: Picture, { start, end }: Span, colours: Colours): void {
  const x = across(picture, picture.shown);
  const [from, to] = [x(start), x(end)];
  pen.globalAlpha = 0.5;
  pen.fillStyle = colours.future;
  pen.fillRect(0, LANE.top, from, LANE.bottom - LANE.top);
  pen.fillRect(to, LANE.top, picture.width - to, LANE.bottom - LANE.top);
  pen.globalAlpha = 1;
  pen.fillStyle = colours.clip;
  pen.fillRect(from, LANE.top - 3, to - from, 3);
  pen.fillRect(from, LANE.bottom, to - from, 3);
  for (const [at, side] of [
    [from, -1],
    [to, 1],
  ] as const) {
    box(pen, Math.min(at, at + side * 9), LANE.top - 3, Math.max(at, at + side * 9), LANE.bottom + 3, 3, colours.clip);
    upright(pen, at + side * 4.5, LANE.top + 12, LANE.bottom - 12, 1.5, "#000a");
  }
}

function head(pen: CanvasRenderingContext2D, x: number, colours: Colours): void {
  upright(pen, x, LANE.top - 6, LANE.bottom + 8, 2, colours.head);
  pen.fillStyle = colours.head;
  pen.beginPath();
  pen.arc(x, LANE.top - 5, 5, 0, 2 * Math.PI);
  pen.fill();
}

function upright(
  pen: CanvasRenderingContext2D,
  x: number,
  top: number,
  bottom: number,
  width: number,
  colour: string,
): void {
  pen.fillStyle = colour;
  pen.fillRect(x - width / 2, top, width, bottom - top);
}

function box(
  pen: CanvasRenderingContext2D,
  left: number,
  top: number,
  right: number,
  bottom: number,
  radius: number,
  colour: string,
): void {
  pen.fillStyle = colour;
  pen.beginPath();
  round(pen, left, top, right - left, bottom - top, Math.min(radius, (right - left) / 2));
  pen.fill();
}

function round(
  pen: CanvasRenderingContext2D,
  x: number,
  y: number,
  width: number,
  height: number,
  radius: number,
): void {
  // Safari before 16 has square corners only.
  if ("roundRect" in pen) pen.roundRect(x, y, width, height, radius);
  else (pen as CanvasRenderingContext2D).rect(x, y, width, height);
}
