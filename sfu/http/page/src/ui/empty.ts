// The text that is shown while there is no camera: the reason, and what to do about it.

import { Video } from "lucide";
import { type HintSituation, noRightsText, publishHint } from "../access/words.js";
import type { SignalError } from "../net/messages.js";
import { element } from "./dom.js";
import { icon } from "./icons.js";
import { type ConnectionState, errorText } from "./words.js";

export interface Emptiness {
  hidden: boolean;
  room: string | null;
  link: ConnectionState;
  refusal: SignalError | null;
  /** True if the visitor may see nothing of this room. */
  foreign: boolean;
}

export class Empty {
  readonly node: HTMLElement;
  private readonly title = element("h1");
  private readonly text = element("p");
  private readonly hint = element("div", { class: "hint" });
  private readonly command = element("code");
  private readonly remark = element("p");

  /** `place`: the server, for a publisher. `onPublish` null: nobody publishes here. */
  constructor(
    private readonly place: Omit<HintSituation, "room">,
    onPublish: (() => void) | null,
  ) {
    if (onPublish) {
      const live = element(
        "button",
        { type: "button", class: "primary", click: onPublish },
        icon(Video),
        "Go live from this browser",
      );
      this.hint.append(
        live,
        element("p", {}, "or publish a camera or a file from a shell: ", this.command),
        this.remark,
      );
    }
    this.node = element(
      "section",
      { class: "empty" },
      element("div", { class: "symbol" }, icon(Video)),
      this.title,
      this.text,
      this.hint,
    );
  }

  update({ hidden, room, link, refusal, foreign }: Emptiness): void {
    this.node.hidden = hidden;
    const [busy, title, text] =
      room !== null && foreign ? [false, "Not for you", noRightsText(room)] : describe(room, link, refusal);
    if (this.title.textContent !== title) this.title.textContent = title;
    if (this.text.textContent !== text) this.text.textContent = text;
    const { command, remark } = publishHint({ ...this.place, room });
    this.command.textContent = command;
    this.remark.textContent = remark;
    this.remark.hidden = remark === "";
    this.node.classList.toggle("busy", busy);
    this.hint.hidden = busy || link.broker !== "connected" || link.serverOnline !== true || refusal !== null || foreign;
  }
}

function describe(room: string | null, link: ConnectionState, refusal: SignalError | null): [boolean, string, string] {
  if (link.broker === "connecting") return [true, "Connecting", "Connecting to the broker."];
  if (link.serverOnline === false) return [true, "The server is offline", "The cameras come back when it does."];
  if (link.broker === "away") return [true, "The broker is unreachable", "Trying again."];
  if (link.serverOnline === null) {
    return [true, "Looking for the server", "The broker is connected, but no server has announced itself yet."];
  }
  if (refusal?.code === "no_answer") return [false, "No answer from the server", errorText(refusal)];
  if (refusal) return [false, "The server refused the request", errorText(refusal)];
  const where = room === null ? "No camera is live." : `No camera is live in ${room}.`;
  return [false, "Waiting for a camera", `${where} The first one appears here on its own.`];
}
