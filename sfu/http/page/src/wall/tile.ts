// One window on the screen: its video, the text over it, and its buttons.

import { ChartNoAxesColumn, Maximize, Maximize2, Mic, Minimize2, VideoOff, Volume2, VolumeX } from "lucide";
import { shortName } from "../net/rooms.js";
import type { Archive } from "../recordings/archive.js";
import { element } from "../ui/dom.js";
import { type IconNode, icon, iconButton, relabel } from "../ui/icons.js";
import { errorText, noteText, problemText, reasonText, THIN_LINK } from "../ui/words.js";
import { Menu } from "./menu.js";
import { Overlay } from "./overlay.js";
import type { WallWindow } from "./view.js";

export type TileState = "empty" | "connecting" | "live" | "stalled" | "unplayable" | "audio";

const STALLED_AFTER_MS = 3_000;
// Cameras that ignore key frame requests send one every few seconds.
const KEY_FRAMES_STALLED_AFTER_MS = 20_000;

const SYMBOLS: Partial<Record<TileState, IconNode>> = { audio: Mic, unplayable: VideoOff };

export interface TileActions {
  enlarge(tile: Tile): void;
  sound(tile: Tile): void;
  recording(room: string): boolean;
  /** Returns why a camera can be neither shown nor recorded; null if it can. */
  problem(room: string, peer: string): string | null;
}

export class Tile {
  readonly node: HTMLElement;
  readonly video = element("video", { autoplay: true, muted: true, playsinline: true });
  state: TileState = "empty";
  /** Time of this camera's first frame, in ms of performance.now(). */
  firstFrameAt: number | null = null;
  shownSince: number | null = null;

  private camera = "";
  private frames = 0;
  private framesMovedAt = 0;
  private readonly title = element("span", { class: "camera" });
  private readonly place = element("span", { class: "place" });
  private readonly sign = element("span", { class: "rec-sign", title: "Recording" });
  private readonly note = element("span", { class: "note" });
  private readonly overlay = new Overlay();
  private readonly message = element("p", { class: "message" });
  private readonly detail = element("p", { class: "detail" });
  private drawn: IconNode | null = null;
  private readonly symbol = element("div", { class: "symbol" });
  private readonly soundButton: HTMLButtonElement;
  private readonly sizeButton: HTMLButtonElement;
  private readonly menu: Menu | null;

  constructor(
    readonly window: WallWindow,
    private readonly actions: TileActions,
    archive: Archive | null,
  ) {
    this.video.muted = true;
    this.soundButton = iconButton(VolumeX, "Unmute (m)", () => actions.sound(this), "tool sound");
    this.sizeButton = iconButton(Maximize2, "Enlarge (Enter)", () => actions.enlarge(this), "tool");
    const statistics = iconButton(
      ChartNoAxesColumn,
      "Statistics (i)",
      () => (this.statistics = !this.statistics),
      "tool",
    );
    this.menu = archive && new Menu(archive, () => window.source);
    const tools: Node[] = [...(this.menu ? [this.menu.node] : []), this.soundButton, statistics, this.sizeButton];
    if (document.fullscreenEnabled)
      tools.push(iconButton(Maximize, "Full screen (f)", () => this.fullscreen(), "tool"));
    this.node = element(
      "article",
      { class: "tile", tabindex: "0", click: () => actions.enlarge(this) },
      this.video,
      element("div", { class: "veil", role: "status" }, this.symbol, this.message, this.detail),
      element(
        "div",
        { class: "caption" },
        element("span", { class: "dot" }),
        this.title,
        this.place,
        this.sign,
        this.note,
      ),
      this.overlay.node,
      element("div", { class: "tools" }, ...tools),
    );
    this.video.onresize = () => this.node.classList.toggle("upright", this.video.videoHeight > this.video.videoWidth);
    new ResizeObserver(() => this.measure()).observe(this.video);
    this.watchFrames();
  }

  get muted(): boolean {
    return this.video.muted;
  }

  set muted(muted: boolean) {
    this.video.muted = muted;
    this.play();
    relabel(this.soundButton, muted ? VolumeX : Volume2, muted ? "Unmute (m)" : "Mute (m)");
    this.soundButton.classList.toggle("on", !muted);
  }

  get statistics(): boolean {
    return this.overlay.open;
  }

  set statistics(open: boolean) {
    this.overlay.open = open;
    this.update(performance.now());
  }

  /** Returns the time from the request to the first frame, in ms; null before it. */
  get start(): number | null {
    return this.firstFrameAt === null ? null : this.firstFrameAt - this.window.requestedAt;
  }

  set enlarged(enlarged: boolean) {
    this.node.classList.toggle("enlarged", enlarged);
    relabel(this.sizeButton, enlarged ? Minimize2 : Maximize2, enlarged ? "Back to the wall (Esc)" : "Enlarge (Enter)");
  }

