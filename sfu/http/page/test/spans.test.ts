import assert from "node:assert/strict";
import { test } from "node:test";

import { bytesOf, neighbour, type Segment, type Span, spanAt, stretches } from "../src/recordings/data/spans.js";

const SPANS: Span[] = [
  { start: 0, end: 10_000 },
  { start: 20_000, end: 30_000 },
  { start: 50_000, end: 60_000 },
];

test("segments less than 1 s apart are one stretch", () => {
  const segments = [
    { start: 0, end: 1_000 },
    { start: 1_999, end: 3_000 },
    { start: 4_000, end: 5_000 },
    { start: 4_500, end: 4_600 },
  ];
  assert.deepEqual(stretches(segments), [
    { start: 0, end: 3_000 },
    { start: 4_000, end: 5_000 },
  ]);
});

test("a span holds its start but not its end", () => {
  assert.equal(spanAt(SPANS, 20_000), SPANS[1]);
  assert.equal(spanAt(SPANS, 30_000), null);
  assert.equal(spanAt([], 0), null);
});

test("the next stretch begins after the time", () => {
  assert.equal(neighbour(SPANS, 5_000, 1), 20_000);
  assert.equal(neighbour(SPANS, 55_000, 1), null);
});

test("going back leads to the start of this stretch, within its first 3 s to the one before", () => {
  assert.equal(neighbour(SPANS, 25_000, -1), 20_000);
  assert.equal(neighbour(SPANS, 22_000, -1), 0);
  assert.equal(neighbour(SPANS, 1_000, -1), null);
});

test("a clip takes its share of each segment's bytes", () => {
  const segment = (start: number, end: number, bytes: number): Segment => ({
    start,
    end,
    bytes,
    url: "",
    protected: false,
    writing: false,
  });
  const segments = [segment(0, 10_000, 1_000), segment(10_000, 20_000, 4_000)];
  assert.equal(bytesOf(segments, { start: 5_000, end: 12_500 }), 1_500);
  assert.equal(bytesOf(segments, { start: 30_000, end: 40_000 }), 0);
});
