import assert from "node:assert/strict";
import { test } from "node:test";

import { sortBlocks } from "../src/recordings/data/webm.js";

/** An EBML element with a size of one byte (RFC 8794 section 4.4). */
function element(id: number[], ...body: number[]): number[] {
  return [...id, 0x80 | body.length, ...body];
}

const CLUSTER = [0x1f, 0x43, 0xb6, 0x75];
const time = (value: number): number[] => element([0xe7], value >> 8, value & 255);
/** A SimpleBlock of `track` at `at` ms after its cluster. */
const block = (track: number, at: number, data: number): number[] =>
  element([0xa3], 0x80 | track, (at >> 8) & 255, at & 255, 0, data);
const group = (track: number, at: number, data: number): number[] =>
  element([0xa0], ...element([0xa1], 0x80 | track, (at >> 8) & 255, at & 255, 0, data));

function sorted(...elements: number[][]): number[] {
  const data = new Uint8Array(elements.flat());
  sortBlocks(data);
  return [...data];
}

test("blocks are put in order of time, equal times keep their order", () => {
  const [a, b, c, d] = [block(1, 40, 1), block(2, 0, 2), group(2, 20, 3), block(1, 20, 4)];
  const cluster = (...blocks: number[][]): number[] => element(CLUSTER, ...time(1_000), ...blocks.flat());
  assert.deepEqual(sorted(cluster(a, b, c, d)), cluster(b, c, d, a));
});

test("a block before its cluster moves the cluster's time", () => {
  const found = sorted(element(CLUSTER, ...time(1_000), ...block(1, 0, 1), ...block(2, -10, 2)));
  assert.deepEqual(found, element(CLUSTER, ...time(990), ...block(2, 0, 2), ...block(1, 10, 1)));
});

test("a cluster with something between its blocks stays as it is", () => {
  const cluster = element(CLUSTER, ...time(0), ...block(1, 9, 1), ...element([0xec], 0), ...block(1, 3, 2));
  assert.deepEqual(sorted(cluster), cluster);
});

test("other elements and torn clusters stay as they are", () => {
  const other = element([0x1a, 0x45, 0xdf, 0xa3], 1, 2, 3);
  const torn = element(CLUSTER, ...time(0), ...block(1, 9, 1), ...block(1, 3, 2)).slice(0, -1);
  assert.deepEqual(sorted(other, torn), [...other, ...torn]);
});
