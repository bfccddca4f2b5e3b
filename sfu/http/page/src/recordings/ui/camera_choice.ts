// The list of cameras with recordings.

import { element } from "../../ui/dom.js";
import type { Camera } from "../data/catalogue.js";

export class CameraChoice {
  readonly node: HTMLSelectElement;
  private names = "";

  constructor(onChoose: (index: number) => void) {
    this.node = element("select", {
      class: "which",
      "aria-label": "Camera",
      change: () => onChoose(this.node.selectedIndex),
    });
  }

  /** Lists `cameras`, and `chosen` even if it is not one of them. */
  show(cameras: readonly Camera[], chosen: Camera | null): void {
    const same = (it: Camera): boolean => it.room === chosen?.room && it.peer === chosen.peer;
    const listed = chosen && !cameras.some(same) ? [...cameras, chosen] : cameras;
    const names = listed.map(({ room, peer }) => `${peer} · ${room}`);
    if (this.names !== JSON.stringify(names)) {
      this.names = JSON.stringify(names);
      this.node.replaceChildren(...names.map((name) => element("option", {}, name)));
    }
    this.node.hidden = names.length === 0;
    this.node.selectedIndex = listed.findIndex(same);
  }
}
