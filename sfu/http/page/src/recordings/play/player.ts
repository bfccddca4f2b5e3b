// Plays a camera's recordings by wall time: any moment, any speed, over cuts and gaps by itself. Knows nothing of the screen.

import type { Camera } from "../data/catalogue.js";
import { NoParts } from "../data/part_reader.js";
import { GAP_MS, type Span } from "../data/spans.js";
import { FileSource } from "./file_source.js";
import { MseSource } from "./mse_source.js";
import type { PlaybackSource } from "./source.js";

export const SPEEDS = [1, 2, 4, 8, 16] as const;
export type Speed = (typeof SPEEDS)[number];

export type Status = "idle" | "loading" | "ready" | "gap" | "edge" | "end" | "failed";

const TICK_MS = 50;
const GAP_SHOWN_MS = 1_400;
// Sound that runs faster is no use to anybody.
const AUDIBLE = 2;
// Slower than this share of its speed, playing becomes striding.
const LEAST_PACE = 0.75;
const LATE_AFTER_MS = 2_000;
const STRIDE_MS = 80;
const HAVE_METADATA = 1;
const HAVE_FUTURE_DATA = 3;
const MAX_HANDOVERS = 20;

export class Player {
  readonly video: HTMLVideoElement;
  status: Status = "idle";
  playing = false;
  /** Key frames alone are shown, for the browser decodes no faster. */
  striding = false;
  /** What is being jumped over while the status is `gap`. */
  gap: Span | null = null;
  onChange: () => void = () => undefined;

  private source: PlaybackSource | null = null;
  private camera: Camera | null = null;
  private sought = 0;
  private seeks = 0;
  private handovers = 0;
  /** A moment was sought, and its first part is on its way, or never came. */
  private fetching = false;
  private pace: { since: number; wall: number } | null = null;
  private rate: Speed = 1;
  private silent = true;
  private readonly timer: number;

  constructor(video: HTMLVideoElement) {
    this.video = video;
    this.timer = window.setInterval(() => this.tick(), TICK_MS);
  }

  close(): void {
    clearInterval(this.timer);
    this.choose(null);
  }

  choose(camera: Camera | null): void {
    this.camera = camera;
    this.playing = false;
    this.drop();
    this.set("idle");
  }

  /** Wall time of the picture that is shown, or that is on its way. */
  get wall(): number {
    const { source, video } = this;
    return source && !this.fetching && !this.gap ? source.wall(video.currentTime) : this.sought;
  }

  get speed(): Speed {
    return this.rate;
  }

  set speed(speed: Speed) {
    this.rate = speed;
    this.pace = null;
    if (this.striding) void this.seek(this.wall);
    this.apply();
    this.onChange();
  }

  get muted(): boolean {
    return this.silent;
  }

  set muted(muted: boolean) {
    this.silent = muted;
    this.apply();
    this.onChange();
  }

  play(): void {
    this.playing = true;
    if (this.striding || this.status === "failed" || this.status === "end") void this.seek(this.wall);
    this.apply();
    this.onChange();
  }

  pause(): void {
    this.playing = false;
    this.video.pause();
    if (this.status === "gap" && this.gap) void this.seek(this.gap.end);
    this.onChange();
  }

  /** To `wall`, or to the next recorded moment after it. */
  async seek(wall: number): Promise<void> {
    if (!this.camera) return;
    if (!this.source?.reaches(wall) || this.source.condition === "handover" || this.video.error) this.thread(wall);
    const seek = (this.seeks += 1);
    this.sought = wall;
    this.gap = null;
    this.pace = null;
    this.striding = false;
    this.fetching = true;
    this.set("loading");
    try {
      const found = await this.found(wall);
      if (seek !== this.seeks) return;
      this.fetching = !found;
      if (!found) this.ended(seek);
      this.apply();
    } catch {
      if (seek !== this.seeks) return;
      if (!this.handOver()) this.set("failed");
    }
  }

  private async found(wall: number): Promise<boolean> {
    const { source, seeks } = this;
    try {
      return await source!.seek(wall);
    } catch (error) {
      if (!(error instanceof NoParts) || seeks !== this.seeks) throw error;
      source!.close();
      this.source = new FileSource(this.video, error.segment);
      return this.source.seek(wall);
    }
  }

  private thread(wall: number): void {
    this.drop();
    this.source = new MseSource(this.video, this.camera!, wall);
  }

