"""A real Chromium for the tests of the page: Debian's, driven by Playwright, with a fake camera and microphone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Playwright, async_playwright, expect

from tests.helpers.programs import need
from tests.helpers.waiting import PATIENCE_S

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)

expect.set_options(timeout=PATIENCE_S * 1000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One event loop for all tests of this folder, to which the browser belongs: starting it takes a second or two."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def playwright() -> AsyncIterator[Playwright]:
    async with async_playwright() as playwright:
        yield playwright


class Shared:
    """The one Chromium of all tests, for as long as it lives."""

    def __init__(self) -> None:
        self._browser: Browser | None = None

    async def browser(self, playwright: Playwright) -> Browser:
        if self._browser is None or not self._browser.is_connected():
            program = need("chromium")
            # Scroll bars take room, as on a desktop.
            self._browser = await playwright.chromium.launch(
                executable_path=program, args=list(FLAGS), ignore_default_args=["--hide-scrollbars"]
            )
        return self._browser


shared = Shared()


@pytest_asyncio.fixture(loop_scope="session")
async def chromium(playwright: Playwright) -> AsyncIterator[Browser]:
    """Pages of it see 127.0.0.1 and nothing else of the world; none outlives its test."""
    browser = await shared.browser(playwright)
    yield browser
    for context in browser.contexts:
        await context.close()
