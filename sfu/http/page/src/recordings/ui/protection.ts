// The button that protects the recording on the screen from deletion.

import { Lock, LockOpen } from "lucide";

import { iconButton, relabel } from "../../ui/icons.js";
import type { Segment } from "../data/spans.js";
import { clock } from "./format.js";

export class Protection {
  readonly node: HTMLButtonElement;

  constructor(onToggle: () => void) {
    this.node = iconButton(LockOpen, "Protect from deletion", onToggle, "act");
  }

  /** Shows the state of `segment`; null disables the button. */
  show(segment: Segment | null): void {
    const kept = segment?.protected === true;
    const files = segment ? ` (${clock(segment.start)} to ${clock(segment.end)})` : "";
    const label = kept ? `Protected; allow deletion${files}` : `Protect from deletion${files}`;
    this.node.disabled = !segment;
    this.node.setAttribute("aria-pressed", String(kept));
    relabel(this.node, kept ? Lock : LockOpen, label);
  }
}
