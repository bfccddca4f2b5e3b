import assert from "node:assert/strict";
import { test } from "node:test";

import { found, lastWords } from "../src/recordings/ui/camera_search.js";

const camera = (room: string, peer: string, end = 0, recording = false) => ({
  room,
  peer,
  start: 0,
  end,
  recording,
  days: [],
});
const CAMERAS = [camera("site/gate", "North"), camera("site/hall", "north"), camera("yard", "door")];

test("every word must be in the name or the room, in any case and order", () => {
  const names = (text: string): string[] => found(CAMERAS, text).map(({ room, peer }) => `${room}/${peer}`);
  assert.deepEqual(names(""), ["site/gate/North", "site/hall/north", "yard/door"]);
  assert.deepEqual(names("NORTH"), ["site/gate/North", "site/hall/north"]);
  assert.deepEqual(names(" north  gate "), ["site/gate/North"]);
  assert.deepEqual(names("attic"), []);
});

test("a camera that is recorded now says so, others when their last recording ended", () => {
  const now = Date.parse("2026-11-30T12:00:00Z");
  assert.equal(lastWords(camera("yard", "door", now, true), true, now), "recording");
  assert.equal(lastWords(camera("yard", "door", now - 7_200_000), false, now), "until 11:00");
  assert.match(lastWords(camera("yard", "door", now - 7 * 86_400_000), false, now), /23/);
});
