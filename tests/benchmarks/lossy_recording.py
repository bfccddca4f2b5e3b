"""How many of a Chromium's frames are in its recording, and decode, when its link loses packets.

By hand: `python -m tests.benchmarks.lossy_recording --seconds 60`. Each frame that was sent before the recording
began, or after the count was read, makes the share a little too small or large: a few frames.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import av
from playwright.async_api import Browser, async_playwright

from recorder.store.directory import Store
from sfu.signaling.broker_url import BrokerUrl
from tests.browser.conftest import FLAGS
from tests.helpers.brokers import Mosquitto
from tests.helpers.browser.impaired import ROOM, frames_sent, stage
from tests.helpers.impairment.link import Line, Link
from tests.helpers.programs import need
from tests.helpers.recordings import complaints
from tests.helpers.waiting import until


class Kept(NamedTuple):
    """Frames sent and decoded, segments, and what FFmpeg complained about."""

    sent: int
    decoded: int
    segments: int
    complaints: str


async def kept(browser: Browser, broker: BrokerUrl, directory: Path, line: Line, *, seconds: float, codec: str) -> Kept:
    """Records a camera on this line and returns the figures of its files."""
    options: dict[str, Any] = {"recording__dir": directory, "recording__mode": "always", "media__codecs": codec}
    async with stage(browser, broker, **options) as scene:
        camera = await scene.camera(line)
        await until(lambda: scene.service.rooms.recording(ROOM))
        await asyncio.sleep(seconds)
        sent = await frames_sent(camera)
        await camera.context.close()
        await until(lambda: not scene.service.rooms.recording(ROOM))
    paths = [segment.path for segment in Store(directory).walk()]
    found = [await asyncio.to_thread(complaints, path) for path in paths]
    decoded = [await asyncio.to_thread(_frames, path) for path in paths]
    return Kept(sent, sum(decoded), len(paths), "".join(found))


def _frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


async def report(seconds: float) -> None:
    """Lines of 40 ms to the server and back, with more and more loss."""
    with tempfile.TemporaryDirectory() as scratch:
        broker = Mosquitto(need("mosquitto"), Path(scratch))
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=need("chromium"), args=list(FLAGS))
            for codec in ("h264", "vp8"):
                for loss in (0.0, 0.01, 0.05):
                    line = Line.both(Link(loss=loss, delay=0.02))
                    where = Path(scratch) / f"{codec}-{loss}"
                    found = await kept(browser, broker.url, where, line, seconds=seconds, codec=codec)
                    share = found.decoded / found.sent
                    text = f"{codec} loss {loss:.0%}: {found.decoded} of {found.sent} frames ({share:.2%})"
                    sys.stdout.write(f"{text}, {found.segments} files, FFmpeg: {found.complaints or 'no complaint'}\n")
                    sys.stdout.flush()
            await browser.close()
        broker.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    asyncio.run(report(parser.parse_args().seconds))


if __name__ == "__main__":
    main()
