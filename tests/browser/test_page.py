"""The page in a real Chromium, through a real door, against a stand-in for the server: what it shows in which state."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from sfu.http.assets import STATIC
from sfu.http.server import HttpServer, PageInfo
from tests.helpers.browser.pages import until_true
from tests.helpers.browser.stand_in import HEIGHT, WIDTH, Camera, StandIn, stand_in
from tests.helpers.http import DoorStage
from tests.helpers.waiting import PATIENCE_S, until

pytestmark = pytest.mark.skipif(not (STATIC / "app.js").is_file(), reason="needs the bundled page")

NORTH, SOUTH = Camera("site/gate", "north"), Camera("site/gate", "south")
BELL = Camera("frontdoor", "bell", audio=False)


@dataclass
class Scene:
    browser: Browser
    http: HttpServer
    server: StandIn

    async def open(self, path: str = "", *, init: str = "", **context: Any) -> Page:
        page = await (await self.browser.new_context(**context)).new_page()
        await page.add_init_script(init)
        await page.goto(self.http.url + path)
        await until_true(page, "window.__sfu !== undefined")
        return page


@contextlib.asynccontextmanager
async def serving(stage: DoorStage) -> AsyncIterator[HttpServer]:
    http = HttpServer(
        host="127.0.0.1",
        port=0,
        page=PageInfo(base="sfu", version="0"),
        door=stage.door,
        ready=lambda: True,
        metrics=lambda: b"",
        rooms=dict,
    )
    await http.start()
    try:
        yield http
    finally:
        await http.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def scene(chromium: Browser) -> AsyncIterator[Scene]:
    stage = DoorStage()
    async with serving(stage) as http, stand_in(stage) as server:
        yield Scene(chromium, http, server)


async def states(page: Page) -> dict[str, str]:
    """State of each tile that shows a camera, by the camera's id."""
    return {tile["peer"]: tile["state"] for tile in await page.evaluate("__sfu.stats()") if tile["peer"]}


