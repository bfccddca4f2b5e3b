// The bar above the wall: the chosen room, the status, and the buttons for recordings and for going live.

import { LogOut, RotateCcwClock, Video } from "lucide";
import { ancestry, childrenOf, shortName } from "../net/rooms.js";
import { element } from "./dom.js";
import { icon } from "./icons.js";
import type { Health } from "./words.js";

export interface Account {
  /** The user's name; null for a login without one. */
  user: string | null;
  logOut(): void;
}

export class Header {
  readonly node: HTMLElement;
  private readonly path = element("nav", { class: "path", "aria-label": "Rooms" });
  private readonly status = element("span", { class: "status", role: "status" });
  private readonly publish: HTMLButtonElement;
  private drawn = "";

  /** null `onPublish`, `onRecordings`: not for this visitor. `account` null: nobody is asked to log in. */
  constructor(
    private readonly onPublish: (() => void) | null,
    onRecordings: (() => void) | null,
    account: Account | null,
  ) {
    const label = element("span", { class: "label" }, "Go live");
    this.publish = element(
      "button",
      { type: "button", class: "primary", "aria-label": "Go live from this browser", click: () => this.onPublish?.() },
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
    this.publishing = false;
    const nodes = [this.status, ...recordings, this.publish, ...(account ? [accountNode(account)] : [])];
    this.node = element("header", { class: "bar" }, home, this.path, ...nodes);
  }

  set health([health, text]: [Health, string]) {
    this.status.dataset.health = health;
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  set publishing(publishing: boolean) {
    this.publish.hidden = publishing || this.onPublish === null;
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

function accountNode({ user, logOut }: Account): HTMLElement {
  const label = element("span", { class: "label" }, "Log out");
  const title = user ? `Log out ${user}` : "Log out";
  return element(
    "div",
    { class: "account" },
    element("span", { class: "user" }, user ?? ""),
    element("button", { type: "button", "aria-label": title, title, click: logOut }, icon(LogOut), label),
  );
}
