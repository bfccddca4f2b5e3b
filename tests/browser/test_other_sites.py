"""Pages of other sites in a real Chromium: one whose name leads to our address, and one that asks for all it can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, Playwright

from sfu.service import Service
from tests.browser.conftest import FLAGS
from tests.helpers.brokers import Mosquitto
from tests.helpers.browser.pages import until_live, until_true
from tests.helpers.browser.sites import other_site
from tests.helpers.file_camera import camera
from tests.helpers.media import make_file
from tests.helpers.programs import need
from tests.helpers.serving import serving
from tests.helpers.waiting import PATIENCE_S

RESULT = """async (what) => {
  if (what.startsWith('ws')) return await new Promise((done) => {
    const socket = new WebSocket(what, 'mqtt');
    socket.onopen = () => done('open');
    socket.onerror = () => done('refused');
  });
  try {
    const answer = await fetch(what);
    return `${answer.status} ${(await answer.text()).length > 0 ? 'read' : 'empty'}`;
  } catch (error) { return 'blocked'; }
}"""
"""What a page's script gets from a URL."""
PICTURE = """(src) => new Promise((done) => {
  const picture = new Image();
  picture.onload = () => done('shown');
  picture.onerror = () => done('blocked');
  picture.src = src;
})"""


@pytest_asyncio.fixture(loop_scope="session")
async def misled(playwright: Playwright) -> AsyncIterator[Browser]:
    """A Chromium for which some names of the internet lead to this machine."""
    names = ", ".join(f"MAP {name} 127.0.0.1" for name in ("rebound.example", "evil.example", "home.example"))
    browser = await playwright.chromium.launch(
        executable_path=need("chromium"), args=[*FLAGS, f"--host-resolver-rules={names}"]
    )
    yield browser
    await browser.close()


def port_of(service: Service) -> int:
    assert service.http is not None
    return service.http.port


def counters(service: Service) -> Any:
    assert service.http is not None
    return service.http.counters


async def test_a_name_that_was_rebound_to_us_reads_nothing(
    misled: Browser, mosquitto: Callable[..., Mosquitto]
) -> None:
    async with serving(mosquitto().url, recording__mode="off") as service:
        port = port_of(service)
        page = await misled.new_page()
        answer = await page.goto(f"http://rebound.example:{port}/healthz")
        assert answer is not None
        assert answer.status == 421
        for path in ("/api/rooms", "/api/recordings", "/metrics", "/config.json", "/"):
            assert await page.evaluate(RESULT, path) == "421 read", path
        assert await page.evaluate(RESULT, f"ws://rebound.example:{port}/mqtt") == "refused"
        assert service.http is not None
        assert service.http.door.connections == 0


async def test_a_page_of_another_site_starts_nothing(misled: Browser, mosquitto: Callable[..., Mosquitto]) -> None:
    async with serving(mosquitto().url, recording__mode="off") as service, other_site() as evil:
        base = f"127.0.0.1:{port_of(service)}"
        page = await misled.new_page()
        await page.goto(f"http://evil.example:{evil}/")
        for path in ("api/rooms", "metrics", "healthz"):
            assert await page.evaluate(RESULT, f"http://{base}/{path}") == "blocked"
        before = counters(service)["cross_site"]
        for path in ("api/recordings/export?room=a&peer=b", "api/rooms/yard/snapshot.jpg"):
            assert await page.evaluate(PICTURE, f"http://{base}/{path}") == "blocked"
        assert counters(service)["cross_site"] == before + 2
        assert await page.evaluate(RESULT, f"ws://{base}/mqtt") == "refused"
        assert counters(service)["foreign_origin"] == 1


async def test_a_site_of_the_settings_frames_the_player(
    misled: Browser, mosquitto: Callable[..., Mosquitto], tmp_path: Any
) -> None:
    """As Home Assistant does: a page of another site, with a camera's room in a frame."""
    url = mosquitto().url
    source = make_file(tmp_path / "source.mp4", options={"bf": "0", "g": "5"})
    html = "<body></body>"
    async with (
        other_site(html) as home,
        serving(url, recording__mode="off", frame_ancestors=f"http://home.example:{home}") as service,
        camera(url, "site/gate/pub/cam1", source),
    ):
        page = await misled.new_page()
        await page.goto(f"http://home.example:{home}/")
        frame_url = f"http://127.0.0.1:{port_of(service)}/embed/site"
        await page.evaluate("(src) => { document.body.innerHTML = `<iframe src='${src}'></iframe>`; }", frame_url)
        playing = "document.querySelector('video')?.videoWidth === 320"
        async with asyncio.timeout(PATIENCE_S):
            while not ((frame := page.frame(url=frame_url)) and await frame.evaluate(playing)):
                await asyncio.sleep(0.05)
        assert counters(service)["cross_site"] == 0
        assert counters(service)["foreign_origin"] == 0


async def test_our_own_page_works_under_a_name_of_the_settings(
    misled: Browser, mosquitto: Callable[..., Mosquitto], tmp_path: Any
) -> None:
    url = mosquitto().url
    source = make_file(tmp_path / "source.mp4", options={"bf": "0", "g": "5"})
    async with (
        serving(url, recording__mode="off", hosts="home.example") as service,
        camera(url, "site/gate/pub/cam1", source),
    ):
        page = await misled.new_page()
        await page.goto(f"http://home.example:{port_of(service)}/")
        await until_true(page, "window.__sfu !== undefined")
        await until_live(page, "site/gate/cam1")
