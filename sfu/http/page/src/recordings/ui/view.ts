// The recordings of one camera at a time: video, timeline, day and clip. Makes these parts and connects them.

import { ChevronLeft, ZoomIn, ZoomOut } from "lucide";

import { element } from "../../ui/dom.js";
import { icon, iconButton } from "../../ui/icons.js";
import { type Camera, cameras, type Recorded, Refused, segments, setProtected } from "../data/catalogue.js";
import { neighbour, type Segment, type Span, spanAt, stretches } from "../data/spans.js";
import { supported } from "../play/mse_source.js";
import { Player } from "../play/player.js";
import { Bar } from "./bar.js";
import { CameraChoice } from "./camera_choice.js";
import { Card } from "./card.js";
import { Clip } from "./clip.js";
import { Controls } from "./controls.js";
import { Days } from "./days.js";
import { clock, dayName } from "./format.js";
import { type Actions, pressKey, ZOOM_FACTOR } from "./keys.js";
import { Protection } from "./protection.js";
import { dayOf } from "./scale.js";
import { Thumbnails } from "./thumbnails.js";
import { overlayText } from "./words.js";

const REFRESH_MS = 5_000;
// "The latest" starts a little before the end, so that there is something to see.
const LATEST_MS = 10_000;

/** The page around the recordings. */
export interface Around {
  /** True if the cameras of `room` are being recorded now. */
  recording(room: string): boolean;
  readonly mayProtect: boolean;
  /** The video stands at `time`: for the address. */
  positionChanged(camera: Camera, time: number): void;
  onClose(live: boolean): void;
}

export class RecordingsView {
  readonly node: HTMLDialogElement;
  readonly player: Player;
  camera: Camera | null = null;
  list: Segment[] = [];

  private known: Recorded[] = [];
  private recorded: Span[] = [];
  private day = dayOf(Date.now());
  private trouble: "none" | "missing" | "away" | "loading" = "loading";
  private readonly timers: number[];

  private readonly bar: Bar;
  private readonly days = new Days((day) => void this.chooseDay(day));
  private readonly thumbnails = new Thumbnails();
  private readonly clip = new Clip(
    () => this.cut(),
    () => this.draw(),
  );
  private readonly controls: Controls;
  private readonly choice: CameraChoice;
  private readonly sign = element("span", { class: "rec-sign", role: "status" });
  private readonly time = element("time", { class: "clock" });
  private readonly date = element("span", { class: "date-words" });
  private readonly card = new Card();
  private readonly protection = new Protection(() => void this.protect());

  constructor(private readonly around: Around) {
    const video = element("video", { playsinline: true, "aria-label": "Recording" });
    this.player = new Player(video, () => this.draw());
    video.addEventListener("seeked", () => this.reportPosition());
    this.bar = new Bar({
      scrub: (time, done) => this.scrub(time, done),
      hover: (time, x) => this.preview(time, x),
      clipChanged: (clip) => this.clip.set(clip),
    });
    this.choice = new CameraChoice((camera) => void this.choose(camera, null), this.around.recording);
    const actions = this.actions();
    this.controls = new Controls(this.player, actions);
    const live = element(
      "button",
      { type: "button", class: "to-live", click: () => this.close(true) },
      icon(ChevronLeft),
      "Live",
    );
    this.node = element(
      "dialog",
      {
        class: "recordings",
        "aria-label": "Recordings",
        cancel: (event) => this.cancel(event),
        keydown: (event) => pressKey(event as KeyboardEvent, actions),
      },
      element("header", { class: "recordings-bar" }, live, this.choice.node, this.sign, this.days.node),
      element("div", { class: "stage", click: () => this.toggle() }, video, this.card.node),
      element(
        "div",
        { class: "deck" },
        element("div", { class: "row" }, element("div", { class: "moment" }, this.time, this.date), this.controls.node),
        this.bar.node,
        element("div", { class: "row tail" }, this.zooms(), this.protection.node, this.clip.node),
      ),
    );
    this.bar.node.append(this.thumbnails.node);
    this.protection.node.hidden = !around.mayProtect;
    this.timers = [
      window.setInterval(() => void this.refresh(), REFRESH_MS),
      window.setInterval(() => this.follow(), 100),
    ];
  }

