"""On a bad network: the effect of delay, jitter and one thin line on pictures, measured by a clock in them."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable

import pytest
from playwright.async_api import Browser, Page

from tests.helpers.brokers import Mosquitto
from tests.helpers.browser import impaired
from tests.helpers.browser.figures import span
from tests.helpers.browser.impaired import stage
from tests.helpers.browser.pages import until_true
from tests.helpers.impairment.link import Line, Link

Start = Callable[..., Mosquitto]


async def test_pictures_are_as_old_as_the_two_links_make_them(chromium: Browser, mosquitto: Start) -> None:
    """Or else neither the clock in the picture nor the relay could be believed in what else they say."""
    async with stage(chromium, mosquitto().url) as it:
        await it.camera(Line())
        viewer = await it.viewer("viewer", Line())
        fresh = await span(viewer, 2)
        it.relay.set("camera", Line(up=Link(delay=0.15)))
        it.relay.set("viewer", Line(down=Link(delay=0.15)))
        await span(viewer, 1)
        old = await span(viewer, 2)
    assert fresh.unreadable == old.unreadable == 0
    assert 250 < old.age - fresh.age < 700  # the page may keep pictures for a while once their delay has jumped


async def test_a_thin_line_is_its_viewers_own_trouble(chromium: Browser, mosquitto: Start) -> None:
    async with stage(chromium, mosquitto().url) as it:
        await it.camera(Line())
        others = [await it.viewer(f"fast-{number}", Line()) for number in range(2)]
        await it.viewer("slow", Line().downwards(rate=300_000.0, delay=0.02))
        await asyncio.gather(*map(unharmed, others))
        counters = it.relay.counters()["slow"]["down"]
    assert counters["queue_full"] > 50, f"the line was no trouble: {counters}"


async def unharmed(viewer: Page) -> None:
    """Nothing lost, and three seconds without a stumble; a machine with other work to do gets a second chance."""
    for _ in range(5):
        seen = await span(viewer, 3)
        assert seen.lost == seen.unreadable == 0, seen.row
        if seen.gap < 400 and seen.decoded > 20 * seen.seconds:
            return
    pytest.fail(seen.row)


@pytest.mark.parametrize("where", ["viewer", "camera"])
async def test_pictures_come_back_after_a_storm(chromium: Browser, mosquitto: Start, where: str) -> None:
    """10 % of packets lost in rows."""
    async with stage(chromium, mosquitto().url) as it:
        found = await impaired.burst(it, 2, where=where)
        assert it.relay.counters()[where]["down" if where == "viewer" else "up"]["burst_lost"] > 0
    assert found.recovered < 8000


async def test_losses_on_both_links_freeze_nothing(chromium: Browser, mosquitto: Start) -> None:
    """2 % lost, 60 ms and 30 ms of jitter on each: what is repaired twice still comes in time."""
    async with stage(chromium, mosquitto().url) as it:
        camera, viewer = await it.camera(impaired.BAD), await it.viewer("viewer", impaired.BAD)
        await until_true(viewer, "__sfu.stats().then((windows) => windows.some((it) => it.cushioned > 200))")
        for _ in range(5):
            sent = await impaired.frames_sent(camera)
            seen = await span(viewer, 6)
            sent = await impaired.frames_sent(camera) - sent
            assert seen.lost > 0
            if seen.frozen == 0 and seen.decoded > 0.98 * sent and seen.jitter_buffer < 600:
                return
    pytest.fail(f"{seen.row} of {sent}")


async def test_a_viewer_starts_with_what_was_before_it_came(chromium: Browser, mosquitto: Start) -> None:
    """From a camera with a key frame every 4 s that is deaf to requests; and level with who was there before."""
    async with stage(chromium, mosquitto().url, media__codecs="h264") as it:
        found = await impaired.joins(it, 4)
    assert statistics.median(found.first) < 400, found
    assert statistics.median(found.behind) < 100, found


async def test_a_viewer_who_comes_to_another_network_seeks_a_new_way_at_once(
    chromium: Browser, mosquitto: Start
) -> None:
    """From the old addresses nothing gets through any more, and nothing tells the browser so."""
    async with stage(chromium, mosquitto().url) as it:
        (gap,) = await impaired.moves(it, 1)
    assert gap < 4000


async def test_a_small_window_is_sent_small_pictures(chromium: Browser, mosquitto: Start) -> None:
    async with stage(chromium, mosquitto().url) as it:
        found = await impaired.windows(it)
    assert found.small < 960 == found.large, found


async def test_a_viewers_layer_falls_with_its_link(chromium: Browser, mosquitto: Start) -> None:
    """From 3 Mbit/s to 400 kbit/s; a broken picture would not tell the time."""
    async with stage(chromium, mosquitto().url) as it:
        found = await impaired.layers(it, again=False)
    assert found.wide == 960, found
    assert found.thin < 960, found
    assert found.down < 6
    assert found.whole.unreadable == 0
