"""The recordings of a camera in a real Chromium: its day, the thumbnails, playing over a cut and a gap, a clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from playwright.async_api import Browser, Page, expect

from recorder.store.directory import Store
from sfu.clients.encode import VideoEncoder
from sfu.clients.publish import Camera
from sfu.service import Service
from sfu.units import rfc3339
from tests.helpers.brokers import Mosquitto
from tests.helpers.browser.cameras import HEIGHT, RATE, WIDTH, YCBCR, Painted, on_air
from tests.helpers.browser.pages import opened, until_live, until_true
from tests.helpers.recordings import START_US, Unit, probed, record
from tests.helpers.serving import serving

StartMosquitto = Callable[..., Mosquitto]
Record = Callable[[str, object], None]

START = START_US // 1000
SECOND = 1_000
# [ms of performance.now(), ms of wall time since START, the strongest of red, green and blue] of each picture shown.
WATCH = """(start) => {
  const video = document.querySelector('.recordings video');
  const pen = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  window.shown = [];
  const look = (now) => {
    pen.drawImage(video, 0, 0, 1, 1);
    const levels = [...pen.getImageData(0, 0, 1, 1).data.slice(0, 3)];
    shown.push([now, __sfu.recordings()?.wall - start, ['red', 'green', 'blue'][levels.indexOf(Math.max(...levels))]]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
}"""
# The colours of the bar at some moments. It is painted in the animation frame after a change: one later, it stands.
BAR_AT = """async (times) => {
  for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
  const canvas = document.querySelector('.recordings canvas');
  const {shown} = __sfu.recordings();
  const x = (time) => Math.round((time - shown.start) / (shown.end - shown.start) * canvas.width);
  return times.map((time) => [...canvas.getContext('2d').getImageData(x(time), 50, 1, 1).data].join());
}"""
THUMBNAIL = """() => {
  const image = document.querySelector('.preview:not(.bare) img');
  if (!image?.naturalWidth) return null;
  const pen = new OffscreenCanvas(1, 1).getContext('2d');
  pen.drawImage(image, 0, 0, 1, 1);
  const levels = [...pen.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  return ['red', 'green', 'blue'][levels.indexOf(Math.max(...levels))];
}"""


def painted(colour: str, seconds: int) -> list[Unit]:
    """A plain colour, one key frame a second."""
    encoder = VideoEncoder(WIDTH, HEIGHT, RATE, key_interval=1.0)
    frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    for plane, value in zip(frame.planes, YCBCR[colour], strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    return [
        Unit(round(at * 1e6), "video", data, key)
        for number in range(seconds * RATE)
        for at, data, key in encoder.encode(frame, number / RATE)
    ]


def put(store: Store, colour: str, seconds: int, *, after: int) -> None:
    """Records a plain colour `after` seconds from START on."""
    sequence = painted(colour, seconds)
    record(store, room="site/gate", start_us=START_US + after * 1_000_000, audio=False, sequence=sequence)


async def timeline(chromium: Browser, service: Service, camera: str, *, after: float) -> Page:
    """The recordings of a camera, `after` seconds from START on."""
    page = await opened(chromium, service, f"#?recordings={camera}&at={rfc3339(START_US + round(after * 1e6))}")
    await until_true(page, "__sfu.recordings()?.status === 'ready'")
    return page


async def x_of(page: Page, time: float) -> tuple[float, float]:
    """Where on the screen a moment of the bar is."""
    box = await page.get_by_role("slider", name="Time").bounding_box()
    shown = (await page.evaluate("__sfu.recordings()"))["shown"]
    assert box is not None
    share = (time - shown["start"]) / (shown["end"] - shown["start"])
    return box["x"] + share * box["width"], box["y"] + 55


async def saved(page: Page, path: Path) -> Path:
    """The clip that the page offers."""
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download").click()
    await (await download.value).save_as(path)
    return path


async def test_a_day_is_scrubbed_played_over_a_cut_and_a_gap_and_cut_into_a_clip(
    chromium: Browser, mosquitto: StartMosquitto, tmp_path: Path, record_property: Record
) -> None:
    """Red from 0 to 3 s and green from 3 to 5 s, each a file; blue from 25 to 28 s."""
    store = Store(tmp_path / "recordings")
    for colour, seconds, after in (("red", 3, 0), ("green", 2, 3), ("blue", 3, 25)):
        put(store, colour, seconds, after=after)
    async with serving(mosquitto().url, recording__dir=str(store.directory)) as service:
        page = await timeline(chromium, service, "site/gate/cam", after=0)
        await page.keyboard.press("Space")
        for _ in range(12):
            await page.keyboard.press("+")
        red, green, gap, blue = await page.evaluate(BAR_AT, [START + at * SECOND for at in (1, 4, 15, 26)])
        assert red == green == blue != gap
        await page.mouse.move(*await x_of(page, START + 4.5 * SECOND))
        await until_true(page, f"({THUMBNAIL})() === 'green'")
        await page.mouse.click(*await x_of(page, START + 1.5 * SECOND))
        await until_true(page, "__sfu.recordings().status === 'ready'")
        await page.evaluate(WATCH, START)
        await page.keyboard.press("Space")
        await expect(page.get_by_text("No recording for 20 s")).to_be_visible()
        await until_true(page, f"__sfu.recordings().wall > {START + 26 * SECOND}")
        shown = await page.evaluate("shown")
        record_property("cut_to_picture_ms", check_cut(shown))
        assert {colour for _, wall, colour in shown if 5_100 < wall < 25_000} == set(), "nothing of the gap"
        assert shown[-1][2] == "blue"
        await page.keyboard.press("c")
        clip = await saved(page, tmp_path / "clip.mp4")
        assert probed(clip)["video"].codec == "h264"


def check_cut(shown: list[list[Any]]) -> int:
    """Returns the ms from the last red picture to the first green one; both agree with the time shown."""
    first_green = next(number for number, (_, _, colour) in enumerate(shown) if colour == "green")
    red, green = shown[first_green - 1], shown[first_green]
    assert red[2] == "red"
    assert abs(green[1] - 3_000) < 250
    assert green[0] - red[0] < 500, "no stall at the cut"
    return round(float(green[0] - red[0]))


async def test_vp8_plays_and_is_cut_like_the_others(
    chromium: Browser, mosquitto: StartMosquitto, tmp_path: Path
) -> None:
    """WebM, which holds it, is written as tracks come and wants sorting; two files end to end."""
    store = Store(tmp_path / "recordings")
    for after in (0, 4):
        record(store, room="site", peer="web", codec="VP8", start_us=START_US + after * 1_000_000)
    async with serving(mosquitto().url, recording__dir=str(store.directory)) as service:
        page = await timeline(chromium, service, "site/web", after=3)
        await until_true(page, f"__sfu.recordings().wall > {START + 5 * SECOND}")
        state = await page.evaluate("__sfu.recordings()")
        assert state["frames"] > 25
        assert state["segments"][0]["url"].endswith(".webm")
        await page.get_by_role("button", name="Protect from deletion").click()
        await until_true(page, "__sfu.recordings().segments.some((it) => it.protected)")
        await page.keyboard.press("c")
        clip = await saved(page, tmp_path / "clip.webm")
        assert probed(clip)["video"].codec == "vp8"


async def test_a_camera_is_recorded_from_its_tile_and_watched_while_it_is(
    chromium: Browser, mosquitto: StartMosquitto, tmp_path: Path
) -> None:
    async with (
        serving(mosquitto().url, recording__dir=str(tmp_path)) as service,
        on_air(service, "yard", "cam", Camera(Painted(key_interval=1.0))),
    ):
        page = await opened(chromium, service)
        await until_live(page, "yard/cam")
        tile = page.locator(".tile:visible")
        await tile.hover()
        await tile.get_by_role("button", name="Recordings").click()
        await tile.get_by_role("menuitemcheckbox", name="Record yard").click()
        await expect(tile.get_by_text("REC", exact=True)).to_be_visible()
        await until_true(page, "fetch('api/recordings').then((it) => it.json()).then((it) => it.recordings.length > 0)")
        await tile.get_by_role("menuitem", name="Recordings").click()
        await until_true(page, "__sfu.recordings()?.status === 'ready'")
        wall = (await page.evaluate("__sfu.recordings()"))["wall"]
        await until_true(page, f"__sfu.recordings().wall > {wall} + 1500 && __sfu.recordings().status === 'ready'")
        behind = await page.evaluate("Date.now() - __sfu.recordings().wall")
        assert behind < 15_000
        await page.get_by_role("button", name="Live", exact=True).click()
        await expect(page.locator(".recordings")).to_have_count(0)
        await expect(page.locator(".tile.enlarged .camera")).to_have_text("cam")


async def test_recordings_are_found_by_a_few_letters_of_the_camera(
    chromium: Browser, mosquitto: StartMosquitto, tmp_path: Path
) -> None:
    store = Store(tmp_path / "recordings")
    for room, peer in (("site/gate", "north"), ("site/hall", "north"), ("yard", "door")):
        record(store, room=room, peer=peer, sequence=painted("red", 4), audio=False)
    async with serving(mosquitto().url, recording__dir=str(store.directory)) as service:
        page = await opened(chromium, service)
        await page.get_by_role("button", name="Recordings").click()
        options = page.get_by_role("option")
        await expect(options).to_have_count(3)
        await expect(page.get_by_text("Choose a camera").first).to_be_visible()
        await page.keyboard.type("hall north")
        await expect(options).to_have_count(1)
        await page.keyboard.press("Enter")
        await until_true(page, "__sfu.recordings()?.status === 'ready'")
        assert (await page.evaluate("__sfu.recordings()"))["camera"]["room"] == "site/hall"
        await page.get_by_role("button", name="north · site/hall").click()
        await page.keyboard.press("Escape")
        await expect(options).to_have_count(0)
        await expect(page.locator(".recordings")).to_have_count(1)
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog", name="Keys").get_by_text("Cut a clip")).to_be_visible()


async def test_recordings_open_with_the_camera_that_is_enlarged(
    chromium: Browser, mosquitto: StartMosquitto, tmp_path: Path
) -> None:
    async with (
        serving(mosquitto().url, recording__dir=str(tmp_path), recording__mode="always") as service,
        on_air(service, "yard", "door", Camera(Painted(key_interval=1.0))),
        on_air(service, "yard", "gate", Camera(Painted(key_interval=1.0))),
    ):
        page = await opened(chromium, service)
        await until_live(page, "yard/door", "yard/gate")
        for key in ("ArrowRight", "ArrowRight", "Enter"):
            await page.keyboard.press(key)
        await expect(page.locator(".tile.enlarged .camera")).to_have_text("gate")
        await page.get_by_role("button", name="Recordings").first.click()
        await until_true(page, "__sfu.recordings()?.camera?.peer === 'gate'")


async def test_a_clip_that_cannot_be_made_says_why(
    chromium: Browser, mosquitto: StartMosquitto, tmp_path: Path
) -> None:
    store = Store(tmp_path / "recordings")
    put(store, "red", 3, after=0)
    async with serving(mosquitto().url, recording__dir=str(store.directory), recording__max_clip="1s") as service:
        page = await timeline(chromium, service, "site/gate/cam", after=0)
        await page.keyboard.press("c")
        await page.get_by_role("link", name="Download").click()
        await expect(page.get_by_text("ask for a shorter time span")).to_be_visible()


SIDES = """() => {
  const {videoWidth, videoHeight} = document.querySelector('.recordings video');
  return [videoWidth, videoHeight];
}"""


@pytest.mark.parametrize("codec", ["H264", "VP8"])
async def test_a_phone_that_was_turned_plays_upright(
    codec: str, chromium: Browser, mosquitto: StartMosquitto, tmp_path: Path
) -> None:
    """Lying for 4 s, then held upright for 8 s, in a file of its own; the page goes on from one to the other."""
    store = Store(tmp_path / "recordings")
    for after, orientation in ((0, 0), (4, 1), (8, 1)):
        start_us = START_US + after * 1_000_000
        record(store, room="site", peer="phone", codec=codec, audio=False, start_us=start_us, orientation=orientation)
    async with serving(mosquitto().url, recording__dir=str(store.directory)) as service:
        page = await timeline(chromium, service, "site/phone", after=6)
        await until_true(page, f"__sfu.recordings().wall > {START + 6.5 * SECOND}")
        assert await page.evaluate(SIDES) == [180, 320]
        page = await timeline(chromium, service, "site/phone", after=2.5)
        await until_true(page, f"String(({SIDES})()) === '320,180'")
        await until_true(page, f"__sfu.recordings().wall > {START + 6 * SECOND}")
        assert await page.evaluate(SIDES) == [180, 320]
