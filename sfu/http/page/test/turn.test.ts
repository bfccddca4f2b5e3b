import assert from "node:assert/strict";
import { test } from "node:test";

import { turnOf, withoutTurn } from "../src/recordings/data/turn.js";

const letters = (text: string): number[] => [...text].map((letter) => letter.charCodeAt(0));

/** A track header, version 0, with the signs of a, b, c and d, and a width. */
function tkhd([a, b, c, d]: number[], width: number): number[] {
  const fixed = (sign: number): number[] => (sign < 0 ? [255, 255, 0, 0] : [0, sign, 0, 0]);
  const none = [0, 0, 0, 0];
  const matrix = [a!, b!, 0, c!, d!, 0, 0, 0, 1].flatMap((sign) => fixed(sign));
  return [...letters("tkhd"), ...Array<number>(40).fill(0), ...matrix, ...[0, width, 0, 0], ...none];
}

const webm = (...content: number[]): Uint8Array<ArrayBuffer> =>
  new Uint8Array([0x1a, 0x45, 0xdf, 0xa3, 0xb0, 0x81, 0x40, ...content]);
const POSE = [0x76, 0x75, 0x88, 0xc0, 0x56, 0x80, 0, 0, 0, 0, 0];

test("the track with a width says how to turn the pictures of an MP4", () => {
  const upright = new Uint8Array([...tkhd([1, 0, 0, 1], 0), ...tkhd([1, 0, 0, 1], 5)]);
  const quarter = new Uint8Array([...tkhd([1, 0, 0, 1], 0), ...tkhd([0, 1, -1, 0], 5)]);
  const half = new Uint8Array(tkhd([-1, 0, 0, -1], 5));
  assert.equal(turnOf(upright), "");
  assert.equal(new Set([turnOf(upright), turnOf(quarter), turnOf(half)]).size, 3);
});

test("a WebM keeps its length when its turn is left out", () => {
  const turned = webm(0x76, 0x70, 0x80 | POSE.length, ...POSE, 0x55);
  assert.notEqual(turnOf(turned), "");
  assert.equal(turnOf(webm(0x55)), "");
  const made = withoutTurn(turned);
  assert.deepEqual([made.length, turnOf(made)], [turned.length, ""]);
  assert.deepEqual([...made.subarray(7, 9)], [0xec, 0x80 | (POSE.length + 1)]);
  assert.deepEqual(withoutTurn(webm(0x55)), webm(0x55));
});
