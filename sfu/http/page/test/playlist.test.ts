import assert from "node:assert/strict";
import { test } from "node:test";

import { parsePlaylist, segmentStart } from "../src/recordings/data/playlist.js";

const ADDRESS = "http://host/api/recordings/hls/site/cam.m3u8?start=x";
const PLAYLIST = `#EXTM3U
#EXT-X-VERSION:7
#EXT-X-MAP:URI="../../media/a.mp4",BYTERANGE="800@0"
#EXT-X-PROGRAM-DATE-TIME:2026-11-23T07:00:00.000Z
#EXTINF:2.000,
#EXT-X-BYTERANGE:5000@800
../../media/a.mp4
#EXTINF:1.500,
#EXT-X-BYTERANGE:4000@5800
../../media/a.mp4
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="../../media/b.mp4",BYTERANGE="700@0"
#EXT-X-PROGRAM-DATE-TIME:2026-11-23T08:00:00.000Z
#EXTINF:2.000,
#EXT-X-BYTERANGE:100@700
../../media/b.mp4
`;

test("a playlist's parts have wall times, byte ranges and headers", () => {
  const seven = Date.UTC(2026, 10, 23, 7);
  const a = "http://host/api/recordings/media/a.mp4";
  const b = "http://host/api/recordings/media/b.mp4";
  const header = { url: a, offset: 0, size: 800 };
  assert.deepEqual(parsePlaylist(PLAYLIST, ADDRESS), [
    { url: a, offset: 800, size: 5_000, start: seven, end: seven + 2_000, header },
    { url: a, offset: 5_800, size: 4_000, start: seven + 2_000, end: seven + 3_500, header },
    {
      url: b,
      offset: 700,
      size: 100,
      start: seven + 3_600_000,
      end: seven + 3_602_000,
      header: { url: b, offset: 0, size: 700 },
    },
  ]);
});

test("entries without a byte range, a header or a time are left out", () => {
  for (const tag of ["#EXT-X-BYTERANGE", "#EXT-X-MAP", "#EXT-X-PROGRAM-DATE-TIME"]) {
    const text = PLAYLIST.split("\n")
      .filter((line) => !line.startsWith(tag))
      .join("\n");
    assert.deepEqual(parsePlaylist(text, ADDRESS), []);
  }
});

test("line ends may be CRLF", () => {
  assert.equal(parsePlaylist(PLAYLIST.replaceAll("\n", "\r\n"), ADDRESS).length, 3);
});

test("a segment's name tells when it began", () => {
  assert.equal(
    segmentStart("http://host/media/site/cam/2026-11-23/07-00-01.250Z.mp4"),
    Date.UTC(2026, 10, 23, 7, 0, 1, 250),
  );
  assert.ok(Number.isNaN(segmentStart("http://host/other.mp4")));
});
