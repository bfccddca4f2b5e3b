// The timeline of a day: a canvas, operated by mouse, touch and wheel. Reports times; never plays.

import { element } from "../../ui/dom.js";
import { type Segment, type Span, stretches } from "../data/spans.js";
import { SHORTEST_MS } from "./clip.js";
import { clock } from "./format.js";
import { type Colours, HEIGHT, LANE, OVERVIEW, paint } from "./paint.js";
import { clamp, dayOf, following, moved, zoomed } from "./scale.js";

const GRIP_PX = 14;
const MIN_CLIP_SHARE = 0.12;
const ZOOM_PER_PX_RATIO = 0.0016;

type Drag = "scrub" | "overview" | "start" | "end" | "pinch";

export interface BarListener {
  /** The position was dragged to `time`; `done`: the pointer was released. */
  scrub(time: number, done: boolean): void;
  /** The pointer is over `time`, `x` pixels from the left; null when it has left. */
  hover(time: number | null, x: number): void;
  /** An edge of the clip was dragged. */
  clipChanged(clip: Span): void;
}

export class Bar {
  readonly node: HTMLElement;
  readonly slider: HTMLCanvasElement;

  day = dayOf(Date.now());
  shown = this.day;
  private segments: readonly Segment[] = [];
  private recorded: Span[] = [];
  private position: number | null = null;
  private hover: number | null = null;
  private chosen: Span | null = null;
  private readonly pointers = new Map<number, number>();
  private drag: Drag | null = null;
  private frame = 0;

  constructor(private readonly listener: BarListener) {
    this.slider = element("canvas", {
      class: "bar-canvas",
      tabindex: "0",
      role: "slider",
      "aria-label": "Time",
      pointerdown: (event) => this.down(event as PointerEvent),
      pointermove: (event) => this.move(event as PointerEvent),
      pointerup: (event) => this.up(event as PointerEvent),
      pointercancel: (event) => this.up(event as PointerEvent),
      pointerleave: () => this.point(null, 0),
    });
    this.slider.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.node = element("div", { class: "timeline" }, this.slider);
    new ResizeObserver(() => this.draw()).observe(this.node);
  }

  get scrubbing(): boolean {
    return this.drag === "scrub";
  }

  show(day: Span, segments: readonly Segment[]): void {
    if (day.start !== this.day.start) this.shown = day;
    this.day = day;
    this.segments = segments;
    this.recorded = stretches(segments);
    this.draw();
  }

  /** Shows `time` as the position of the video. `follow`: moves the shown part along with it. */
  moveTo(time: number | null, follow: boolean): void {
    this.position = time;
    if (time !== null && follow && !this.drag) this.shown = following(this.shown, this.day, time);
    this.slider.setAttribute("aria-valuemin", String(Math.round(this.day.start / 1_000)));
    this.slider.setAttribute("aria-valuemax", String(Math.round(this.day.end / 1_000)));
    this.slider.setAttribute("aria-valuenow", String(Math.round((time ?? this.day.start) / 1_000)));
    this.slider.setAttribute("aria-valuetext", time === null ? "no time chosen" : clock(time));
    this.draw();
  }

  set clip(clip: Span | null) {
    this.chosen = clip;
    this.draw();
  }

  zoom(factor: number, around = this.position ?? (this.shown.start + this.shown.end) / 2): void {
    this.shown = zoomed(this.shown, this.day, factor, around);
    this.draw();
  }

  /** Zooms in until `span` is wide enough to drag its edges. */
  reveal(span: Span): void {
    const wide = (this.x(span.end) - this.x(span.start)) / this.slider.clientWidth;
    if (wide < MIN_CLIP_SHARE) this.zoom((wide / MIN_CLIP_SHARE) * (2 / 3), (span.start + span.end) / 2);
  }

  private x(time: number): number {
    return ((time - this.shown.start) / (this.shown.end - this.shown.start)) * this.slider.clientWidth;
  }

  private time(x: number, span = this.shown): number {
    return span.start + (clamp(x, 0, this.slider.clientWidth) / this.slider.clientWidth) * (span.end - span.start);
  }