async def until_states(page: Page, **wanted: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await states(page) != wanted:
            await asyncio.sleep(0.05)


async def test_the_wall_fills_and_empties_itself(scene: Scene) -> None:
    page = await scene.open()
    await expect(page.get_by_role("heading", name="Waiting for a camera")).to_be_visible()
    await scene.server.announce(NORTH)
    await until_states(page, north="live")
    await scene.server.announce(NORTH, SOUTH, BELL)
    await until_states(page, north="live", south="live", bell="live")
    assert await page.locator(".tile:visible").count() == 3
    await scene.server.announce(BELL)
    await until_states(page, bell="live")
    await scene.server.announce()
    await expect(page.get_by_role("heading", name="Waiting for a camera")).to_be_visible()


async def test_more_cameras_are_a_re_offer_in_the_same_session(scene: Scene) -> None:
    await scene.server.announce(NORTH)
    page = await scene.open("#site")
    await until_states(page, north="live")
    await scene.server.announce(NORTH, SOUTH)
    await until_states(page, north="live", south="live")
    first, second = scene.server.offers
    assert first["session"] == second["session"]
    assert [first["data"].count("\r\nm=") for first in (first, second)] == [2, 4]
    assert "a=recvonly" in first["data"]
    assert "a=sendrecv" not in first["data"]


async def test_a_tile_is_enlarged_sounds_and_shrinks_by_keys(scene: Scene) -> None:
    await scene.server.announce(NORTH, SOUTH)
    page = await scene.open("#site")
    await until_states(page, north="live", south="live")
    for key in ("ArrowRight", "ArrowRight", "Enter", "m"):
        await page.keyboard.press(key)
    await expect(page.locator(".tile.enlarged .camera")).to_have_text("south")
    assert [tile["muted"] for tile in await page.evaluate("__sfu.stats()")] == [True, False]
    await page.keyboard.press("ArrowLeft")
    await expect(page.locator(".tile.enlarged .camera")).to_have_text("north")
    await page.keyboard.press("Escape")
    await expect(page.locator(".tile.enlarged")).to_have_count(0)


async def test_every_control_has_a_name(scene: Scene) -> None:
    await scene.server.announce(NORTH)
    page = await scene.open("#site")
    await until_states(page, north="live")
    await expect(page.get_by_role("article", name="north in site/gate: live")).to_be_visible()
    for name in ("Unmute (m)", "Enlarge (Enter)", "Go live from this browser"):
        await expect(page.get_by_role("button", name=name)).to_have_count(1)
    unnamed = "[...document.querySelectorAll('button, a, input, select')].filter(e => !e.ariaLabel && !e.labels?.length"
    assert await page.evaluate(f"{unnamed} && !e.textContent.trim()).length") == 0


async def test_a_codec_that_this_browser_lacks_is_said(scene: Scene) -> None:
    await scene.server.announce(Camera("garage", "van", codec="H265", reason="codec"))
    page = await scene.open()
    await expect(page.get_by_text("This browser cannot play H.265")).to_be_visible()


async def test_rooms_lead_to_their_sub_rooms(scene: Scene) -> None:
    await scene.server.announce(NORTH, BELL)
    page = await scene.open()
    await page.get_by_role("link", name="site").click()
    await until_states(page, north="live")
    await page.get_by_role("link", name="gate").click()
    await expect(page).to_have_url(scene.http.url + "#site/gate")
    await until_states(page, north="live")
    await page.get_by_role("link", name="All rooms").last.click()
    await until_states(page, north="live", bell="live")


# How many offers the page's connections have made; tests of rooms look at it before and after.
OFFERS = """
window.offersMade = 0;
const set = RTCPeerConnection.prototype.setLocalDescription;
RTCPeerConnection.prototype.setLocalDescription = async function (...given) {
  await set.apply(this, given);
  window.offersMade += 1;
};
"""


async def test_a_chosen_room_is_asked_for_with_the_offer_that_was_made_ahead(scene: Scene) -> None:
    await scene.server.announce(NORTH, SOUTH, BELL)
    page = await scene.open("#nobody/here", init=OFFERS)
    await until_true(page, "offersMade === 2")  # one to wait in the empty room, one ahead
    await page.evaluate("location.hash = 'frontdoor'")
    await until(lambda: len(scene.server.offers) == 2)
    assert await page.evaluate("offersMade") == 2
    await until_states(page, bell="live")
    await until_true(page, "offersMade === 3")
    await page.evaluate("location.hash = 'site'")
    await until_states(page, north="live", south="live")
    assert [offer["data"].count("\r\nm=") for offer in scene.server.offers] == [2, 2, 4]


async def test_the_embedded_player_shows_its_room_alone(scene: Scene) -> None:
    await scene.server.announce(NORTH, BELL)
    page = await scene.open("embed/site/gate")
    await until_states(page, north="live")
    await expect(page.get_by_role("banner")).to_have_count(0)


async def test_a_restarted_server_gets_a_new_offer(scene: Scene) -> None:
    await scene.server.announce(NORTH)
    page = await scene.open("#site")
    await until_states(page, north="live")
    await scene.server.online("offline")
    await expect(page.get_by_text("Server offline; video continues")).to_be_visible()
    assert await states(page) == {"north": "live"}
    await scene.server.fall_silent()
    await scene.server.online("online", boot="two")
    await until(lambda: [c.connectionState for c in scene.server.connections.values()] == ["connected"])
    assert len(scene.server.offers) > 1
    await until_states(page, north="live")


async def test_a_session_whose_video_plays_heeds_no_stranger(scene: Scene) -> None:
    """Anybody on a broker without access rules can write a boot id, or a message without our session."""
    await scene.server.announce(NORTH)
    page = await scene.open("#site")
    await until_states(page, north="live")
    (topic, _), *_ = scene.server.connections
    bye = {"command": "signal", "clientid": "x", "type": "bye", "data": {"reason": "replaced"}}
    error = bye | {"type": "error", "data": {"code": "unauthorized"}}
    for message in (bye, error, bye | {"session": "another-session"}):
        scene.server.stage.board.say(topic, json.dumps(message).encode())
    await scene.server.online(boot="two")
    await page.wait_for_timeout(3_000)  # longer than a page doubts its session
    assert await states(page) == {"north": "live"}
    assert len(scene.server.offers) == 1


async def test_pictures_outlive_the_door(scene: Scene) -> None:
    await scene.server.announce(BELL)
    page = await scene.open("#frontdoor")
    await until_states(page, bell="live")
    before = (await page.evaluate("__sfu.stats()"))[0]["framesDecoded"]
    scene.http.door.limit = 0
    await scene.http.door.close()
    await expect(page.get_by_text("Broker unreachable; video continues")).to_be_visible()
    async with asyncio.timeout(PATIENCE_S):
        while (await page.evaluate("__sfu.stats()"))[0]["framesDecoded"] < before + 20:
            await asyncio.sleep(0.1)
    assert await states(page) == {"bell": "live"}


async def test_a_refusal_is_said_in_words_and_tried_again(scene: Scene) -> None:
    scene.server.refuse = {"code": "limit", "message": "viewers_per_room", "retry_after": 0.2}
    page = await scene.open("#site")
    await expect(page.get_by_text("The server has reached its limit. Trying again in a moment.")).to_be_visible()
    scene.server.refuse = None
    await scene.server.announce(NORTH)
    await until_states(page, north="live")


async def test_this_browser_goes_live_and_stops(scene: Scene) -> None:
    page = await scene.open("#site")
    await page.get_by_role("button", name="Go live from this browser").first.click()
    await page.get_by_label("Room", exact=True).fill("not a room")
    await page.get_by_role("button", name="Go live", exact=True).click()
    await expect(page.get_by_text("A room has one to four parts")).to_be_visible()
    await page.get_by_label("Room", exact=True).fill("site/hall")
    await page.get_by_label("Camera name").fill("lobby")
    await page.get_by_label("Codec").select_option("vp8")
    await page.get_by_role("button", name="Go live", exact=True).click()
    await expect(page.get_by_text("Live: site/hall / lobby")).to_be_visible()
    topic, offer = next(entry for entry in scene.server.messages if "/pub/" in entry[0] and entry[1]["type"] == "offer")
    assert topic == "sfu/site/hall/pub/lobby"
    assert "VP8/90000" in offer["data"]
    assert "H264" not in offer["data"]
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_label("Publishing from this browser")).to_be_hidden()
    await until(lambda: ("sfu/site/hall/pub/lobby", "bye") in {(t, m["type"]) for t, m in scene.server.messages})


