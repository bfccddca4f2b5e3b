// The figures of one window, laid over its picture for whoever wants to know how it is doing.

import type { WindowStats } from "../playout/monitor.js";
import { element } from "../ui/dom.js";
import { codecName } from "../ui/words.js";

export interface Shown {
  width: number;
  height: number;
  codec: string | undefined;
  /** ms from the wish to see this camera to its first picture; null while there is none. */
  start: number | null;
  sparse: boolean;
  measured: WindowStats;
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

/** What is not known has no row. */
export function rows({ width, height, codec, start, sparse, measured }: Shown): [string, string][] {
  const { figures, rates, cushioned } = measured;
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
    [
      "Lost",
      figures &&
        `${figures.lost} of ${figures.received + figures.lost} packets, ${figures.retransmitted} retransmitted`,
    ],
    [
      "Frozen",
      figures && (figures.freezes ? `${(figures.frozen / 1000).toFixed(1)} s in ${figures.freezes} freezes` : "never"),
    ],
    [
      "Buffer",
      rates?.buffer == null
        ? null
        : `${ms(rates.buffer)}${cushioned === null ? "" : `, ${ms(cushioned)} target for retransmissions`}`,
    ],
    ["Round trip", figures?.roundTrip == null ? null : ms(figures.roundTrip)],
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
