import assert from "node:assert/strict";
import { test } from "node:test";

import { cameraId, knows, may, parseGrants, sameGrants, viewedRooms, viewerId } from "../src/access/grants.js";
import { nextAfter } from "../src/access/keeper.js";
import { embeddedText, noRightsText, publishHint } from "../src/access/words.js";

const RANDOM = "0d1f2e3c-4b5a-4678-9abc-def012345678";

function grants(rooms: string[], ...can: string[]) {
  return parseGrants({ access: "on", user: "ann", peer: "ann", rooms, can, expires: 2_000 });
}

test("a server that asks nobody lets everybody do everything", () => {
  for (const given of [{}, { access: "open", user: null, peer: null, rooms: ["*"], can: [] }]) {
    const open = parseGrants(given);
    assert.equal(open.on, false);
    assert.ok(may(open, "record"));
    assert.equal(viewerId(open, RANDOM), RANDOM);
    assert.equal(cameraId(open, "desk"), "desk");
    assert.deepEqual(viewedRooms(open, null, ["site/gate", "site/door", "yard"]), ["site", "yard"]);
    assert.deepEqual(viewedRooms(open, "site", []), ["site"]);
  }
});

test("nonsense in the configuration gives no rights", () => {
  const none = parseGrants({ access: "on", user: 1, peer: {}, rooms: "*", can: [null, 3], expires: "soon" });
  assert.deepEqual(none, { on: true, user: null, peer: null, rooms: [], can: [], expires: null });
  assert.equal(may(none, "view"), false);
});

test("the ids of viewers and cameras begin with the visitor's name", () => {
  const ann = grants(["*"], "view", "publish");
  assert.equal(viewerId(ann, RANDOM), "ann--0d1f2e3c4b5a");
  assert.equal(cameraId(ann, "desk"), "ann--desk");
  assert.equal(cameraId(ann, "ann"), "ann");
  assert.equal(cameraId(ann, "ann--desk"), "ann--desk");
  assert.equal(cameraId(ann, "anna"), "ann--anna");
  assert.equal(cameraId(grants(["*"], "admin", "publish"), "desk"), "desk");
});

test("views are opened on the widest rooms that the visitor may see", () => {
  const ann = grants(["site/gate", "yard", "yard/back"], "view");
  const live = ["site/gate/left", "site/gate", "site/door", "yard/back"];
  assert.deepEqual(viewedRooms(ann, null, live), ["site/gate", "yard"]);
  assert.deepEqual(viewedRooms(ann, "site", live), ["site/gate"]);
  assert.deepEqual(viewedRooms(ann, "site/gate/left", live), ["site/gate/left"]);
  assert.deepEqual(viewedRooms(ann, "site/door", live), []);
  assert.ok(knows(ann, "yard/back/east"));
  assert.ok(!knows(ann, "yards"));
  assert.ok(!knows(ann, "site"));
});

test("a longer login is the same visitor, another right is not", () => {
  const ann = grants(["yard"], "view");
  assert.ok(sameGrants(ann, { ...ann, expires: 9_000 }));
  assert.ok(!sameGrants(ann, grants(["yard"], "view", "record")));
  assert.ok(!sameGrants(ann, { ...ann, user: "bob" }));
});

test("the login is renewed each hour, and well before it ends", () => {
  const now = 1_000_000_000;
  assert.equal(nextAfter(null, now), 3_600_000);
  assert.equal(nextAfter(now / 1000 + 86_400, now), 3_600_000);
  assert.equal(nextAfter(now / 1000 + 600, now), 300_000);
  assert.equal(nextAfter(now / 1000 - 5, now), 30_000);
});

test("the command for a camera fits where the browser is", () => {
  const there = { room: "yard", host: "home.example", websocket: "wss://home.example/cams/mqtt", on: true };
  const command = "sfu publish yard SOURCE --broker wss://home.example/cams/mqtt";
  assert.equal(publishHint(there).command, `${command} --token TOKEN`);
  assert.match(publishHint(there).remark, /sfu token yard --role publish/);
  assert.deepEqual(publishHint({ ...there, on: false }), { command, remark: "" });
  for (const host of ["localhost", "127.0.0.1", "127.0.1.1", "[::1]"]) {
    assert.deepEqual(publishHint({ ...there, host, room: null }), {
      command: "sfu publish frontdoor SOURCE",
      remark: "",
    });
  }
});

test("an embedded page says why it is dark", () => {
  assert.match(embeddedText({ token: false, ended: false, framed: false }).text, /^Log in to see this camera/);
  assert.equal(embeddedText({ token: false, ended: false, framed: false }).detail, "");
  assert.match(embeddedText({ token: false, ended: true, framed: true }).detail, /#token=/);
  assert.match(embeddedText({ token: true, ended: true, framed: true }).text, /ended/);
  assert.equal(embeddedText({ token: true, ended: false, framed: true }).link, "");
  assert.match(noRightsText("yard"), /yard/);
});
