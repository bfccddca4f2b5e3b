"""How far sound and picture of a real Chromium are apart in its recording, by flashes and beeps in the file.

By hand, at length: `python -m tests.helpers.browser.flash_and_beep --seconds 120`. What the page itself adds is in
the figures: it draws a flash up to a frame after the beep has begun.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
from playwright.async_api import Browser, async_playwright

from recorder.store.directory import Segment, Store
from sfu.signaling.broker_url import BrokerUrl
from tests.browser.conftest import FLAGS
from tests.browser.test_chromium_camera import FLASH_AND_BEEP
from tests.helpers.brokers import Mosquitto
from tests.helpers.browser.pages import camera_page
from tests.helpers.programs import need
from tests.helpers.serving import serving
from tests.helpers.waiting import until

_BRIGHT = 128
_LOUD = 0.1
_QUIET_S = 0.4
_MATCH_S = 0.45
_MOST_FLASHES = 180
"""As many as the page makes unless told otherwise."""


class Offset(NamedTuple):
    """A beep, in seconds since the recording began, and how many ms later its flash is."""

    at: float
    ms: float


async def recorded(
    browser: Browser, broker: BrokerUrl, directory: Path, seconds: float, **settings: object
) -> list[Segment]:
    """What is on the disk after a Chromium has flashed and beeped for so long."""
    page = FLASH_AND_BEEP.replace(f"second < {_MOST_FLASHES}", f"second < {max(_MOST_FLASHES, int(seconds) + 10)}")
    where = {"recording__dir": directory, "recording__mode": "always"}
    async with serving(broker, **where, **settings) as service:
        camera = await camera_page(browser, service, "hall", "one", init=page)
        await until(lambda: service.rooms.recording("hall"))
        await asyncio.sleep(seconds)
        await camera.context.close()
        await until(lambda: not service.rooms.recording("hall"))
    return sorted(Store(directory).walk(), key=lambda segment: segment.start_us)


def offsets(segments: Sequence[Segment]) -> list[Offset]:
    """Of each beep that has a flash within 450 ms."""
    begin_us = segments[0].start_us
    found = []
    for segment in segments:
        since = (segment.start_us - begin_us) / 1e6
        bright = list(flashes(segment.path))
        for beep in beeps(segment.path):
            nearest = min((flash - beep for flash in bright), key=abs, default=1.0)
            if abs(nearest) < _MATCH_S:
                found.append(Offset(since + beep, nearest * 1000))
    return found


def flashes(path: Path) -> Iterator[float]:
    """When the picture becomes white, in seconds."""
    with av.open(str(path)) as container:
        white = True
        for frame in container.decode(video=0):
            level = bytes(frame.planes[0])[frame.width // 2]
            if level > _BRIGHT and not white:
                yield float(frame.time or 0)
            white = level > _BRIGHT


def beeps(path: Path) -> Iterator[float]:
    """When it becomes loud after it was quiet, in seconds."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=48_000)
    last = -1.0
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            for sound in resampler.resample(frame):
                samples = memoryview(bytes(sound.planes[0])).cast("f")[: sound.samples]
                loud = [number for number, sample in enumerate(samples) if abs(sample) > _LOUD]
                begin = float(frame.time or 0)
                if loud and begin + loud[0] / 48_000 - last > _QUIET_S:
                    yield begin + loud[0] / 48_000
                if loud:
                    last = begin + loud[-1] / 48_000


def p95(values: Sequence[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


def row(name: str, found: Sequence[Offset]) -> str:
    """For people."""
    if not found:
        return f"{name:<8} no beep with a flash"
    sizes = [abs(offset.ms) for offset in found]
    signed = statistics.median(offset.ms for offset in found)
    spread = f"p50 {statistics.median(sizes):.0f} p95 {p95(sizes):.0f} max {max(sizes):.0f} ms"
    return f"{name:<8} {len(found):>4} beeps, flash to beep: {spread} (median {signed:+.0f})"


async def report(seconds: float) -> None:
    """A recording in thirds, and its first ten seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        broker = Mosquitto(need("mosquitto"), Path(scratch))
        try:
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=need("chromium"), args=list(FLAGS))
                segments = await recorded(browser, broker.url, Path(scratch) / "recordings", seconds)
                await browser.close()
        finally:
            broker.stop()
        found = offsets(segments)
    spans = {"10 s": (0.0, 10.0)}
    spans |= {name: (n * seconds / 3, (n + 1) * seconds / 3) for n, name in enumerate(("start", "middle", "end"))}
    for name, (since, until_) in spans.items():
        sys.stdout.write(row(name, [offset for offset in found if since <= offset.at < until_]) + "\n")
    sys.stdout.write(f"{row('all', found)}, {len(segments)} segments\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    asyncio.run(report(parser.parse_args().seconds))


if __name__ == "__main__":
    main()
