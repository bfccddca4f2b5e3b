import assert from "node:assert/strict";
import { test } from "node:test";

import { ratesBetween, type VideoStats, videoStats } from "../src/playout/stats.js";

const INBOUND = {
  type: "inbound-rtp",
  mid: "0",
  timestamp: 5_000,
  bytesReceived: 1_000,
  packetsReceived: 10,
  packetsLost: 1,
  nackCount: 2,
  retransmittedPacketsReceived: 1,
  framesDecoded: 30,
  freezeCount: 1,
  framesDropped: 3,
  totalFreezesDuration: 0.25,
  jitter: 0.02,
  jitterBufferDelay: 1.5,
  jitterBufferEmittedCount: 30,
};
const PAIR = { type: "candidate-pair", nominated: true, state: "succeeded", currentRoundTripTime: 0.04 };

function reports(...entries: Record<string, unknown>[]): RTCStatsReport {
  return new Map(entries.map((entry, index) => [String(index), entry])) as unknown as RTCStatsReport;
}

test("the inbound report of a section is read, in ms", () => {
  assert.deepEqual(
    videoStats(
      reports({ ...INBOUND, mid: "1" }, INBOUND, { ...PAIR, nominated: false, currentRoundTripTime: 9 }, PAIR),
      "0",
    ),
    {
      at: 5_000,
      bytes: 1_000,
      received: 10,
      lost: 1,
      nacks: 2,
      retransmitted: 1,
      decoded: 30,
      freezes: 1,
      dropped: 3,
      frozen: 250,
      jitter: 20,
      buffered: 1_500,
      emitted: 30,
      roundTrip: 40,
    },
  );
});

test("a section without a report has no statistics", () => {
  assert.equal(videoStats(reports(PAIR), "0"), null);
  assert.equal(videoStats(reports(INBOUND), null), null);
});

test("fields that a browser does not report are 0, and its round trip null", () => {
  const found = videoStats(reports({ type: "inbound-rtp", mid: "0" }), "0");
  assert.equal(found?.decoded, 0);
  assert.equal(found?.roundTrip, null);
});

test("rates are those of the time between two reports", () => {
  const before = videoStats(reports(INBOUND), "0") as VideoStats;
  const after = { ...before, at: 7_000, bytes: 251_000, decoded: 90, buffered: 7_500, emitted: 90 };
  assert.deepEqual(ratesBetween(before, after), { bitrate: 1_000_000, fps: 30, buffer: 100 });
  assert.deepEqual(ratesBetween(before, { ...before, at: 6_000 }), { bitrate: 0, fps: 0, buffer: null });
  assert.equal(ratesBetween(before, before), null);
});
