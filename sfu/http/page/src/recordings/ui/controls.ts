// The buttons below the picture: play, steps, speed, sound.

import { element } from "../../ui/dom.js";
import { button, redraw } from "./icons.js";
import { type Player, SPEEDS } from "../play/player.js";

export interface Steps {
  toggle(): void;
  /** By so many ms. */
  step(by: number): void;
  jump(way: 1 | -1): void;
}

export class Controls {
  readonly node: HTMLElement;
  private readonly play: HTMLButtonElement;
  private readonly sound: HTMLButtonElement;
  private readonly speeds: HTMLButtonElement[];
  private readonly all: HTMLButtonElement[];

  constructor(
    private readonly player: Player,
    steps: Steps,
  ) {
    this.play = button("play", "Play (Space)", () => steps.toggle(), "main");
    this.sound = button("soundOff", "Turn sound on (m)", () => (player.muted = !player.muted));
    this.speeds = SPEEDS.map((speed) =>
      element("button", { type: "button", "aria-label": `${speed} times as fast`, click: () => (player.speed = speed) }, `${speed}×`),
    );
    const transport = [
      button("before", "Recorded stretch before (Page up)", () => steps.jump(-1)),
      button("back10", "10 seconds back (Left)", () => steps.step(-10_000)),
      this.play,
      button("on10", "10 seconds on (Right)", () => steps.step(10_000)),
      button("next", "Next recorded stretch (Page down)", () => steps.jump(1)),
    ];
    this.all = [...transport, ...this.speeds, this.sound];
    this.node = element(
      "div",
      { class: "controls" },
      element("div", { class: "transport", role: "group", "aria-label": "Playing" }, ...transport),
      element("div", { class: "speeds", role: "group", "aria-label": "Speed" }, ...this.speeds, this.sound),
    );
  }

  show(enabled: boolean): void {
    const { player } = this;
    for (const each of this.all) each.disabled = !enabled;
    redraw(this.play, player.playing ? "pause" : "play", player.playing ? "Pause (Space)" : "Play (Space)");
    redraw(this.sound, player.muted ? "soundOff" : "soundOn", player.muted ? "Turn sound on (m)" : "Turn sound off (m)");
    this.speeds.forEach((each, index) => each.setAttribute("aria-pressed", String(SPEEDS[index] === player.speed)));
  }
}
