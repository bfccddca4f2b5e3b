// The list of cameras with recordings: a button with the chosen one, and a list with a search field below it.

import { ChevronDown } from "lucide";

import { element } from "../../ui/dom.js";
import { icon } from "../../ui/icons.js";
import { compareCameras } from "../../wall/order.js";
import type { Camera, Recorded } from "../data/catalogue.js";
import { found, lastWords } from "./camera_search.js";

export class CameraChoice {
  readonly node: HTMLElement;
  private readonly words = element("span", { class: "chosen" });
  private readonly button: HTMLButtonElement;
  private readonly search: HTMLInputElement;
  private readonly list = element("ul", { role: "listbox", "aria-label": "Cameras with recordings" });
  private readonly panel: HTMLElement;
  private cameras: readonly Recorded[] = [];
  private chosen: Camera | null = null;
  private drawn = "";

  constructor(
    private readonly onChoose: (camera: Camera) => void,
    private readonly recording: (room: string) => boolean,
  ) {
    this.button = element(
      "button",
      {
        type: "button",
        class: "which",
        "aria-haspopup": "listbox",
        "aria-expanded": "false",
        click: () => this.open(this.panel.hidden === true),
      },
      this.words,
      icon(ChevronDown),
    );
    this.search = element("input", {
      type: "search",
      placeholder: "Search cameras",
      "aria-label": "Search cameras",
      input: () => this.draw(),
    });
    this.panel = element("div", { class: "choice-panel", hidden: true }, this.search, this.list);
    this.node = element(
      "div",
      { class: "choice", keydown: (event) => this.key(event as KeyboardEvent) },
      this.button,
      this.panel,
    );
    this.node.addEventListener("focusout", (event) => {
      if (event.relatedTarget && !this.node.contains(event.relatedTarget as Node)) this.open(false);
    });
  }

  /** Lists `cameras`, ordered by name; `chosen` is the one whose recordings are shown. */
  show(cameras: readonly Recorded[], chosen: Camera | null): void {
    this.cameras = [...cameras].sort(compareCameras);
    this.chosen = chosen;
    this.node.hidden = cameras.length === 0 && chosen === null;
    const words = chosen ? `${chosen.peer} · ${chosen.room}` : "Choose a camera";
    if (this.words.textContent !== words) this.words.textContent = words;
    if (!this.panel.hidden) this.draw();
  }

  /** Opens the list with the focus in its search field, or closes it. */
  open(open: boolean): void {
    if (open !== this.panel.hidden) return;
    this.panel.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
    if (!open) return;
    this.search.value = "";
    this.draw();
    this.search.focus();
  }

  private draw(): void {
    const shown = found(this.cameras, this.search.value);
    const rows = shown.map((camera) => ({ camera, last: lastWords(camera, this.recording(camera.room), Date.now()) }));
    const drawn = JSON.stringify([rows, this.chosen]);
    if (drawn === this.drawn && this.list.childElementCount > 0) return;
    this.drawn = drawn;
    const none = element("li", { class: "none" }, "No camera has this name.");
    const items = rows.map(({ camera, last }) => this.row(camera, last));
    this.list.replaceChildren(...(items.length > 0 ? items : [none]));
  }

  private row(camera: Recorded, last: string): HTMLElement {
    const same = camera.room === this.chosen?.room && camera.peer === this.chosen.peer;
    const choose = (): void => {
      this.open(false);
      this.button.focus();
      this.onChoose(camera);
    };
    return element(
      "li",
      { role: "option", tabindex: "-1", "aria-selected": String(same), click: choose },
      element("strong", {}, camera.peer),
      element("span", { class: "in" }, camera.room),
      element("span", { class: "last" }, last),
    );
  }

  private key(event: KeyboardEvent): void {
    if (this.panel.hidden) return;
    const items = [...this.list.querySelectorAll<HTMLElement>("[role=option]")];
    const at = items.indexOf(document.activeElement as HTMLElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") {
      this.open(false);
      this.button.focus();
    } else if (step) {
      const next = at + step;
      (next < 0 ? this.search : (items[Math.min(next, items.length - 1)] ?? this.search)).focus();
    } else if (event.key === "Enter" && event.target !== this.button) {
      (at < 0 ? items[0] : items[at])?.click();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}
