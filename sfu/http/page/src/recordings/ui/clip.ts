// The clip: a span to download as one file, with its duration and size.

import { Download, Scissors, X } from "lucide";

import { element } from "../../ui/dom.js";
import { icon, iconButton } from "../../ui/icons.js";
import { type Camera, checkExport, exportUrl } from "../data/catalogue.js";
import { bytesOf, type Segment, type Span } from "../data/spans.js";
import { clock, durationText, sizeText } from "./format.js";

const DEFAULT_MS = 60_000;
export const SHORTEST_MS = 1_000;

export class Clip {
  readonly node: HTMLElement;
  span: Span | null = null;

  private camera: Camera | null = null;
  /** Why the chosen span cannot be downloaded. */
  private problem: string | null = null;
  private readonly begin: HTMLButtonElement;
  private readonly text = element("span", { class: "clip-words", role: "status" });
  private readonly link: HTMLAnchorElement;
  private readonly chosen: HTMLElement;

  /** `onBegin`: the button was pressed. `onChange`: `span` has changed. */
  constructor(
    onBegin: () => void,
    private readonly onChange: () => void,
  ) {
    this.begin = element(
      "button",
      { type: "button", class: "act wide", title: "Cut a clip (c)", click: onBegin },
      icon(Scissors),
      "Clip",
    );
    this.link = element(
      "a",
      { class: "act wide primary", download: "", click: (event) => void this.download(event) },
      icon(Download),
      element("span", { class: "label" }, "Download"),
    );
    this.chosen = element(
      "div",
      { class: "clip", hidden: true },
      this.text,
      this.link,
      iconButton(X, "Cancel clip", () => this.set(null), "act"),
    );
    this.node = element("div", { class: "clipping" }, this.begin, this.chosen);
  }

  /** Chooses a minute from `at` on; less at `end`, where the recordings end. */
  open(at: number | null, end: number): void {
    if (at === null) return;
    const last = Math.max(at + SHORTEST_MS, Math.min(at + DEFAULT_MS, end));
    this.set({ start: Math.min(at, last - Math.min(DEFAULT_MS, SHORTEST_MS * 10)), end: last });
  }

  set(span: Span | null): void {
    this.span = span;
    this.problem = null;
    this.onChange();
  }

  /** Sets the start or end of the clip to `at`; moves the other edge if the clip would be too short. */
  mark(edge: "start" | "end", at: number): void {
    const { start, end } = this.span ?? { start: at, end: at };
    if (edge === "start") this.set({ start: at, end: end > at + SHORTEST_MS ? end : at + DEFAULT_MS });
    else this.set({ start: start < at - SHORTEST_MS ? start : at - DEFAULT_MS, end: at });
  }

  /** Starts the download once the server can make the clip; else shows why it cannot. */
  private async download(event: Event): Promise<void> {
    const { camera, span } = this;
    if (!camera || !span || !this.link.href) return;
    event.preventDefault();
    try {
      await checkExport(camera, span);
      element("a", { href: exportUrl(camera, span), download: "" }).click();
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
      this.onChange();
    }
  }

  show(camera: Camera | null, segments: readonly Segment[]): void {
    const { span } = this;
    this.camera = camera;
    this.begin.hidden = span !== null;
    this.begin.disabled = segments.length === 0;
    this.chosen.hidden = span === null;
    if (!span || !camera) return;
    const bytes = bytesOf(segments, span);
    const words = bytes
      ? `${clock(span.start)} – ${clock(span.end)} · ${durationText(span.end - span.start)}, about ${sizeText(bytes)}`
      : "No recording in this span";
    this.text.textContent = this.problem ?? words;
    this.link.classList.toggle("off", bytes === 0);
    if (bytes) this.link.href = exportUrl(camera, span);
    else this.link.removeAttribute("href");
  }
}
