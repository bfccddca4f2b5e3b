"""`sfu demo`, as the README starts it: a browser on the address it prints plays all cameras, and recordings stay."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

from playwright.async_api import Browser, expect

from recorder.store.directory import Store
from tests.helpers.browser.pages import decoded, until_live, until_true
from tests.helpers.recordings import complaints
from tests.helpers.waiting import PATIENCE_S


async def test_the_printed_address_plays_every_camera(chromium: Browser, tmp_path: Path) -> None:
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sfu", "demo", "--cameras", "2", "--http", "127.0.0.1:0", "--record"),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"SFU_RECORDING__DIR": str(tmp_path)},
    )
    try:
        assert demo.stdout is not None
        async with asyncio.timeout(2 * PATIENCE_S):
            address = await address_in(demo.stdout)
        page = await (await chromium.new_context()).new_page()
        await page.goto(address)
        await until_true(page, "window.__sfu !== undefined")
        await until_live(page, "demo/camera-1", "demo/camera-2")
        _, tiles = await decoded(page, 60)
        assert {tile["codec"] for tile in tiles} == {"H264"}
        demo.terminate()
        async with asyncio.timeout(PATIENCE_S):
            assert await demo.wait() == 0
        recorded = list(Store(tmp_path).walk())
        assert {segment.peer for segment in recorded} == {"camera-1", "camera-2"}
        assert [complaints(segment.path) for segment in recorded] == [""] * len(recorded)
    finally:
        if demo.returncode is None:
            demo.kill()
            await demo.wait()


async def test_the_printed_link_lets_one_browser_in(chromium: Browser, tmp_path: Path) -> None:
    """A stranger's first start: nobody has said anything about access."""
    variables = {name: value for name, value in os.environ.items() if name != "SFU_ACCESS__MODE"}
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sfu", "demo", "--cameras", "1", "--http", "127.0.0.1:0"),
        stdout=asyncio.subprocess.PIPE,
        env=variables | {"SFU_STATE": str(tmp_path)},
    )
    try:
        assert demo.stdout is not None
        async with asyncio.timeout(2 * PATIENCE_S):
            link = await address_in(demo.stdout)
        assert "/login#once=" in link
        owner = await (await chromium.new_context()).new_page()
        await owner.goto(link)
        await owner.wait_for_url(link.partition("login")[0])
        await until_true(owner, "window.__sfu !== undefined")
        await until_live(owner, "demo/camera-1")
        other = await (await chromium.new_context()).new_page()
        await other.goto(link)
        await expect(other.get_by_text("Links work once")).to_be_visible()
        await other.goto(link.partition("login")[0])
        await expect(other).to_have_url(re.compile("/login"))
    finally:
        demo.terminate()
        await demo.wait()


async def address_in(output: asyncio.StreamReader) -> str:
    """The first URL that the demo prints."""
    while line := (await output.readline()).decode():
        if found := re.search(r"http://\S+", line):
            return found[0]
    raise AssertionError("the demo ended without an address")