  private drop(): void {
    this.seeks += 1;
    this.fetching = false;
    this.source?.close();
    this.source = null;
    this.video.removeAttribute("src");
    this.video.load();
  }

  private apply(): void {
    const { video } = this;
    video.defaultPlaybackRate = video.playbackRate = this.rate;
    video.muted = this.silent || this.rate > AUDIBLE;
    if (!this.playing || this.status === "gap") {
      video.pause();
      return;
    }
    void video.play().catch(() => {
      // Without a click no sound: play on in silence rather than not at all.
      if (video.paused && !video.muted && this.playing) this.muted = true;
    });
  }

  private tick(): void {
    const { source, video } = this;
    // What the video still shows is of before.
    if (!source || this.fetching || this.striding || this.status === "gap" || this.status === "failed") return;
    source.poke();
    if (video.seeking || video.readyState < 2) {
      if (this.status === "loading" && source.condition === "handover") this.handOver();
      else this.leaveHole(source);
      return;
    }
    if (this.playing && (video.ended || video.readyState < HAVE_FUTURE_DATA)) {
      this.starved(source);
      return;
    }
    this.handovers = 0;
    this.set("ready");
    if (this.playing && this.rate > AUDIBLE && this.late(performance.now())) void this.stride();
  }

  /** Whether the browser, or the way to it, has for two seconds not kept up with the speed. */
  private late(now: number): boolean {
    const { wall } = this;
    this.pace ??= { since: now, wall };
    const elapsed = now - this.pace.since;
    if (elapsed < LATE_AFTER_MS) return false;
    const late = wall - this.pace.wall < elapsed * this.rate * LEAST_PACE;
    this.pace = null;
    return late;
  }

  /** Shows key frames alone, as far apart as the speed wants them. */
  private async stride(): Promise<void> {
    const { source, seeks, rate } = this;
    this.striding = true;
    this.video.pause();
    let [since, from, end] = [performance.now(), this.wall, this.wall];
    const going = (): boolean => seeks === this.seeks && this.playing && this.rate === rate;
    try {
      while (going()) {
        const wall = from + (performance.now() - since) * rate;
        const part = await source!.stride(wall);
        if (!part) {
          this.ended(seeks);
          return;
        }
        const early = part.start - wall;
        if (part.start - end >= GAP_MS && early > 0) [since, from] = [performance.now(), part.start];
        else await sleep(Math.max(STRIDE_MS, early / rate));
        end = part.end;
      }
    } catch {
      if (seeks === this.seeks && !this.handOver()) this.set("failed");
    }
  }

  private ended(seeks: number): void {
    if (seeks !== this.seeks) return;
    this.playing = false;
    this.set("end");
    this.onChange();
  }

  /** A moment was sought of which there is no picture: pictures were lost, or come seconds apart. */
  private leaveHole(source: PlaybackSource): void {
    const next = this.video.readyState === HAVE_METADATA ? source.after(this.video.currentTime) : null;
    if (next !== null) this.video.currentTime = next;
  }

  /** The picture on the screen is the last that is buffered in one piece. */
  private starved(source: PlaybackSource): void {
    const { currentTime } = this.video;
    const next = source.after(currentTime);
    if (next !== null) {
      const hole = { start: source.wall(currentTime), end: source.wall(next) };
      if (hole.end - hole.start >= GAP_MS) this.showGap(hole, next);
      else this.video.currentTime = next;
    } else if (source.condition !== "handover" || !this.handOver()) {
      if (source.condition === "end") this.ended(this.seeks);
      else this.set(source.condition === "handover" ? "failed" : source.condition);
    }
  }

  private showGap(gap: Span, next: number): void {
    this.gap = gap;
    this.sought = gap.end;
    this.set("gap");
    this.apply();
    const seek = this.seeks;
    setTimeout(() => {
      if (seek !== this.seeks || this.status !== "gap") return;
      this.gap = null;
      this.video.currentTime = next;
      this.set("loading");
      this.apply();
    }, GAP_SHOWN_MS);
  }

  /** A file with other tracks needs a source buffer of its own; one that does not play even then is left out. */
  private handOver(): boolean {
    const { source } = this;
    if (source?.condition !== "handover") return false;
    if ((this.handovers += 1) > MAX_HANDOVERS) return false;
    void this.seek(source.resumeAt);
    return true;
  }

  private set(status: Status): void {
    if (this.status === status) return;
    this.status = status;
    this.onChange();
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
