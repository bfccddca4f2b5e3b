import assert from "node:assert/strict";
import { test } from "node:test";

import { Silence } from "../src/session/liveness.js";

type Sample = [bytes: number | null, restarting: boolean];

/** Returns the times, in ms, at which a path that may be silent for 600 ms counts as dead; one sample each 200 ms. */
function silences(...samples: Sample[]): number[] {
  const silence = new Silence(600);
  return samples.flatMap(([bytes, restarting], number) =>
    silence.sample(bytes, restarting, 200 * number) ? [200 * number] : [],
  );
}

function quiet(samples: number, bytes: number | null = 7): Sample[] {
  return Array<Sample>(samples).fill([bytes, false]);
}

test("a path on which bytes arrive is alive", () => {
  assert.deepEqual(silences(...Array.from({ length: 20 }, (_, number): Sample => [number, false])), []);
});

test("a path on which nothing is expected is alive", () => {
  assert.deepEqual(silences(...quiet(20, null)), []);
});

test("a silence is reported once", () => {
  assert.deepEqual(silences(...quiet(20)), [600]);
});

test("a second silence is reported again", () => {
  assert.deepEqual(silences(...quiet(5), ...quiet(5, 8)), [600, 1_600]);
});

test("a path that recovered before the restart was answered gets twice the time", () => {
  assert.deepEqual(silences(...quiet(5), [8, true], ...quiet(10, 8)), [600, 2_200]);
});

test("a page that was suspended takes a second sample before it decides", () => {
  const silence = new Silence(600);
  const samples = [
    [1, 0],
    [1, 9_000],
    [2, 9_200],
  ] as const;
  assert.deepEqual(
    samples.map(([bytes, now]) => silence.sample(bytes, false, now)),
    [false, false, false],
  );
});
