"""A person makes their browser a camera by the page's own button, and others watch."""

from __future__ import annotations

from collections.abc import Callable

from playwright.async_api import Browser, expect

from tests.helpers.brokers import Mosquitto
from tests.helpers.browser.pages import decoded, opened, publisher, tiles_when, until_live
from tests.helpers.serving import serving


async def test_go_live_be_seen_and_stop(chromium: Browser, mosquitto: Callable[..., Mosquitto]) -> None:
    async with serving(mosquitto().url) as service:
        camera = await opened(chromium, service)
        viewer = await opened(chromium, service)
        await expect(viewer.get_by_role("heading", name="Waiting for a camera")).to_be_visible()
        await camera.get_by_role("banner").get_by_role("button", name="Go live from this browser").click()
        dialog = camera.get_by_role("dialog")
        await dialog.get_by_label("Room").fill("site/gate")
        await dialog.get_by_label("Camera name").fill("phone")
        await dialog.get_by_role("button", name="Go live").click()
        await expect(camera.get_by_text("Live: site/gate / phone")).to_be_visible()
        await until_live(viewer, "site/gate/phone")
        await decoded(viewer, 20)
        sent = (await publisher(camera))["video"]
        assert sent["mimeType"] == "video/H264", "what the settings prefer"
        await camera.get_by_role("button", name="Stop").click()
        await tiles_when(viewer, lambda windows: all(tile["state"] == "empty" for tile in windows))
        await expect(viewer.get_by_role("heading", name="Waiting for a camera")).to_be_visible()
