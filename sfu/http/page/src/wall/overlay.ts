// The statistics of one window, shown over its video.

import type { WindowStats } from "../playout/monitor.js";
import { element } from "../ui/dom.js";
import { codecName } from "../ui/words.js";

export interface Shown {
  width: number;
  height: number;
  codec: string | undefined;
  /** Time from the request to the first frame, in ms; null before it. */
  start: number | null;
  /** True while the server sends key frames only. */
  sparse: boolean;
  stats: WindowStats;
}

export class Overlay {
  readonly node = element("dl", { class: "stats", "aria-label": "Statistics", hidden: true });

  get open(): boolean {
    return !this.node.hidden;
  }

  set open(open: boolean) {
    this.node.hidden = !open;
  }

  update(shown: Shown): void {
    if (!this.open) return;
    this.node.replaceChildren(
      ...rows(shown).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
    );
  }
}

/** Returns name and value of each row; values that are not known have none. */
export function rows({ width, height, codec, start, sparse, stats }: Shown): [string, string][] {
  const { video, rates, target } = stats;
  const found: [string, string | null][] = [
    [
      "Video",
      width
        ? [`${width} × ${height}`, rates && `${Math.round(rates.fps)} fps`, codec && codecName(codec)]
            .filter(Boolean)
            .join(", ")
        : null,
    ],
    ["Sent", sparse ? "key frames only: low bandwidth" : "all frames"],
    ["Bitrate", rates && bits(rates.bitrate)],
    ["Lost", video && `${video.lost} of ${video.received + video.lost} packets, ${video.retransmitted} retransmitted`],
    [
      "Frozen",
      video && (video.freezes ? `${(video.frozen / 1000).toFixed(1)} s in ${video.freezes} freezes` : "never"),
    ],
    [
      "Buffer",
      rates?.buffer == null
        ? null
        : `${ms(rates.buffer)}${target === null ? "" : `, ${ms(target)} target for retransmissions`}`,
    ],
    ["Round trip", video?.roundTrip == null ? null : ms(video.roundTrip)],
    ["Start", start === null ? null : `${ms(start)} to the first frame`],
  ];
  return found.filter((row): row is [string, string] => row[1] !== null);
}

function bits(rate: number): string {
  return rate >= 1e6 ? `${(rate / 1e6).toFixed(1)} Mbit/s` : `${Math.round(rate / 1000)} kbit/s`;
}

function ms(time: number): string {
  return `${Math.round(time)} ms`;
}
