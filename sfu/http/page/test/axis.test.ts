import assert from "node:assert/strict";
import { test } from "node:test";

import { Axis } from "../src/recordings/play/axis.js";

const ORIGIN = 1_000_000;

test("parts of one segment share an offset, small holes between them are closed", () => {
  const axis = new Axis(ORIGIN);
  assert.equal(axis.put(1_010_000, 1_012_000, 1_010_000), 10);
  assert.equal(axis.put(1_012_100, 1_014_000, 1_010_000), 10);
  assert.equal(axis.media(1_013_000), 13);
  assert.equal(axis.wall(13), 1_013_000);
});

test("a cut between two segments is closed", () => {
  const axis = new Axis(ORIGIN);
  axis.put(1_010_000, 1_012_000, 1_010_000);
  assert.equal(axis.put(1_012_500, 1_015_000, 1_012_500), 12);
  assert.equal(axis.media(1_013_500), 13);
  assert.equal(axis.wall(13), 1_013_500);
  assert.equal(axis.media(1_012_200), null);
});

test("a gap of a second or more stays", () => {
  const axis = new Axis(ORIGIN);
  axis.put(1_010_000, 1_012_000, 1_010_000);
  assert.equal(axis.put(1_020_000, 1_022_000, 1_020_000), 20);
  assert.equal(axis.media(1_015_000), null);
  assert.equal(axis.wall(15), 1_012_000);
});

test("a clock that was set back continues after the last part", () => {
  const axis = new Axis(ORIGIN);
  axis.put(1_010_000, 1_012_000, 1_010_000);
  assert.equal(axis.put(1_005_000, 1_006_000, 1_005_000), 12);
  assert.equal(axis.media(1_005_500), 12.5);
});

test("an empty axis counts from its origin", () => {
  const axis = new Axis(ORIGIN);
  assert.equal(axis.wall(2), 1_002_000);
  axis.put(1_010_000, 1_012_000, 1_010_000);
  axis.clear();
  assert.equal(axis.media(1_011_000), null);
  assert.equal(axis.wall(2), 1_002_000);
});
