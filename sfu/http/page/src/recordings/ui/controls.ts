// The buttons below the video: play, steps, speed, sound.

import { Pause, Play, RotateCcw, RotateCw, SkipBack, SkipForward, Volume2, VolumeX } from "lucide";

import { element } from "../../ui/dom.js";
import { type IconNode, iconButton, relabel } from "../../ui/icons.js";
import { type Player, SPEEDS } from "../play/player.js";

const TEN: IconNode = [["path", { d: "M9 9.75v5M12 11.25a1.5 1.5 0 0 1 3 0v2a1.5 1.5 0 0 1-3 0z" }]];
const BACK_10: IconNode = [...RotateCcw, ...TEN];
const FORWARD_10: IconNode = [...RotateCw, ...TEN];

export interface Steps {
  toggle(): void;
  /** Moves by so many ms. */
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
    this.play = iconButton(Play, "Play (Space)", () => steps.toggle(), "act main");
    this.sound = iconButton(VolumeX, "Unmute (m)", () => (player.muted = !player.muted), "act");
    this.speeds = SPEEDS.map((speed) =>
      element(
        "button",
        { type: "button", "aria-label": `Speed ${speed}×`, click: () => (player.speed = speed) },
        `${speed}×`,
      ),
    );
    const transport = [
      iconButton(SkipBack, "Previous recording (Page Up)", () => steps.jump(-1), "act"),
      iconButton(BACK_10, "Back 10 seconds (Left)", () => steps.step(-10_000), "act"),
      this.play,
      iconButton(FORWARD_10, "Forward 10 seconds (Right)", () => steps.step(10_000), "act"),
      iconButton(SkipForward, "Next recording (Page Down)", () => steps.jump(1), "act"),
    ];
    this.all = [...transport, ...this.speeds, this.sound];
    this.node = element(
      "div",
      { class: "controls" },
      element("div", { class: "transport", role: "group", "aria-label": "Playback" }, ...transport),
      element("div", { class: "speeds", role: "group", "aria-label": "Speed" }, ...this.speeds, this.sound),
    );
  }

  show(enabled: boolean): void {
    const { player } = this;
    for (const each of this.all) each.disabled = !enabled;
    relabel(this.play, player.playing ? Pause : Play, player.playing ? "Pause (Space)" : "Play (Space)");
    relabel(this.sound, player.muted ? VolumeX : Volume2, player.muted ? "Unmute (m)" : "Mute (m)");
    this.speeds.forEach((each, index) => each.setAttribute("aria-pressed", String(SPEEDS[index] === player.speed)));
  }
}
