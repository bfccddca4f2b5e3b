import assert from "node:assert/strict";
import { test } from "node:test";

import { loginQuery, onceOf, targetOf, whyOf } from "../src/login/target.js";
import { reasonText, refusalText } from "../src/login/words.js";

const ROOT = "https://home.example/cams/";

test("the token of a one-time link is in the fragment alone", () => {
  assert.equal(onceOf(new URL(`${ROOT}login#once=a.b-c_d.e`)), "a.b-c_d.e");
  assert.equal(onceOf(new URL(`${ROOT}login?once=a.b.c`)), null);
  assert.equal(onceOf(new URL(`${ROOT}login#once=`)), null);
  assert.equal(onceOf(new URL(`${ROOT}login#site/gate`)), null);
});

test("after the login the wall opens, with the room of the address", () => {
  assert.equal(targetOf(new URL(`${ROOT}login`)), ROOT);
  assert.equal(targetOf(new URL(`${ROOT}login#once=a.b.c`)), ROOT);
  assert.equal(targetOf(new URL(`${ROOT}login#site/gate`)), `${ROOT}#site/gate`);
});

test("the address that was asked for comes back", () => {
  for (const path of ["#site/gate?recordings=site/gate/cam", "?publish=desk&id=me#desk", "embed/site/gate", ""]) {
    const query = loginQuery(new URL(ROOT + path), new URL(ROOT), "ended");
    const address = new URL(`${ROOT}login${query}`);
    assert.equal(targetOf(address), ROOT + path);
    assert.equal(whyOf(address), "ended");
  }
});

test("no address leads to another site, out of our root, or to the login again", () => {
  const elsewhere = [
    "https://evil.example/",
    "//evil.example/",
    "/.//evil.example/",
    "\\\\evil.example/",
    "\t//evil.example",
    "javascript:alert(1)",
    "data:text/html,hi",
    "https://home.example.evil.example/cams/",
    "http://home.example/cams/",
    "https://home.example:8443/cams/",
    "/other/",
    "../other/",
    "/camsx/",
    "login?next=x",
    "http://[",
  ];
  for (const next of elsewhere) {
    assert.equal(targetOf(new URL(`${ROOT}login?${new URLSearchParams({ next })}`)), ROOT, next);
  }
  const doubled = new URL(`https://home.example/login?${new URLSearchParams({ next: "/.//evil.example/" })}`);
  assert.equal(new URL(targetOf(doubled)).host, "home.example");
});

test("each refusal says what to do", () => {
  const password = { user: "ann", password: "no" };
  assert.match(refusalText({ once: "x" }, 401, null), /Links work once.*sfu link/);
  assert.match(refusalText({ token: "x" }, 401, null), /sfu token/);
  assert.match(refusalText(password, 401, null), /password is wrong/);
  assert.equal(refusalText(password, 429, 42), "Too many attempts. Try again in 42 seconds.");
  assert.equal(refusalText(password, 429, 1), "Too many attempts. Try again in 1 second.");
  assert.match(refusalText(password, 503, null), /503/);
  assert.match(reasonText("ended"), /Log in again/);
  assert.equal(reasonText(null), "");
  assert.equal(whyOf(new URL(`${ROOT}login?why=<b>`)), null);
});
