import assert from "node:assert/strict";
import { mock, test } from "node:test";

import type { Size } from "../src/net/messages.js";
import { type Sized, SizeReports } from "../src/wall/sizes.js";

Object.assign(globalThis, { window: globalThis });
mock.timers.enable({ apis: ["setTimeout"] });

interface Sent {
  sizes: SizeReports;
  sent: unknown[];
}

function reports(windows: readonly Sized[], accepted: () => boolean = () => true): Sent {
  const sent: unknown[] = [];
  const sizes = new SizeReports(windows, (slots) => {
    if (accepted()) sent.push(slots);
    return accepted();
  });
  return { sizes, sent };
}

function slot(mid: string | null, size: Size | null): { mid: string | null; size: Size | null } {
  return { mid, size };
}

test("changes within 250 ms are sent together", () => {
  const windows = [slot("0", { width: 10, height: 10 }), slot("2", null), slot(null, { width: 1, height: 1 })];
  const { sizes, sent } = reports(windows);
  sizes.changed();
  windows[0]!.size = { width: 640, height: 360 };
  sizes.changed();
  mock.timers.tick(249);
  assert.deepEqual(sent, []);
  mock.timers.tick(1);
  assert.deepEqual(sent, [[{ mid: "0", width: 640, height: 360 }]]);
});

test("only sizes that changed are sent, until a new session begins", () => {
  const windows = [slot("0", { width: 640, height: 360 }), slot("2", { width: 320, height: 180 })];
  const { sizes, sent } = reports(windows);
  sizes.changed();
  mock.timers.tick(250);
  windows[1]!.size = { width: 100, height: 50 };
  sizes.changed();
  mock.timers.tick(250);
  assert.deepEqual(sent[1], [{ mid: "2", width: 100, height: 50 }]);
  sizes.forget();
  mock.timers.tick(250);
  assert.equal((sent[2] as unknown[]).length, 2);
});

test("sizes that could not be sent are sent with the next change", () => {
  let connected = false;
  const { sizes, sent } = reports([slot("0", { width: 640, height: 360 })], () => connected);
  sizes.changed();
  mock.timers.tick(250);
  connected = true;
  sizes.changed();
  mock.timers.tick(250);
  assert.deepEqual(sent, [[{ mid: "0", width: 640, height: 360 }]]);
});
