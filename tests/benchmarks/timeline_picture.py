"""The README's picture of the timeline: `python -m tests.benchmarks.timeline_picture` writes it anew.

A drawn driveway at dusk, recorded as a camera would be, served by the real server, shown by the real page.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
from playwright.async_api import Browser, Page, ViewportSize, async_playwright

from recorder.store.directory import Store
from sfu import settings
from sfu.clients.encode import VideoEncoder
from sfu.service import Service
from sfu.settings import EMBEDDED
from sfu.units import rfc3339
from tests.browser.conftest import FLAGS
from tests.helpers.browser.pages import go, until_true
from tests.helpers.programs import need
from tests.helpers.recordings import START_US, Unit, record

PICTURE = Path(__file__).parents[2] / "docs" / "timeline.png"
ROOM, PEER = "home/drive", "gate"
DAY_US = START_US - START_US % 86_400_000_000
WIDTH, HEIGHT = 1280, 720
KEY_S = 10
# Hours of the day: when it recorded, and where a file ends without a gap.
STRETCHES = ((5.2, 7.9), (8.6, 9.1), (9.9, 12.4), (12.42, 14.7), (15.1, 15.3), (16.0, 19.25), (19.6, 21.4))
CLIP_H, MOMENT_H, POINTED_H, KEPT = 16.75, 17.6287, 14.4, 5

SCENE = (Path(__file__).parent / "driveway.svg").read_text()


def scene(way: float) -> str:
    """The car at `way` of its way up the drive: 0 is far off, 1 is near; outside of that it is not there."""
    seen = 0 <= way <= 1
    numbers = {"CARX": 600 + 26 * way, "CARY": 452 + 96 * way, "SCALE": 0.35 + 1.05 * way, "SEEN": int(seen)}
    text = SCENE.replace("FENCE", "".join(f'<path d="M{x} 440V492"/>' for x in range(836, 1280, 38)))
    for name, value in numbers.items():
        text = text.replace(name, f"{value:.2f}")
    return text


async def drawn(browser: Browser) -> list[bytes]:
    """JPEGs of a minute at the gate: nobody, then a car."""
    page = await browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    pictures = []
    for way in (0.1, 0.3, 0.5, 0.7, 0.9, -1.0):
        await page.set_content(f'<body style="margin:0">{scene(way)}</body>')
        pictures.append(await page.screenshot(type="jpeg", quality=95))
    await page.close()
    return pictures


def encoded(pictures: list[bytes]) -> Iterator[tuple[bytes, bool]]:
    """One a second; each stays for ten."""
    encoder = VideoEncoder(WIDTH, HEIGHT, 1, key_interval=KEY_S, bit_rate=700_000)
    for second in range(len(pictures) * KEY_S):
        picture = pictures[second // KEY_S]
        with av.open(io.BytesIO(picture), "r", format="mjpeg") as container:
            frame = next(container.decode(video=0)).reformat(format="yuv420p", dst_color_range="MPEG")
        for _, data, key in encoder.encode(frame, float(second)):
            yield data, key


def fill(store: Store, frames: list[tuple[bytes, bool]]) -> None:
    """A day of recordings in files of half an hour."""
    for number, (begin, end) in enumerate(STRETCHES):
        at = begin
        while at < end - 0.01:
            until = min(at + 0.5, end)
            sequence = [
                Unit(second * 1_000_000, "video", *frames[second % len(frames)])
                for second in range(round((until - at) * 3600))
            ]
            segment = record(store, room=ROOM, peer=PEER, start_us=wall_us(at), audio=False, sequence=sequence)
            segment.protect(number == KEPT and at < begin + 0.9)
            at = until


async def shown(browser: Browser, service: Service) -> Page:
    """The page as the picture has it: a clip chosen, a moment of its end, the pointer further on."""
    size: ViewportSize = {"width": 1200, "height": 760}
    context = await browser.new_context(viewport=size, color_scheme="dark", timezone_id="UTC", device_scale_factor=1.5)
    page = await context.new_page()
    await go(page, service, f"#?recordings={ROOM}/{PEER}&at={rfc3339(wall_us(CLIP_H))}")
    await until_true(page, "__sfu.recordings()?.status === 'ready'")
    for key in ("Space", "i", "+", "+"):
        await page.keyboard.press(key)
    await page.mouse.click(*await place(page, MOMENT_H))
    await until_true(page, f"__sfu.recordings().wall > {wall_us(MOMENT_H) / 1000 - 60_000}")
    await page.keyboard.press("o")
    await page.mouse.move(*await place(page, POINTED_H))
    await until_true(page, "document.querySelector('.preview:not(.bare) img')?.naturalWidth > 0")
    await until_true(page, "__sfu.recordings().status === 'ready'")
    await page.evaluate("document.activeElement.blur()")
    return page


async def place(page: Page, hour: float) -> tuple[float, float]:
    """Where on the screen the bar shows an hour of the day."""
    shown = await page.evaluate("__sfu.recordings().shown")
    box = await page.get_by_role("slider", name="Time").bounding_box()
    assert box is not None
    share = (wall_us(hour) / 1000 - shown["start"]) / (shown["end"] - shown["start"])
    return box["x"] + share * box["width"], box["y"] + 55


def wall_us(hour: float) -> int:
    return DAY_US + round(hour * 3.6e9)


async def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=need("chromium"), args=list(FLAGS))
            store = Store(Path(directory))
            fill(store, list(encoded(await drawn(browser))))
            chosen = {
                "broker": EMBEDDED,
                "embedded_port": 0,
                "http": "127.0.0.1:0",
                "media.port": 0,
                "access.mode": "open",
            }
            configuration = settings.load(command_line={**chosen, "recording.dir": directory})
            async with Service(configuration) as service:
                await (await shown(browser, service)).screenshot(path=target)
            await browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, default=PICTURE, help="the PNG file to write")
    asyncio.run(main(parser.parse_args().path))
