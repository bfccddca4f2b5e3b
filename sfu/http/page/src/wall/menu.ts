// The recordings menu of a tile: opens them, and starts and stops recording.

import { RotateCcwClock } from "lucide";
import { shortName } from "../net/rooms.js";
import type { Archive } from "../recordings/archive.js";
import type { Camera } from "../recordings/data/catalogue.js";
import { element } from "../ui/dom.js";
import { icon, iconButton } from "../ui/icons.js";

const ANSWER_TIMEOUT_MS = 6_000;

export class Menu {
  readonly node: HTMLElement;
  private readonly opener: HTMLButtonElement;
  private readonly list: HTMLElement;
  private readonly words = element("span");
  private readonly toggle: HTMLButtonElement;
  private wanted: boolean | null = null;
  private problem = "";
  private timer = 0;

  constructor(
    private readonly archive: Archive,
    private readonly camera: () => Camera | null,
  ) {
    this.opener = iconButton(RotateCcwClock, "Recordings", () => this.open(this.list.hidden === true), "tool");
    this.opener.setAttribute("aria-haspopup", "menu");
    const show = element(
      "button",
      { type: "button", role: "menuitem", click: () => this.show() },
      icon(RotateCcwClock),
      "Recordings",
    );
    this.toggle = element(
      "button",
      { type: "button", role: "menuitemcheckbox", click: () => this.switch() },
      element("span", { class: "lamp" }),
      this.words,
    );
    this.toggle.hidden = !archive.recorder.mayRecord;
    this.list = element(
      "div",
      { class: "menu", role: "menu", hidden: true, click: (event) => event.stopPropagation() },
      show,
      this.toggle,
    );
    this.node = element(
      "div",
      { class: "menu-place", keydown: (event) => this.key(event as KeyboardEvent) },
      this.opener,
      this.list,
    );
    this.node.addEventListener("pointerenter", () => this.archive.prepare());
    this.node.addEventListener("focusout", (event) => {
      if (!this.node.contains(event.relatedTarget as Node | null)) this.open(false);
    });
  }

  update(): void {
    const camera = this.camera();
    if (!camera || this.list.hidden) return;
    const recording = this.archive.recorder.recording(camera.room);
    if (recording === this.wanted) this.wanted = null;
    this.toggle.setAttribute("aria-checked", String(recording));
    // A button with `disabled` would lose the focus, and the menu would close.
    this.toggle.setAttribute("aria-disabled", String(this.wanted !== null));
    const words = this.problem || this.label(recording, camera.room);
    if (this.words.textContent !== words) this.words.textContent = words;
  }

  private label(recording: boolean, room: string): string {
    if (this.wanted !== null) return this.wanted ? "Starting" : "Stopping";
    return `${recording ? "Stop recording" : "Record"} ${shortName(room)}`;
  }

  private open(open: boolean): void {
    this.problem = "";
    this.list.hidden = !open;
    this.opener.setAttribute("aria-expanded", String(open));
    this.update();
    if (open) this.list.querySelector("button")?.focus();
  }

  private show(): void {
    this.open(false);
    this.archive.open(this.camera());
  }

  private switch(): void {
    const camera = this.camera();
    if (!camera || this.wanted !== null) return;
    const wanted = !this.archive.recorder.recording(camera.room);
    const asked = this.archive.recorder.record(camera.room, wanted);
    this.wanted = asked ? wanted : null;
    this.problem = asked ? "" : "Broker unreachable";
    this.update();
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      if (this.wanted === null) return;
      this.wanted = null;
      this.problem = "No answer from the server";
      this.update();
    }, ANSWER_TIMEOUT_MS);
  }

  private key(event: KeyboardEvent): void {
    if (this.list.hidden) return;
    event.stopPropagation();
    const items = [...this.list.querySelectorAll<HTMLButtonElement>("button:not([hidden])")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") {
      this.open(false);
      this.opener.focus();
    } else if (step) {
      event.preventDefault();
      items[(items.indexOf(document.activeElement as HTMLButtonElement) + step + items.length) % items.length]?.focus();
    }
  }
}
