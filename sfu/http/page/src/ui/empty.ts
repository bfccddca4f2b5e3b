// What stands in the middle while no camera does: why, and what to do about it.

import { element, icon } from "./dom.js";
import type { SignalError } from "../net/messages.js";
import { errorText, type Link } from "./words.js";

export interface Emptiness {
  hidden: boolean;
  room: string | null;
  link: Link;
  refusal: SignalError | null;
}

export class Empty {
  readonly node: HTMLElement;
  private readonly title = element("h1");
  private readonly text = element("p");
  private readonly hint = element("div", { class: "hint" });
  private readonly command = element("code");

  constructor(onPublish: (() => void) | null) {
    if (onPublish) {
      const live = element("button", { type: "button", class: "primary", click: onPublish }, icon("camera"), "Go live from this browser");
      this.hint.append(live, element("p", {}, "or send a camera or file from a shell: ", this.command));
    }
    this.node = element("section", { class: "empty" }, element("div", { class: "symbol" }, icon("camera")), this.title, this.text, this.hint);
  }

  update({ hidden, room, link, refusal }: Emptiness): void {
    this.node.hidden = hidden;
    const [busy, title, text] = describe(room, link, refusal);
    if (this.title.textContent !== title) this.title.textContent = title;
    if (this.text.textContent !== text) this.text.textContent = text;
    this.command.textContent = `sfu publish ${room ?? "frontdoor"} SOURCE`;
    this.node.classList.toggle("busy", busy);
    this.hint.hidden = busy || link.broker !== "connected" || link.serverOnline !== true || refusal !== null;
  }
}

function describe(room: string | null, link: Link, refusal: SignalError | null): [boolean, string, string] {
  if (link.broker === "refused") return [false, "Sign in to see the cameras", "The broker wants a user and a password."];
  if (link.broker === "connecting") return [true, "Connecting", "Reaching the broker."];
  if (link.serverOnline === false) return [true, "The server is away", "The cameras come back with it."];
  if (link.broker === "away") return [true, "The broker is away", "Trying again until it is back."];
  if (link.serverOnline === null) {
    return [true, "Looking for the server", "The broker is here; no server has announced itself yet."];
  }
  if (refusal) return [false, "The server said no", errorText(refusal)];
  const where = room === null ? "No camera is on air." : `No camera is on air in ${room}.`;
  return [false, "Waiting for a camera", `${where} The first one appears here by itself.`];
}
