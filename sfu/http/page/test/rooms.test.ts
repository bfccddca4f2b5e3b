import assert from "node:assert/strict";
import { test } from "node:test";

import { ancestry, childrenOf, contains, shortName, topLevel, validPeer, validRoom } from "../src/net/rooms.js";

test("a room has one to four levels of letters, digits, - and _", () => {
  for (const room of ["a", "site/gate", "A1/b-2/c_3/d", "x".repeat(63)]) assert.ok(validRoom(room), room);
  for (const room of ["", "a//b", "/a", "-a", "a/b/c/d/e", "a b", "ä", "x".repeat(64)])
    assert.ok(!validRoom(room), room);
});

test("names that topics use are not levels of a room", () => {
  for (const room of ["bridge", "site/pub", "state", "a/recordings/b"]) assert.ok(!validRoom(room), room);
});

test("a peer id has up to 64 letters, digits, - and _", () => {
  for (const peer of ["a", "_x-1", "p".repeat(64)]) assert.ok(validPeer(peer), peer);
  for (const peer of ["", "a/b", "p".repeat(65), "a b"]) assert.ok(!validPeer(peer), peer);
});

test("a room contains itself and its sub-rooms", () => {
  assert.ok(contains("site", "site"));
  assert.ok(contains("site", "site/gate"));
  assert.ok(!contains("site", "sites"));
  assert.ok(!contains("site/gate", "site"));
});

test("a room's path can be walked up and down", () => {
  assert.deepEqual(ancestry("a/b/c"), ["a", "a/b", "a/b/c"]);
  assert.equal(topLevel("a/b/c"), "a");
  assert.equal(shortName("a/b/c"), "c");
  assert.equal(shortName("a"), "a");
  assert.deepEqual(childrenOf(["b/x", "a/y/z", "a"], ""), ["a", "b"]);
  assert.deepEqual(childrenOf(["a/y/z", "a/w", "ab/c", "a"], "a"), ["a/w", "a/y"]);
});
