import assert from "node:assert/strict";
import { test } from "node:test";

import { dump, parse, parseError, parseTracks } from "../src/net/messages.js";

function bytes(value: unknown): Uint8Array {
  return new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
}

test("a signal message is read", () => {
  const message = { command: "signal", v: 2, clientid: "sfu", type: "answer", data: "v=0", session: "s1", more: 1 };
  assert.deepEqual(parse(bytes(message)), { clientid: "sfu", type: "answer", data: "v=0", session: "s1" });
});

test("anything else is null", () => {
  const message = { command: "signal", clientid: "sfu", type: "answer" };
  for (const other of [
    "",
    "{",
    [],
    { ...message, command: "x" },
    { ...message, clientid: 1 },
    { ...message, type: "sizes" },
  ]) {
    assert.equal(parse(bytes(other)), null);
  }
});

test("messages are written in ASCII", () => {
  assert.equal(
    dump({ clientid: "a", type: "bye", data: { reason: "größer" } }),
    '{"command":"signal","v":2,"clientid":"a","type":"bye","data":{"reason":"gr\\u00f6\\u00dfer"}}',
  );
});

test("slots of a tracks message are read; malformed ones are left out", () => {
  const source = { room: "a", peer: "b", track: "0", codec: "VP8" };
  const slots = [
    { mid: "0", kind: "video", source },
    { mid: "1", kind: "audio" },
    { mid: 2, kind: "video" },
    { mid: "3", kind: "data" },
  ];
  assert.deepEqual(parseTracks({ slots }), [
    { mid: "0", kind: "video", source },
    { mid: "1", kind: "audio", source: null },
  ]);
  assert.deepEqual(parseTracks(null), []);
});

test("an error without a code is internal", () => {
  assert.deepEqual(parseError({ code: "limit", message: "full", retry_after: 2 }), {
    code: "limit",
    message: "full",
    retryAfter: 2,
  });
  assert.deepEqual(parseError("?"), { code: "internal", message: "", retryAfter: null });
});
