// The thumbnail above the pointer: one request at a time, the latest position wins, images are cached.

import { element } from "../../ui/dom.js";
import { type Camera, thumbnailUrl } from "../data/catalogue.js";
import type { Span } from "../data/spans.js";
import { clock } from "./format.js";
import { clamp } from "./scale.js";

const WIDTH = 160;
const KEPT = 240;
// Number of different thumbnails across the timeline.
const STEPS = 400;

export class Thumbnails {
  readonly node: HTMLElement;
  private readonly caption = element("figcaption");
  private readonly kept = new Map<string, Promise<HTMLImageElement | null>>();
  private wanted: string | null = null;
  private loading = false;

  constructor() {
    this.node = element("figure", { class: "preview", hidden: true, "aria-hidden": "true" }, this.caption);
  }

  /** Shows the thumbnail of `time` at `x`. `stretch`: the recorded span around it. `bar`: width in px, length in ms. */
  show(camera: Camera, time: number, x: number, bar: { width: number; length: number }, stretch: Span | null): void {
    this.node.hidden = false;
    this.node.style.setProperty("--x", `${clamp(x, WIDTH / 2 + 4, bar.width - WIDTH / 2 - 4)}px`);
    this.node.classList.toggle("bare", !stretch);
    this.caption.textContent = stretch ? clock(time) : `${clock(time)} · no recording`;
    const step = Math.max(1_000, Math.round(bar.length / STEPS / 1_000) * 1_000);
    this.want(stretch && thumbnailUrl(camera, Math.max(stretch.start, Math.floor(time / step) * step), WIDTH));
  }

  hide(): void {
    this.node.hidden = true;
    this.wanted = null;
  }

  private want(url: string | null): void {
    this.wanted = url;
    if (!this.loading) void this.load();
  }

  private async load(): Promise<void> {
    this.loading = true;
    for (let url = this.wanted; url !== null; url = this.wanted === url ? null : this.wanted) {
      const image = await this.fetched(url);
      if (this.node.hidden || this.wanted === null) continue;
      this.node.classList.toggle("bare", !image);
      if (image) this.node.replaceChildren(image, this.caption);
    }
    this.loading = false;
  }

  private fetched(url: string): Promise<HTMLImageElement | null> {
    let known = this.kept.get(url);
    if (!known) {
      const image = Object.assign(new Image(), { src: url, alt: "", draggable: false });
      known = image.decode().then(
        () => image,
        () => null,
      );
      this.kept.set(url, known);
      if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value!);
    }
    return known;
  }
}
