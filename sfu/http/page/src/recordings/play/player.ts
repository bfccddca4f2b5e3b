// Plays a camera's recordings by wall time, at any speed, across cuts and gaps. Never touches the rest of the page.

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
// Faster speech cannot be understood.
const MAX_AUDIBLE_SPEED = 2;
// Below this share of the chosen speed, only key frames are shown.
const MIN_PACE_SHARE = 0.75;
const LATE_AFTER_MS = 2_000;
const KEY_FRAME_INTERVAL_MS = 80;
const HAVE_METADATA = 1;
const HAVE_FUTURE_DATA = 3;
const MAX_HANDOVERS = 20;

export class Player {
  status: Status = "idle";
  playing = false;
  /** True while only key frames are shown, because the browser cannot decode faster. */
  keyFramesOnly = false;
  /** The gap that is being skipped, while the status is `gap`. */
  gap: Span | null = null;

  private source: PlaybackSource | null = null;
  private camera: Camera | null = null;
  private sought = 0;
  private seeks = 0;
  private handovers = 0;
  /** True from a seek until its first part is there. */
  private fetching = false;
  private pace: { since: number; wall: number } | null = null;
  private rate: Speed = 1;
  private silent = true;
  private readonly timer: number;

  constructor(
    readonly video: HTMLVideoElement,
    private readonly onChange: () => void,
  ) {
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

  /** Returns the wall time of the frame that is shown, or is being fetched. */
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
    if (this.keyFramesOnly) void this.seek(this.wall);
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
    if (this.keyFramesOnly || this.status === "failed" || this.status === "end") void this.seek(this.wall);
    this.apply();
    this.onChange();
  }

  pause(): void {
    this.playing = false;
    this.video.pause();
    if (this.status === "gap" && this.gap) void this.seek(this.gap.end);
    this.onChange();
  }

  /** Moves to `wall`, or to the next recorded time. */
  async seek(wall: number): Promise<void> {
    if (!this.camera) return;
    if (!this.source?.reaches(wall) || this.source.condition === "handover" || this.video.error) this.openSource(wall);
    const seek = (this.seeks += 1);
    this.sought = wall;
    this.gap = null;
    this.pace = null;
    this.keyFramesOnly = false;
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

  private openSource(wall: number): void {
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
    video.muted = this.silent || this.rate > MAX_AUDIBLE_SPEED;
    if (!this.playing || this.status === "gap") {
      video.pause();
      return;
    }
    void video.play().catch(() => {
      // Browsers refuse to play sound before a click: continue muted.
      if (video.paused && !video.muted && this.playing) this.muted = true;
    });
  }

  private tick(): void {
    const { source, video } = this;
    // The video may still show a frame from before the seek.
    if (!source || this.fetching || this.keyFramesOnly || this.status === "gap" || this.status === "failed") return;
    source.poke();
    if (video.seeking || video.readyState < 2) {
      if (this.status === "loading" && source.condition === "handover") this.handOver();
      else this.skipHole(source);
      return;
    }
    if (this.playing && (video.ended || video.readyState < HAVE_FUTURE_DATA)) {
      this.starved(source);
      return;
    }
    this.handovers = 0;
    this.set("ready");
    if (this.playing && this.rate > MAX_AUDIBLE_SPEED && this.late(performance.now())) void this.showKeyFrames();
  }

  /** True if playback was slower than the chosen speed for two seconds. */
  private late(now: number): boolean {
    const { wall } = this;
    this.pace ??= { since: now, wall };
    const elapsed = now - this.pace.since;
    if (elapsed < LATE_AFTER_MS) return false;
    const late = wall - this.pace.wall < elapsed * this.rate * MIN_PACE_SHARE;
    this.pace = null;
    return late;
  }

  /** Shows only key frames, at the chosen speed. */
  private async showKeyFrames(): Promise<void> {
    const { source, seeks, rate } = this;
    this.keyFramesOnly = true;
    this.video.pause();
    let [since, from, end] = [performance.now(), this.wall, this.wall];
    const going = (): boolean => seeks === this.seeks && this.playing && this.rate === rate;
    try {
      while (going()) {
        const wall = from + (performance.now() - since) * rate;
        const part = await source!.showKeyFrame(wall);
        if (!part) {
          this.ended(seeks);
          return;
        }
        const early = part.start - wall;
        if (part.start - end >= GAP_MS && early > 0) [since, from] = [performance.now(), part.start];
        else await sleep(Math.max(KEY_FRAME_INTERVAL_MS, early / rate));
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

  /** Leaves a time without a frame: frames were lost, or are seconds apart. */
  private skipHole(source: PlaybackSource): void {
    const next = this.video.readyState === HAVE_METADATA ? source.after(this.video.currentTime) : null;
    if (next !== null) this.video.currentTime = next;
  }

  /** Continues after the end of a buffered range. */
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

  /** Continues with a new source: a file with other tracks needs one; a file that cannot be played is skipped. */
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
