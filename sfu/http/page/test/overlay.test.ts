import assert from "node:assert/strict";
import { test } from "node:test";

import { WindowStats } from "../src/playout/monitor.js";
import type { VideoStats } from "../src/playout/stats.js";
import { rows, type Shown } from "../src/wall/overlay.js";

const EMPTY: VideoStats = {
  at: 0,
  bytes: 0,
  received: 0,
  lost: 0,
  nacks: 0,
  retransmitted: 0,
  decoded: 0,
  freezes: 0,
  dropped: 0,
  frozen: 0,
  jitter: 0,
  buffered: 0,
  emitted: 0,
  roundTrip: null,
};

function shown(changed: Partial<Shown> = {}): Shown {
  return { width: 0, height: 0, codec: undefined, start: null, sparse: false, stats: new WindowStats(), ...changed };
}

test("values that are not known have no row", () => {
  assert.deepEqual(rows(shown()), [["Sent", "all frames"]]);
});

test("all values are shown with their units", () => {
  const stats = new WindowStats();
  stats.update(EMPTY, 0);
  const after = {
    ...EMPTY,
    at: 1_000,
    bytes: 250_000,
    received: 99,
    lost: 1,
    retransmitted: 1,
    decoded: 25,
    buffered: 2_500,
    emitted: 25,
  };
  stats.update({ ...after, freezes: 2, frozen: 1_500, roundTrip: 12.4 }, 1_000);
  assert.deepEqual(rows(shown({ width: 1_280, height: 720, codec: "H264", start: 57.2, sparse: true, stats })), [
    ["Video", "1280 × 720, 25 fps, H.264"],
    ["Sent", "key frames only: low bandwidth"],
    ["Bitrate", "2.0 Mbit/s"],
    ["Lost", "1 of 100 packets, 1 retransmitted"],
    ["Frozen", "1.5 s in 2 freezes"],
    ["Buffer", "100 ms"],
    ["Round trip", "12 ms"],
    ["Start", "57 ms to the first frame"],
  ]);
});
