import assert from "node:assert/strict";
import { test } from "node:test";

import { overlayText } from "../src/recordings/ui/words.js";
import {
  codecName,
  deviceErrorText,
  errorText,
  noteText,
  problemText,
  reasonText,
  statusText,
  troubleText,
} from "../src/ui/words.js";

test("an error has a text; an unknown code its own message", () => {
  const error = { code: "room_not_found", message: "", retryAfter: null };
  assert.equal(errorText(error), "This room does not exist.");
  assert.equal(errorText({ ...error, code: "new", message: "Try later" }), "Try later");
  assert.equal(errorText({ ...error, code: "new" }), "Internal server error. Trying again.");
});

test("a codec that cannot be played is named", () => {
  assert.equal(codecName("H265"), "H.265");
  assert.equal(codecName("xyz"), "xyz");
  assert.equal(reasonText("codec", "VP9")?.[0], "This browser cannot play VP9");
  assert.equal(reasonText("codec", undefined)?.[0], "This browser cannot play this camera's codec");
});

test("low bandwidth is a note, any other reason replaces the video", () => {
  assert.equal(noteText("thin_link"), "Low bandwidth: key frames only");
  assert.equal(noteText(undefined), "");
  assert.equal(reasonText("thin_link", "VP8"), null);
  assert.equal(reasonText(undefined, "VP8"), null);
  assert.deepEqual(reasonText("new", "VP8"), ["No video", "new"]);
});

test("the status names what is missing first", () => {
  const up = { broker: "connected", serverOnline: true } as const;
  assert.deepEqual(statusText(up, true), ["good", "Connected"]);
  assert.deepEqual(statusText({ ...up, serverOnline: null }, false), ["busy", "Looking for the server"]);
  assert.deepEqual(statusText({ broker: "away", serverOnline: false }, true), [
    "bad",
    "Server offline; video continues",
  ]);
  assert.deepEqual(statusText({ broker: "away", serverOnline: true }, false), ["bad", "Broker unreachable"]);
});

test("errors of getUserMedia have texts", () => {
  const text = (name: string): string => deviceErrorText(new DOMException("", name));
  assert.equal(text("NotAllowedError"), "Camera access was denied. Allow it in the browser's address bar.");
  assert.equal(text("OverconstrainedError"), "No camera was found on this device.");
  assert.equal(deviceErrorText(new Error()), "The camera could not be opened.");
});

test("the text over a recording says why there is no video", () => {
  const player = { status: "ready", gap: null, playing: true } as const;
  const fine = { trouble: "none", supported: true, known: true, chosen: true, today: true, player } as const;
  assert.equal(overlayText(fine), null);
  assert.equal(overlayText({ ...fine, trouble: "missing" })?.title, "Recording is not enabled on this server");
  assert.equal(overlayText({ ...fine, known: false })?.title, "No recordings yet");
  assert.equal(overlayText({ ...fine, chosen: false })?.title, "Choose a camera");
  assert.equal(
    overlayText({ ...fine, today: false, player: { ...player, status: "idle" } })?.title,
    "No recordings on this day",
  );
  assert.equal(overlayText({ ...fine, trouble: "away" })?.style, "note");
  assert.equal(overlayText({ ...fine, trouble: "away", known: false })?.style, "");
});

test("a gap is shown with its duration and its end", () => {
  const end = new Date(2026, 10, 23, 7).getTime();
  const player = { status: "gap", gap: { start: end - 20_000, end }, playing: true } as const;
  const found = overlayText({ trouble: "none", supported: true, known: true, chosen: true, today: true, player });
  assert.deepEqual(found, { style: "gap", title: "No recording for 20 s", text: "Continues at 07:00:00" });
});

test("a camera that nobody can see is named with the reason", () => {
  assert.equal(problemText("no_parameter_sets")[0], "The video cannot be decoded");
  assert.deepEqual(problemText("something_new"), ["No video", "something_new"]);
  const troubles = [
    { peer: "gate", problem: "no_codec" },
    { peer: "door", problem: "no_key_frame" },
  ];
  assert.equal(troubleText(troubles), "gate: the server does not know this codec · door: no key frame yet");
  assert.equal(troubleText([]), "");
});
