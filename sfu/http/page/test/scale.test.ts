import assert from "node:assert/strict";
import { test } from "node:test";

import { clamp, dayOf, following, moved, ticks, zoomed } from "../src/recordings/ui/scale.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = { start: 0, end: 24 * HOUR };

test("zooming keeps the chosen time where it is", () => {
  assert.deepEqual(zoomed(DAY, DAY, 0.5, 6 * HOUR), { start: 3 * HOUR, end: 15 * HOUR });
});

test("zooming ends at 2 minutes and at the whole day", () => {
  const minute = zoomed(DAY, DAY, 1e-6, 12 * HOUR);
  assert.equal(minute.end - minute.start, 2 * MINUTE);
  assert.deepEqual(zoomed({ start: HOUR, end: 2 * HOUR }, DAY, 100, HOUR), DAY);
});

test("moving stops at the edges of the day", () => {
  const shown = { start: HOUR, end: 3 * HOUR };
  assert.deepEqual(moved(shown, DAY, HOUR), { start: 2 * HOUR, end: 4 * HOUR });
  assert.deepEqual(moved(shown, DAY, -5 * HOUR), { start: 0, end: 2 * HOUR });
  assert.deepEqual(moved(shown, DAY, 30 * HOUR), { start: 22 * HOUR, end: 24 * HOUR });
});

test("the shown part follows a time that leaves it", () => {
  const shown = { start: 8 * HOUR, end: 16 * HOUR };
  assert.equal(following(shown, DAY, 12 * HOUR), shown);
  assert.deepEqual(following(shown, DAY, 16 * HOUR), { start: 15 * HOUR, end: 23 * HOUR });
  assert.deepEqual(following(shown, DAY, 4 * HOUR), { start: 3 * HOUR, end: 11 * HOUR });
});

test("ticks are whole steps of the day, at least as far apart as asked", () => {
  const shown = { start: 10 * HOUR + 7 * MINUTE, end: 10 * HOUR + 31 * MINUTE };
  const minutes = [10, 20, 30].map((minute) => 10 * HOUR + minute * MINUTE);
  assert.deepEqual(ticks(shown, 0, 6 * MINUTE), { step: 10 * MINUTE, times: minutes });
  assert.equal(ticks(DAY, 0, 7 * HOUR).step, 12 * HOUR);
});

test("a day lasts from midnight to midnight, local time", () => {
  const { start, end } = dayOf(new Date(2026, 10, 23, 15, 4).getTime());
  assert.equal(start, new Date(2026, 10, 23).getTime());
  assert.equal(end, new Date(2026, 10, 24).getTime());
});

test("days with a change of the clock have 23 and 25 hours", () => {
  assert.equal(process.env.TZ, "Europe/Berlin", "set by the script in package.json");
  const hours = (month: number, day: number): number => {
    const { start, end } = dayOf(new Date(2026, month, day, 12).getTime());
    return (end - start) / HOUR;
  };
  assert.deepEqual([hours(2, 29), hours(9, 25), hours(9, 26)], [23, 25, 24]);
});

test("clamp keeps a value between two bounds", () => {
  assert.deepEqual(
    [-1, 5, 11].map((value) => clamp(value, 0, 10)),
    [0, 5, 10],
  );
});
