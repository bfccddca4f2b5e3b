import assert from "node:assert/strict";
import { test } from "node:test";

import { Cushion, type PathStats } from "../src/playout/cushion.js";

function path(nacks: number, changed: Partial<PathStats> = {}): PathStats {
  return { nacks, freezes: 0, dropped: 0, roundTrip: 120, jitter: 20, ...changed };
}

/** Returns the target delay, in ms, after each of `seen`, one a second. */
function targets(...seen: PathStats[]): (number | null)[] {
  const cushion = new Cushion();
  return seen.map((stats, second) => cushion.update(stats, 1_000 * second));
}

function repeated(stats: PathStats, times: number): PathStats[] {
  return Array<PathStats>(times).fill(stats);
}

const counts = Array.from({ length: 10 }, (_, index) => index + 2);

test("a link without loss leaves the delay to the browser", () => {
  assert.deepEqual(targets(...repeated(path(0), 100)), Array(100).fill(null));
});

test("a single loss does not add delay", () => {
  assert.deepEqual(targets(path(0), ...repeated(path(1), 101)), Array(102).fill(null));
});

test("repeated loss adds the time that a retransmission takes, and keeps it unchanged", () => {
  assert.deepEqual(targets(path(0), path(1), path(2), path(3)), [null, null, 280, 280]);
});

test("an unknown round trip counts as 100 ms", () => {
  const seen = [0, 1, 2].map((nacks) => path(nacks, { roundTrip: null }));
  assert.equal(targets(...seen)[2], 250);
});

test("each freeze raises the target by a quarter, up to 600 ms", () => {
  const seen = counts.map((count) => path(count, { freezes: count }));
  const raised = targets(path(0), path(1), ...seen).slice(2);
  assert.deepEqual(raised, [280, 350, 438, 548, 600, 600, 600, 600, 600, 600]);
});

test("dropped frames count like freezes", () => {
  const frozen = counts.map((count) => path(count, { freezes: count }));
  const dropped = counts.map((count) => path(count, { dropped: count }));
  assert.deepEqual(targets(path(0), path(1), ...dropped), targets(path(0), path(1), ...frozen));
});

test("after 30 s without loss the target falls by 15 ms a second, and ends", () => {
  const found = targets(path(0), path(1), path(2), ...repeated(path(2), 60));
  assert.deepEqual(found.slice(2, 33), Array(31).fill(280));
  assert.deepEqual(found.slice(33, 36), [265, 250, 235]);
  assert.equal(found.at(-1), null);
});

test("counters that start again (a new connection) change nothing", () => {
  assert.deepEqual(targets(path(0), path(5), path(6), path(0)), [null, null, 280, 280]);
});
