"""Walls in Chromium: cameras come, go and come back; windows switch; phones turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from playwright.async_api import Browser, Page

from sfu.clients.pattern import Pattern
from sfu.clients.publish import Camera
from tests.helpers.brokers import Mosquitto
from tests.helpers.browser.cameras import HEIGHT, WIDTH, Painted, Phone, on_air
from tests.helpers.browser.pages import Tiles, decoded, opened, tiles, tiles_when, until_live
from tests.helpers.serving import serving
from tests.helpers.waiting import PATIENCE_S

StartMosquitto = Callable[..., Mosquitto]
Record = Callable[[str, object], None]

# Red, green and blue, 0 to 255, at a point of the only visible tile's picture; x and y from 0 to 1.
COLOUR_AT = """([x, y]) => {
  const video = document.querySelector('.tile:not([hidden]) video');
  const pen = new OffscreenCanvas(64, 64).getContext('2d');
  pen.drawImage(video, 0, 0, 64, 64);
  return [...pen.getImageData(x * 63, y * 63, 1, 1).data.slice(0, 3)];
}"""


async def colour(page: Page, x: float = 0.5, y: float = 0.5) -> str:
    """The strongest of the three, at that point of the picture."""
    levels: list[int] = await page.evaluate(COLOUR_AT, [x, y])
    return ("red", "green", "blue")[levels.index(max(levels))]


async def until_colour(page: Page, wanted: str, timeout: float = PATIENCE_S) -> float:
    """Seconds until the picture has the colour."""
    start = time.monotonic()
    while await colour(page) != wanted:
        assert time.monotonic() - start < timeout, f"not {wanted} within {timeout} s"
    return time.monotonic() - start


def small_pattern(number: int) -> Camera:
    return Camera(Pattern(number, width=320, height=180, rate=15))


async def test_two_walls_show_five_cameras(chromium: Browser, mosquitto: StartMosquitto) -> None:
    """Each tile decodes, under its camera's own name; one wall was there first, one comes last."""
    places = [("site/gate", "north"), ("site/gate", "south"), ("site/yard", "wide"), ("site", "door"), ("site", "bell")]
    names = {f"{room}/{peer}" for room, peer in places}
    async with serving(mosquitto().url) as service, AsyncExitStack() as cameras:
        early = await opened(chromium, service, "#site")
        for number, (room, peer) in enumerate(places):
            await cameras.enter_async_context(on_air(service, room, peer, small_pattern(number)))
        await until_live(early, *names)
        late = await opened(chromium, service)
        await until_live(late, *names)
        for wall in (early, late):
            before, after = await decoded(wall, 60)  # a start may drop some: it comes faster than a screen shows
            assert len(after) == 5
            assert sum(tile["framesDropped"] for tile in after) <= sum(tile["framesDropped"] for tile in before) + 15
            assert all(tile["packetsLost"] == 0 for tile in after)
            captions = await wall.locator(".tile:visible .camera").all_text_contents()
            assert sorted(captions) == sorted(peer for _, peer in places)


async def test_a_camera_comes_goes_and_comes_back_while_others_play_on(
    chromium: Browser, mosquitto: StartMosquitto
) -> None:
    async with serving(mosquitto().url) as service, on_air(service, "hall", "stays", Camera(Painted("blue"))):
        viewer = await opened(chromium, service, "#hall")
        (first,) = await until_live(viewer, "hall/stays")
        for visit in ("red", "green"):
            async with on_air(service, "hall", "guest", Camera(Painted(visit))):
                await until_live(viewer, "hall/stays", "hall/guest")
                await decoded(viewer, 20)
            await tiles_when(viewer, lambda windows: {tile["peer"] for tile in windows} == {"stays", None})
            assert await viewer.locator(".tile:visible").count() == 1
        (last,) = [tile for tile in await tiles(viewer) if tile["peer"] == "stays"]
        assert last["mid"] == first["mid"]
        assert last["connectedAt"] == first["connectedAt"], "nothing of this needs a new connection"


async def test_select_switches_within_one_key_frame(
    chromium: Browser, mosquitto: StartMosquitto, record_property: Record
) -> None:
    """The cameras make key frames on request alone: each switch is one request and one key frame."""
    red, green = Painted("red"), Painted("green")
    async with (
        serving(mosquitto().url) as service,
        on_air(service, "hall", "red", Camera(red)),
        on_air(service, "hall", "green", Camera(green)),
    ):
        viewer = await opened(chromium, service, "#hall")
        windows = await until_live(viewer, "hall/red", "hall/green")
        shown, other = (next(tile["mid"] for tile in windows if tile["peer"] == peer) for peer in ("red", "green"))
        await viewer.evaluate(f"__sfu.select('{other}', null)")
        await until_live(viewer, "hall/red")
        assert await colour(viewer) == "red"
        waits = []
        for target in ("green", "red", "green"):
            keys = key_frames(await tiles(viewer), shown)
            await viewer.evaluate(f"__sfu.select('{shown}', '{target}')")
            waits.append(await until_colour(viewer, target))
            await tiles_when(viewer, lambda windows, keys=keys: key_frames(windows, shown) > keys)
            windows = await until_live(viewer, f"hall/{target}")
            assert key_frames(windows, shown) == keys + 1
        record_property("select_to_picture_ms", [round(wait * 1000) for wait in waits])
        assert min(waits) < 1


def key_frames(windows: Tiles, mid: str) -> int:
    return next(int(tile["video"]["keyFramesDecoded"]) for tile in windows if tile["mid"] == mid)


async def test_a_turned_phone_turns_its_picture(chromium: Browser, mosquitto: StartMosquitto) -> None:
    """The phone says so in a header extension; without that the viewer would see it lying on its side."""
    phone = Phone(Painted("red"))
    async with serving(mosquitto().url) as service, on_air(service, "hall", "phone", phone):
        viewer = await opened(chromium, service, "#hall")
        await until_live(viewer, "hall/phone")
        for turn, size in ((0, (WIDTH, HEIGHT)), (1, (HEIGHT, WIDTH)), (2, (WIDTH, HEIGHT)), (3, (HEIGHT, WIDTH))):
            phone.stream.turn = turn
            await tiles_when(viewer, lambda windows, size=size: shown_size(windows[0]) == size)
            await decoded(viewer, 5)
        assert await viewer.locator(".tile.upright").count() == 1


def shown_size(tile: dict[str, int]) -> tuple[int, int]:
    return tile["width"], tile["height"]
