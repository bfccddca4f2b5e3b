import assert from "node:assert/strict";
import { test } from "node:test";

import { clock, durationText, sizeText } from "../src/recordings/ui/format.js";

test("a time of day is local, with two digits a field", () => {
  const time = new Date(2026, 10, 23, 7, 5, 9).getTime();
  assert.equal(clock(time), "07:05:09");
  assert.equal(clock(time, false), "07:05");
});

test("durations have two units at most", () => {
  const texts: [number, string][] = [
    [0, "1 s"],
    [20_400, "20 s"],
    [60_000, "1 min"],
    [150_000, "2 min 30 s"],
    [3_600_000, "1 h 0 min"],
    [5_430_000, "1 h 30 min"],
    [172_800_000, "2 days"],
  ];
  for (const [ms, text] of texts) assert.equal(durationText(ms), text);
});

test("sizes are decimal", () => {
  assert.deepEqual([1, 1_499, 2_500_000, 1_250_000_000].map(sizeText), ["1 kB", "1 kB", "3 MB", "1.3 GB"]);
});
