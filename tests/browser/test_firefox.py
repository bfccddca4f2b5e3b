"""Firefox at the wall: it plays at once all that it can, and names the codec that it cannot play."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.async_api import Browser

from sfu.clients.pattern import Pattern
from sfu.clients.publish import Camera
from sfu.rtc.net.addresses import host_addresses
from tests.helpers.brokers import Mosquitto
from tests.helpers.browser.cameras import on_air
from tests.helpers.browser.figures import TILE
from tests.helpers.browser.firefox import firefox
from tests.helpers.browser.impaired import JOIN
from tests.helpers.browser.pages import camera_page, decoded, go, tiles_when, until_live, until_true
from tests.helpers.serving import serving

STALLED_AFTER_MS = 3_600
"""Rather more than the page's patience with a picture that does not move."""


async def test_vp8_plays_and_h264_is_said_to_be_unplayable(
    chromium: Browser,
    mosquitto: Callable[..., Mosquitto],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Debian's Firefox has no H.264 until it has fetched a plug-in. From click to picture, and on without a loss."""
    address = host_addresses()[0]  # Firefox uses 127.0.0.1 on a machine without another one alone
    async with (
        firefox(tmp_path) as page,
        serving(mosquitto().url, media__codecs="vp8,h264", media__bind=address, media__announce=address) as service,
        on_air(service, "yard", "h264", Camera(Pattern(0, width=320, height=180, rate=15))),
    ):
        viewer: Any = page
        await camera_page(chromium, service, "hall", "vp8")
        await go(viewer, service, "#nobody/here")
        first = await page.evaluate(JOIN, ["hall", TILE])
        record_property("click_to_picture_ms", round(first))
        await until_live(viewer, "hall/vp8")
        _, (tile,) = await decoded(viewer, 30)
        assert tile["video"]["mimeType"] == "video/VP8"
        await until_true(viewer, f"performance.now() > {tile['firstFrameAt'] + STALLED_AFTER_MS}")
        await until_live(viewer, "hall/vp8", timeout=1.0)
        await page.evaluate("void (location.hash = 'yard')")
        windows = await tiles_when(viewer, lambda windows: any(it.get("reason") == "codec" for it in windows))
        assert [(it["peer"], it["state"]) for it in windows if it["peer"]] == [("h264", "unplayable")]
        assert "This browser cannot play H.264" in await page.evaluate("document.body.innerText")
        assert first < 2000, "a machine with other work to do included"
