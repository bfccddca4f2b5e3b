"""Pages of a running server in a real Chromium, and the state of their walls (`window.__sfu`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page

from sfu.service import Service
from tests.helpers.waiting import PATIENCE_S

Tiles = list[dict[str, Any]]


async def new_context(chromium: Browser, **options: Any) -> BrowserContext:
    return await chromium.new_context(**{"viewport": {"width": 960, "height": 640}, **options})


async def opened(chromium: Browser, service: Service, address: str = "", *, init: str | None = None) -> Page:
    """A page in a context of its own; `init` is a script that runs before the page's own. Faults of the page raise."""
    context = await new_context(chromium)
    if init is not None:
        await context.add_init_script(init)
    page = await context.new_page()
    await go(page, service, address)
    return page


async def go(page: Page, service: Service, address: str = "") -> None:
    assert service.http is not None
    await page.goto(service.http.url + address)
    await until_true(page, "window.__sfu !== undefined")


async def until_true(page: Page, expression: str, timeout: float = PATIENCE_S) -> None:
    """Playwright's `wait_for_function` evaluates inside the page, which the page's security policy forbids."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while not await page.evaluate(expression):
        assert loop.time() < deadline, f"not true within {timeout} s: {expression}"
        await asyncio.sleep(0.02)


async def camera_page(chromium: Browser, service: Service, room: str, peer: str, *, init: str | None = None) -> Page:
    """A Chromium that publishes its (fake) camera and microphone by the page's own code, and watches nothing."""
    page = await opened(chromium, service, f"?publish={room}&id={peer}#nobody/here", init=init)
    await until_true(page, "__sfu.publisher().then((it) => it?.phase === 'connected')")
    return page


async def publisher(page: Page) -> dict[str, Any]:
    state: dict[str, Any] = await page.evaluate("__sfu.publisher()")
    return state


async def tiles(page: Page) -> Tiles:
    """One entry for each window, empty ones too."""
    windows: Tiles = await page.evaluate("__sfu.stats()")
    return windows


async def tiles_when(page: Page, predicate: Callable[..., object], timeout: float = PATIENCE_S) -> Tiles:
    """The wall's windows as soon as `predicate` holds of them; AssertionError with the last ones after `timeout` s."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        windows = await tiles(page)
        if predicate(windows):
            return windows
        assert loop.time() < deadline, [{**tile, "video": None, "audio": None} for tile in windows]
        await asyncio.sleep(0.02)


def live(windows: Tiles) -> set[str]:
    """`room/peer` of each camera whose picture is on the screen."""
    return {f"{tile['room']}/{tile['peer']}" for tile in windows if tile["state"] == "live"}


async def until_live(page: Page, *cameras: str, timeout: float = PATIENCE_S) -> Tiles:
    """Waits until exactly these cameras (`room/peer`) are on the screen with pictures."""
    return await tiles_when(page, lambda windows: live(windows) == set(cameras), timeout)


async def decoded(page: Page, frames: int, timeout: float = PATIENCE_S) -> tuple[Tiles, Tiles]:
    """The wall now, and when every tile that is live now has decoded `frames` more pictures."""
    before = [tile for tile in await tiles(page) if tile["state"] == "live"]
    wanted = {tile["mid"]: tile["framesDecoded"] + frames for tile in before}

    def enough(windows: Tiles) -> bool:
        counts = {tile["mid"]: tile["framesDecoded"] for tile in windows}
        return all(counts.get(mid, 0) >= count for mid, count in wanted.items())

    after = await tiles_when(page, enough, timeout)
    return before, [tile for tile in after if tile["mid"] in wanted]
