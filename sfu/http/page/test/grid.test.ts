import assert from "node:assert/strict";
import { test } from "node:test";

import { bestGrid } from "../src/wall/grid.js";

const SCREEN = { width: 1_920, height: 1_080, gap: 0, narrowest: 260 };

test("one tile fills a 16:9 screen", () => {
  assert.deepEqual(bestGrid(1, SCREEN), { columns: 1, width: 1_920 });
});

test("the number of columns makes tiles as large as possible", () => {
  assert.deepEqual(bestGrid(4, SCREEN), { columns: 2, width: 960 });
  assert.deepEqual(bestGrid(9, SCREEN), { columns: 3, width: 640 });
  assert.deepEqual(bestGrid(2, { ...SCREEN, width: 900, height: 1_600 }), { columns: 1, width: 900 });
});

test("gaps are taken off the width and the height", () => {
  assert.deepEqual(bestGrid(4, { ...SCREEN, gap: 12 }), { columns: 2, width: 949 });
});

test("tiles that would be too small fill the width instead, and the wall scrolls", () => {
  assert.deepEqual(bestGrid(30, { width: 800, height: 300, gap: 10, narrowest: 260 }), { columns: 3, width: 260 });
});

test("of nearly equal sizes the one with more columns is taken, which leaves no empty row", () => {
  assert.deepEqual(bestGrid(5, { width: 1_256, height: 708, gap: 12, narrowest: 260 }), { columns: 3, width: 410 });
});

test("a screen narrower than one tile gets one column", () => {
  assert.deepEqual(bestGrid(3, { width: 200, height: 100, gap: 8, narrowest: 260 }), { columns: 1, width: 200 });
});
