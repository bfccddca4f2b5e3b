// The bar above the wall: the chosen room, the status, and the buttons for recordings and for going live.

import { RotateCcwClock, Video } from "lucide";
import { ancestry, childrenOf, shortName } from "../net/rooms.js";
import { element } from "./dom.js";
import { icon } from "./icons.js";
import type { Health } from "./words.js";

export class Header {
  readonly node: HTMLElement;
  private readonly path = element("nav", { class: "path", "aria-label": "Rooms" });
  private readonly status = element("span", { class: "status", role: "status" });
  private readonly publish: HTMLButtonElement;
  private drawn = "";

  /** `onRecordings` null: this server keeps no recordings. */
  constructor(onPublish: () => void, onRecordings: (() => void) | null) {
    const label = element("span", { class: "label" }, "Go live");
    this.publish = element(
      "button",
      { type: "button", class: "primary", "aria-label": "Go live from this browser", click: onPublish },
      icon(Video),
      label,
    );
    const home = element("a", { href: "#", class: "home", "aria-label": "All rooms" }, icon(Video));
    const recordings = onRecordings
      ? [
          element(
            "button",
            { type: "button", class: "to-recordings", "aria-label": "Recordings", click: onRecordings },
            icon(RotateCcwClock),
            element("span", { class: "label" }, "Recordings"),
          ),
        ]
      : [];
    this.node = element("header", { class: "bar" }, home, this.path, this.status, ...recordings, this.publish);
  }

  set health([health, text]: [Health, string]) {
    this.status.dataset.health = health;
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  set publishing(publishing: boolean) {
    this.publish.hidden = publishing;
  }

  /** Draws the path to `room`, then links to the rooms below it. */
  rooms(room: string | null, known: string[]): void {
    const key = JSON.stringify([room, known]);
    if (key === this.drawn) return;
    this.drawn = key;
    const crumbs: HTMLElement[] = [this.link("", "All rooms", room === null)];
    for (const step of room === null ? [] : ancestry(room)) {
      crumbs.push(
        element("span", { class: "slash", "aria-hidden": "true" }, "/"),
        this.link(step, shortName(step), step === room),
      );
    }
    const below = childrenOf(known, room ?? "").map((child) => this.link(child, shortName(child), false, "chip"));
    this.path.replaceChildren(...crumbs, ...below);
  }

  private link(room: string, text: string, current: boolean, style = "crumb"): HTMLAnchorElement {
    const link = element("a", { href: `#${room}`, class: style }, text);
    if (current) link.setAttribute("aria-current", "page");
    return link;
  }
}