async def test_an_address_can_make_this_browser_a_camera(scene: Scene) -> None:
    page = await scene.open("?publish=site/hall&id=kiosk&video=vp8&audio=0")
    await expect(page.get_by_text("Live: site/hall / kiosk")).to_be_visible()
    assert (await page.evaluate("__sfu.publisher()"))["audio"] is None


async def test_select_goes_out_for_the_section_it_names(scene: Scene) -> None:
    await scene.server.announce(NORTH)
    page = await scene.open("#site")
    await until_states(page, north="live")
    mid = (await page.evaluate("__sfu.stats()"))[0]["mid"]
    await page.evaluate("([mid]) => __sfu.select(mid, 'south', 'site/gate')", [mid])
    select = {"mid": mid, "peer": "south", "room": "site/gate"}
    await until(lambda: ("select", select) in [(m["type"], m["data"]) for _, m in scene.server.messages])


async def test_a_phone_held_upright_scrolls_down_and_never_sideways(scene: Scene) -> None:
    await scene.server.announce(NORTH, SOUTH, BELL)
    page = await scene.open(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    await until_states(page, north="live", south="live", bell="live")
    boxes = [await tile.bounding_box() for tile in await page.locator(".tile:visible").all()]
    bottoms = [box["y"] + box["height"] for box in boxes if box]
    assert all(box and box["y"] > bottom for box, bottom in zip(boxes[1:], bottoms, strict=False)), "tiles overlap"
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_a_camera_whose_name_was_taken_does_not_take_it_back_at_once(scene: Scene) -> None:
    page = await scene.open("?publish=site/hall&id=kiosk&video=vp8")
    await expect(page.get_by_text("Live: site/hall / kiosk")).to_be_visible()
    offer = scene.server.offers[-1]
    await scene.server.send("sfu/site/hall/pub/kiosk", offer["session"], "bye", {"reason": "replaced"})
    await expect(page.get_by_text("Another camera uses this name now.")).to_be_visible()
    await scene.server.online(boot="two")
    await page.wait_for_timeout(1_000)  # longer than the jitter after a restarted server
    assert scene.server.offers[-1] is offer


async def test_a_slide_show_on_a_thin_link_is_shown_and_said(scene: Scene) -> None:
    await scene.server.announce(Camera("garage", "van", reason="thin_link"))
    page = await scene.open()
    await until_states(page, van="live")
    await expect(page.get_by_text("Low bandwidth: key frames only")).to_be_visible()
    await page.keyboard.press("i")
    await expect(page.get_by_text("key frames only: low bandwidth")).to_be_visible()


async def test_figures_lie_over_the_pictures_that_somebody_asks_about(scene: Scene) -> None:
    await scene.server.announce(NORTH, SOUTH)
    page = await scene.open("#site")
    await until_states(page, north="live", south="live")
    figures = page.locator(".stats:visible")
    await expect(figures).to_have_count(0)
    await page.keyboard.press("i")
    await expect(figures).to_have_count(2)
    for words in (f"{WIDTH} × {HEIGHT}, ", "kbit/s", "0 retransmitted", "never", "to the first frame", "Round trip"):  # noqa: RUF001 - a sign for people
        await expect(figures.first).to_contain_text(words)
    await page.keyboard.press("i")
    await expect(figures).to_have_count(0)
    await page.locator(".tile:visible").last.hover()
    await page.get_by_role("button", name="Statistics (i)").last.click()
    await expect(figures).to_have_count(1)
    await expect(page.locator(".tile.enlarged")).to_have_count(0)


async def test_a_camera_that_nobody_can_see_says_why_on_the_page(scene: Scene) -> None:
    troubled = {"id": "video0", "kind": "video", "codec": "unknown", "problem": "no_codec"}
    state = {"v": 2, "live": False, "viewers": 0, "recording": False}
    producers = [{"peer": "attic", "since": "2026-01-01T00:00:00Z", "tracks": [troubled]}]
    await scene.server.publish("house/state", json.dumps(state | {"producers": producers}), retain=True)
    page = await scene.open()
    said = page.get_by_text("attic: the server does not know this codec")
    await expect(said).to_be_visible()
    await scene.server.publish("house/state", json.dumps(state | {"producers": []}), retain=True)
    await expect(said).to_have_count(0)


async def names_on_screen(page: Page) -> list[str]:
    """The cameras' names, row by row from the left."""
    found = []
    for tile in await page.locator(".tile:visible").all():
        box = await tile.bounding_box()
        assert box
        found.append((round(box["y"]), box["x"], await tile.locator(".camera").inner_text()))
    return [name for _, _, name in sorted(found)]


async def test_cameras_stand_in_the_order_of_their_names_whenever_they_came(scene: Scene) -> None:
    late, early = Camera("site/gate", "cam-10"), Camera("site/gate", "cam-2")
    await scene.server.announce(late)
    page = await scene.open("#site")
    await until_states(page, **{"cam-10": "live"})
    await scene.server.announce(late, early)
    await until_states(page, **{"cam-10": "live", "cam-2": "live"})
    assert await names_on_screen(page) == ["cam-2", "cam-10"]
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Enter")
    await expect(page.locator(".tile.enlarged .camera")).to_have_text("cam-2")


async def test_five_cameras_fill_a_wide_screen_in_three_columns(scene: Scene) -> None:
    five = [Camera("site/gate", f"cam-{number}") for number in range(5)]
    await scene.server.announce(*five)
    page = await scene.open("#site", viewport={"width": 1280, "height": 800})
    await until_states(page, **{camera.peer: "live" for camera in five})
    boxes = [await tile.bounding_box() for tile in await page.locator(".tile:visible").all()]
    assert len({round(box["y"]) for box in boxes if box}) == 2


async def test_a_long_room_and_rec_give_way_to_the_camera_s_name(scene: Scene) -> None:
    camera = Camera("warehouse-behind-the-station/loading-bay/eastern-gate", "forklift-17")
    await scene.server.announce(camera, recording=True)
    page = await scene.open(viewport={"width": 300, "height": 640})
    await until_states(page, **{camera.peer: "live"})
    await expect(page.locator(".rec-sign")).to_have_text("REC")
    name = page.locator(".caption .camera")
    assert await name.evaluate("(it) => it.scrollWidth <= it.clientWidth"), "the name is cut"


async def test_the_enlarged_tile_and_the_strip_beside_it_do_not_overlap(scene: Scene) -> None:
    nine = [Camera("site/gate", f"cam-{number}") for number in range(9)]
    await scene.server.announce(*nine)
    page = await scene.open("#site", viewport={"width": 1280, "height": 600})
    await until_states(page, **{camera.peer: "live" for camera in nine})
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Enter")
    await expect(page.locator(".tile.enlarged .camera")).to_have_text("cam-0")
    large = await page.locator(".tile.enlarged").bounding_box()
    others = [await tile.bounding_box() for tile in await page.locator(".tile:visible:not(.enlarged)").all()]
    assert large
    assert len(others) == 8
    assert all(box and box["x"] >= large["x"] + large["width"] + 5 for box in others), "no room for the focus ring"


async def test_a_question_mark_lists_the_keys(scene: Scene) -> None:
    page = await scene.open()
    await page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    await expect(keys.get_by_text("Full screen")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(keys).to_have_count(0)


async def test_an_empty_wall_says_how_to_publish_to_this_very_server(scene: Scene) -> None:
    await scene.server.announce()
    page = await scene.open("#frontdoor")
    broker = scene.http.url.replace("http", "ws", 1) + "mqtt"
    await expect(page.get_by_text(f"sfu publish frontdoor SOURCE --broker {broker}")).to_be_visible()