  async open(camera: Camera | null, time: number | null): Promise<void> {
    this.node.showModal();
    this.bar.slider.focus({ preventScroll: true });
    this.draw();
    await this.loadCameras();
    const wanted = camera ?? this.only();
    if (wanted) await this.choose(wanted, time);
    this.draw();
    if (!wanted) this.choice.open(true);
  }

  /** `live`: show the live video of this camera next. */
  close(live = false): void {
    if (!this.node.isConnected) return;
    this.timers.forEach((timer) => clearInterval(timer));
    this.player.close();
    this.node.close();
    this.node.remove();
    this.around.onClose(live);
  }

  /** Moves to a time of this camera, on any day; continues to play if it played. */
  async seek(time: number): Promise<void> {
    const day = dayOf(time);
    if (day.start !== this.day.start) await this.load(day);
    this.bar.moveTo(time, true);
    await this.player.seek(time);
  }

  report(): Record<string, unknown> {
    const { bar, camera, list, player } = this;
    const { wall, status, playing, speed, keyFramesOnly } = player;
    const frames = player.video.getVideoPlaybackQuality().totalVideoFrames;
    return { camera, segments: list, shown: bar.shown, wall, status, playing, speed, keyFramesOnly, frames };
  }

  private actions(): Actions {
    return {
      toggle: () => this.toggle(),
      step: (by) => this.step(by),
      jump: (way) => this.jump(way),
      zoom: (factor) => this.bar.zoom(factor),
      first: () => this.recorded[0] && void this.seek(this.recorded[0].start),
      latest: () => this.recorded.length > 0 && void this.seek(this.recorded.at(-1)!.end - LATEST_MS),
      mute: () => (this.player.muted = !this.player.muted),
      cut: () => this.cut(),
      mark: (edge) => this.mark(edge),
      live: () => this.close(true),
    };
  }

  private reportPosition(): void {
    if (this.camera && !this.player.playing) this.around.positionChanged(this.camera, this.player.wall);
  }

  private zooms(): HTMLElement {
    return element(
      "div",
      { class: "zooms", role: "group", "aria-label": "Zoom" },
      iconButton(ZoomIn, "Zoom in (+)", () => this.bar.zoom(ZOOM_FACTOR), "act"),
      iconButton(ZoomOut, "Zoom out (-)", () => this.bar.zoom(1 / ZOOM_FACTOR), "act"),
    );
  }

  /** Loads the list of cameras. */
  private async loadCameras(): Promise<void> {
    try {
      this.known = await cameras();
      this.trouble = "none";
    } catch (error) {
      this.trouble = error instanceof Refused && error.status === 404 ? "missing" : "away";
    }
  }

  /** Returns the camera if there is only one; null if the user must choose. */
  private only(): Camera | null {
    return this.known.length === 1 ? this.known[0]! : null;
  }

  private async choose(camera: Camera, time: number | null): Promise<void> {
    this.camera = camera;
    this.clip.span = null;
    this.player.choose(camera);
    const known = this.of(camera);
    const moment = time ?? (known ? Math.max(known.start, known.end - LATEST_MS) : Date.now());
    await this.load(dayOf(moment));
    this.bar.moveTo(moment, true);
    if (known && supported) {
      this.player.play();
      await this.player.seek(moment);
    }
  }

  private async chooseDay(day: Span): Promise<void> {
    await this.load(day);
    const first = this.list[0];
    if (first) await this.player.seek(Math.max(first.start, day.start));
    else this.player.choose(this.camera);
  }

  private async load(day: Span): Promise<void> {
    this.day = day;
    await this.refill();
    this.draw();
  }