  fullscreen(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void this.node.requestFullscreen().catch(() => undefined);
  }

  /** Shows the present state of the window. */
  update(now: number): void {
    const { source, stream, video, audio } = this.window;
    const camera = source ? `${source.room}/${source.peer}` : "";
    if (camera !== this.camera) this.change(camera, now);
    if (this.video.srcObject !== stream) this.attach(stream, now);
    this.title.textContent = source?.peer ?? "";
    this.place.textContent = source ? source.room : "";
    this.soundButton.hidden = !audio?.source;
    setText(this.note, noteText(video?.reason));
    setText(this.sign, source && this.actions.recording(source.room) ? "REC" : "");
    this.menu?.update();
    this.countFrames(now);
    this.describe();
    const state = this.nextState(now);
    const problem = source && state === "connecting" ? this.actions.problem(source.room, source.peer) : null;
    if (problem) this.setState("unplayable", problemText(problem));
    else this.setState(state, reasonText(video?.reason, video?.source?.codec));
  }

  private measure(): void {
    const pixels = (length: number): number => Math.round(length * devicePixelRatio);
    this.window.resize({ width: pixels(this.video.clientWidth), height: pixels(this.video.clientHeight) });
  }

  private describe(): void {
    const { videoWidth: width, videoHeight: height } = this.video;
    const { video, stats } = this.window;
    const codec = video?.source?.codec;
    this.overlay.update({ width, height, codec, start: this.start, sparse: video?.reason === THIN_LINK, stats });
  }

  private change(camera: string, now: number): void {
    this.camera = camera;
    this.firstFrameAt = null;
    this.shownSince = camera ? now : null;
    this.framesMovedAt = now;
    if (!camera) this.muted = true;
  }

  private attach(stream: MediaStream | null, now: number): void {
    this.video.srcObject = stream;
    this.firstFrameAt = null;
    this.frames = 0;
    this.framesMovedAt = now;
    this.play();
  }

  private nextState(now: number): TileState {
    const { source, video, view } = this.window;
    if (!source) return "empty";
    if (reasonText(video?.reason, undefined)) return "unplayable";
    if (!video?.source) return "audio";
    if (this.firstFrameAt === null || view.session.phase !== "connected") return "connecting";
    // A hidden page may stop decoding, which does not mean that the camera has stalled.
    const patience = video.reason === THIN_LINK ? KEY_FRAMES_STALLED_AFTER_MS : STALLED_AFTER_MS;
    const stalled = document.visibilityState === "visible" && now - this.framesMovedAt > patience;
    return stalled ? "stalled" : "live";
  }

  private setState(state: TileState, reason: [string, string] | null): void {
    const name = this.window.source ? `${this.window.source.peer} in ${this.window.source.room}` : "No camera";
    this.state = state;
    this.node.dataset.state = state;
    this.node.hidden = state === "empty";
    const text = this.text(state, reason);
    setText(this.message, text[0]);
    setText(this.detail, text[1]);
    const wanted = SYMBOLS[state] ?? null;
    if (this.drawn !== wanted) {
      this.drawn = wanted;
      this.symbol.replaceChildren(...(wanted ? [icon(wanted)] : []));
    }
    this.node.setAttribute("aria-label", `${name}: ${text[0] || "live"}`);
  }

  private text(state: TileState, reason: [string, string] | null): [string, string] {
    if (state === "connecting") return this.sessionText();
    if (state === "stalled") return ["No new frames", "Showing the last one."];
    if (state === "audio") return ["Audio only", shortName(this.window.source?.room ?? "")];
    if (state === "unplayable") return reason ?? ["No video", ""];
    return ["", ""];
  }

  private sessionText(): [string, string] {
    const { phase, error } = this.window.view.session;
    if (phase === "refused" && error) return [errorText(error), ""];
    return [phase === "waiting" ? "Waiting for the server" : "Connecting", ""];
  }

  private watchFrames(): void {
    if (!("requestVideoFrameCallback" in this.video)) return;
    this.video.requestVideoFrameCallback((now) => {
      this.framesMovedAt = now; // Firefox does not count frames of a MediaStream in getVideoPlaybackQuality
      if (this.firstFrameAt === null && this.camera) {
        this.firstFrameAt = now;
        this.update(now);
      }
      this.watchFrames();
    });
  }

  private countFrames(now: number): void {
    const { totalVideoFrames } = this.video.getVideoPlaybackQuality();
    if (totalVideoFrames !== this.frames || document.visibilityState !== "visible") {
      if (totalVideoFrames > this.frames && this.camera) this.firstFrameAt ??= now;
      this.frames = totalVideoFrames;
      this.framesMovedAt = now;
    }
  }

  private play(): void {
    void this.video.play().catch(() => {
      // Browsers refuse to play sound before a click: continue muted.
      if (!this.video.muted) this.muted = true;
    });
  }
}

function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}