  private down(event: PointerEvent): void {
    if (event.button !== 0) return;
    this.slider.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event.offsetX);
    this.drag = this.pointers.size > 1 ? "pinch" : this.grip(event.offsetX, event.offsetY);
    this.follow(event.offsetX, false);
  }

  private grip(x: number, y: number): Drag {
    if (y < OVERVIEW.bottom + 6) return "overview";
    const { chosen } = this;
    if (chosen && y > LANE.top - 6) {
      const [from, to] = [x - this.x(chosen.start), x - this.x(chosen.end)];
      if (Math.abs(to) < GRIP_PX && Math.abs(to) <= Math.abs(from)) return "end";
      if (Math.abs(from) < GRIP_PX) return "start";
    }
    return "scrub";
  }

  private move(event: PointerEvent): void {
    const before = this.pointers.get(event.pointerId);
    if (before === undefined) {
      this.point(this.time(event.offsetX), event.offsetX);
      return;
    }
    if (this.drag === "pinch") this.pinch(event.pointerId, before, event.offsetX);
    this.pointers.set(event.pointerId, event.offsetX);
    if (this.drag !== "pinch") this.follow(event.offsetX, false);
  }

  private up(event: PointerEvent): void {
    if (!this.pointers.delete(event.pointerId) || this.pointers.size > 0) return;
    const { drag } = this;
    if (drag === "scrub" && event.type === "pointerup") this.listener.scrub(this.time(event.offsetX), true);
    this.drag = null;
    if (event.pointerType !== "mouse") this.point(null, 0);
  }

  private follow(x: number, done: boolean): void {
    const time = this.time(x);
    const { drag, chosen } = this;
    if (drag === "overview") {
      const half = (this.shown.end - this.shown.start) / 2;
      this.shown = moved(this.shown, this.day, this.time(x, this.day) - half - this.shown.start);
      this.draw();
    } else if (drag === "scrub") {
      this.point(time, x);
      this.listener.scrub(time, done);
    } else if (chosen && drag === "start") {
      this.listener.clipChanged({ start: Math.min(time, chosen.end - SHORTEST_MS), end: chosen.end });
    } else if (chosen && drag === "end") {
      this.listener.clipChanged({ start: chosen.start, end: Math.max(time, chosen.start + SHORTEST_MS) });
    }
  }

  /** Zooms so that each of two fingers stays at its time. */
  private pinch(id: number, before: number, after: number): void {
    const other = [...this.pointers].find(([pointer]) => pointer !== id)?.[1];
    if (other === undefined) return;
    const factor = clamp(Math.abs(before - other) / Math.max(1, Math.abs(after - other)), 0.5, 2);
    this.zoom(factor, this.time(other));
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      this.shown = moved(
        this.shown,
        this.day,
        (sideways / this.slider.clientWidth) * (this.shown.end - this.shown.start),
      );
      this.draw();
    } else {
      this.zoom(Math.exp(event.deltaY * ZOOM_PER_PX_RATIO), this.time(event.offsetX));
    }
    this.point(this.time(event.offsetX), event.offsetX);
  }

  private point(time: number | null, x: number): void {
    this.hover = time;
    this.listener.hover(time, x);
    this.draw();
  }

  draw(): void {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.drawNow();
    });
  }

  private drawNow(): void {
    const { slider } = this;
    const width = slider.clientWidth;
    const pen = slider.getContext("2d");
    if (!pen || width === 0) return;
    const ratio = devicePixelRatio || 1;
    if (slider.width !== Math.round(width * ratio)) {
      slider.width = Math.round(width * ratio);
      slider.height = HEIGHT * ratio;
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const { day, shown, segments, position, hover, chosen } = this;
    const picture = {
      width,
      day,
      shown,
      segments,
      stretches: this.recorded,
      position,
      hover,
      clip: chosen,
      now: Date.now(),
    };
    paint(pen, picture, colours(slider));
  }
}

function colours(node: Element): Colours {
  const style = getComputedStyle(node);
  const of = (name: string): string => style.getPropertyValue(name);
  return {
    lane: of("--lane"),
    future: of("--future"),
    recorded: of("--recorded"),
    writing: of("--bad"),
    protected: of("--kept"),
    text: of("--quiet"),
    line: of("--line"),
    head: of("--text"),
    clip: of("--kept"),
  };
}
