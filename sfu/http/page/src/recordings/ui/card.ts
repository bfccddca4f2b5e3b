// The text over the video.

import { element } from "../../ui/dom.js";
import type { OverlayText } from "./words.js";

export class Card {
  readonly node = element("div", { class: "card", role: "status", hidden: true });
  private shown = "";

  /** Shows `text`; null hides the card. */
  show(text: OverlayText | null): void {
    this.node.hidden = text === null;
    this.node.className = `card ${text?.style ?? ""}`;
    const key = JSON.stringify(text);
    if (!text || this.shown === key) return;
    this.shown = key;
    const detail = text.text ? [element("span", {}, text.text)] : [];
    this.node.replaceChildren(element("strong", {}, text.title), ...detail);
  }
}
