import assert from "node:assert/strict";
import { test } from "node:test";

import { compareCameras } from "../src/wall/order.js";

const sorted = (names: string[]): string[] =>
  names
    .map((name) => ({ room: name.slice(0, name.lastIndexOf("/")), peer: name.slice(name.lastIndexOf("/") + 1) }))
    .sort(compareCameras)
    .map(({ room, peer }) => `${room}/${peer}`);

test("cameras are ordered by name, with numbers as people count", () => {
  assert.deepEqual(sorted(["yard/cam-10", "yard/cam-2", "yard/Cam-1"]), ["yard/Cam-1", "yard/cam-2", "yard/cam-10"]);
});

test("the cameras of a room stand together, before those of its sub-rooms", () => {
  assert.deepEqual(sorted(["site/gate/a", "site/z", "hall/x", "site/b"]), [
    "hall/x",
    "site/b",
    "site/z",
    "site/gate/a",
  ]);
});

test("a window without a camera comes last", () => {
  assert.ok(compareCameras(null, { room: "a", peer: "b" }) > 0);
  assert.ok(compareCameras({ room: "a", peer: "b" }, null) < 0);
  assert.equal(compareCameras(null, null), 0);
});
