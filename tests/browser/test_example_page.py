"""examples/viewer.html in a real Chromium, served by another server than ours, as its reader would have it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from playwright.async_api import Browser

from tests.helpers.brokers import Mosquitto
from tests.helpers.browser.pages import until_true
from tests.helpers.examples import installed
from tests.helpers.file_camera import camera
from tests.helpers.media import make_file
from tests.helpers.serving import serving


@asynccontextmanager
async def static_server(folder: Path) -> AsyncIterator[str]:
    """Serves a folder on a free port; yields its origin."""
    application = web.Application()
    application.router.add_static("/", folder)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_the_example_page_plays_a_camera(
    chromium: Browser, mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    folder = await asyncio.to_thread(installed, tmp_path)
    source = make_file(tmp_path / "source.mp4", options={"bf": "0", "g": "5"})
    url = mosquitto().url
    async with (
        static_server(folder) as origin,
        serving(url, recording__mode="off", origins=origin) as service,
        camera(url, "site/gate/pub/cam1", source),
    ):
        assert service.http is not None
        page = await (await chromium.new_context()).new_page()
        broker = f"ws://127.0.0.1:{service.http.port}/mqtt"
        await page.goto(f"{origin}/viewer.html?room=site&broker={broker}")
        await until_true(page, "document.querySelector('video').videoWidth === 320")
        await until_true(page, "document.querySelector('video').currentTime > 0.5")
        assert await page.inner_text("#status") == "cam1 in site/gate"