  private async refill(): Promise<void> {
    const { camera, day } = this;
    if (!camera) return;
    try {
      const list = this.of(camera) ? await segments(camera, day) : [];
      if (camera !== this.camera || day !== this.day) return;
      this.list = list;
      this.recorded = stretches(list);
      this.trouble = "none";
    } catch (error) {
      this.trouble = error instanceof Refused && error.status < 500 ? "none" : "away";
    }
  }

  private async refresh(): Promise<void> {
    const unknown = this.known.length === 0;
    if (unknown || this.day.end > Date.now()) await Promise.all([this.loadCameras(), this.refill()]);
    const first = this.camera ?? this.only();
    if (unknown && this.known.length > 0 && first && !this.player.playing) await this.choose(first, null);
    // Retries: the server or the network may be back.
    if (this.player.status === "failed" && this.player.playing) this.player.play();
    this.draw();
  }

  private of(camera: Camera): Recorded | null {
    return this.known.find((it) => it.room === camera.room && it.peer === camera.peer) ?? null;
  }

  /** The moment on the screen; null while there is none. */
  private now(): number | null {
    return this.player.status === "idle" ? null : this.player.wall;
  }

  private toggle(): void {
    if (this.player.playing) this.player.pause();
    else if (this.list.length > 0) this.player.play();
  }

  private step(by: number): void {
    const now = this.now();
    if (now !== null) void this.seek(now + by);
  }

  private jump(way: 1 | -1): void {
    const now = this.now();
    const target = now === null ? null : neighbour(this.recorded, now, way);
    if (target !== null) void this.seek(target);
  }

  private scrub(time: number, done: boolean): void {
    this.bar.moveTo(time, false);
    this.showTime(time);
    if (done) void this.seek(time);
  }

  private preview(time: number | null, x: number): void {
    if (time === null || !this.camera || this.list.length === 0) {
      this.thumbnails.hide();
      return;
    }
    const { shown, slider } = this.bar;
    const size = { width: slider.clientWidth, length: shown.end - shown.start };
    this.thumbnails.show(this.camera, time, x, size, spanAt(this.recorded, time));
  }

  private follow(): void {
    const now = this.now();
    if (now === null || this.bar.scrubbing) return;
    if (now >= this.day.end && this.player.playing) void this.load(dayOf(now));
    this.bar.moveTo(now, this.player.playing);
    this.showTime(now);
    this.protection.show(this.segment());
  }

  private showTime(time: number): void {
    this.time.textContent = clock(time);
    this.time.dateTime = new Date(time).toISOString();
    this.date.textContent = dayName(time);
  }

  /** The recording on the screen; null while there is none. */
  private segment(): Segment | null {
    const now = this.now();
    return now === null ? null : spanAt(this.list, now);
  }

  private mark(edge: "start" | "end"): void {
    const now = this.now();
    if (now !== null) this.clip.mark(edge, now);
  }

  private cut(): void {
    this.clip.open(this.now(), this.recorded.at(-1)?.end ?? 0);
    if (this.clip.span) this.bar.reveal(this.clip.span);
  }

  private async protect(): Promise<void> {
    const segment = this.segment();
    if (!segment) return;
    await setProtected(segment, !segment.protected).catch(() => undefined);
    await this.refill();
    this.draw();
  }

  private draw(): void {
    const { camera, player } = this;
    this.bar.show(this.day, this.list);
    this.bar.clip = this.clip.span;
    this.clip.show(camera, this.list);
    this.days.show(this.day, camera && this.of(camera));
    this.controls.show(this.list.length > 0 && supported);
    this.sign.textContent = camera && this.around.recording(camera.room) ? "REC" : "";
    this.choice.show(this.known, camera);
    this.protection.show(this.segment());
    this.node.dataset.status = player.status;
    this.card.show(
      overlayText({
        trouble: this.trouble,
        supported,
        known: this.known.length > 0,
        chosen: camera !== null,
        today: this.list.length > 0,
        player,
      }),
    );
  }

  private cancel(event: Event): void {
    event.preventDefault();
    if (this.clip.span) this.clip.set(null);
    else this.close();
  }
}
