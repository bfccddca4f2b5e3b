import assert from "node:assert/strict";
import { test } from "node:test";

import { kindsOf, mimeOf } from "../src/recordings/data/codecs.js";

function header(...pieces: (string | number[])[]): Uint8Array {
  return new Uint8Array(
    pieces.flatMap((piece) => (typeof piece === "string" ? [...piece].map((letter) => letter.charCodeAt(0)) : piece)),
  );
}

test("H.264 with Opus in MP4", () => {
  const found = mimeOf(header("....ftyp", "avcC", [1, 0x42, 0xe0, 0x1f], "Opus"));
  assert.equal(found, 'video/mp4; codecs="avc1.42e01f,opus"');
});

test("H.265 in MP4 (ISO/IEC 14496-15 annex E.3)", () => {
  const box = [1, 0x01, 0x60, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 0x5d];
  assert.equal(mimeOf(header("....hvc1", "hvcC", box)), 'video/mp4; codecs="hvc1.1.6.L93.b0"');
  assert.equal(mimeOf(header("....hev1", "hvcC", box)), 'video/mp4; codecs="hev1.1.6.L93.b0"');
});

test("VP9, AV1 and AAC in MP4", () => {
  assert.equal(mimeOf(header("....vpcC", [1, 0, 0, 0, 0, 31, 0x82])), 'video/mp4; codecs="vp09.00.31.08"');
  assert.equal(mimeOf(header("....av1C", [0x81, 0x08, 0x0c], "mp4a")), 'video/mp4; codecs="av01.0.08M.08,mp4a.40.2"');
});

test("VP8 with Opus in WebM", () => {
  assert.equal(mimeOf(header([0x1a, 0x45, 0xdf, 0xa3], "V_VP8", "A_OPUS")), 'video/webm; codecs="vp8,opus"');
});

test("a source buffer's tracks are video, audio or both", () => {
  const mimes = ["avc1.42e01f,opus", "vp8", "opus"].map((codecs) => `video/mp4; codecs="${codecs}"`);
  assert.deepEqual(mimes.map(kindsOf), ["true/true", "true/false", "false/true"]);
});
