"""How far sound and picture of a real Chromium are apart in its recording, by flashes and beeps in the file.

The page itself adds up to one frame: it draws a flash after the beep has begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
from playwright.async_api import Browser

from recorder.store.directory import Segment, Store
from sfu.signaling.broker_url import BrokerUrl
from tests.helpers.browser.pages import camera_page
from tests.helpers.serving import serving
from tests.helpers.waiting import until

FLASH_AND_BEEP = """
navigator.mediaDevices.getUserMedia = async () => {
  const context = new AudioContext();
  const gain = new GainNode(context, {gain: 0});
  const out = context.createMediaStreamDestination();
  const tone = new OscillatorNode(context, {frequency: 1000});
  tone.connect(gain).connect(out);
  tone.start();
  const canvas = Object.assign(document.createElement('canvas'), {width: 320, height: 180});
  const pen = canvas.getContext('2d');
  const first = Math.ceil(context.currentTime) + 1;
  for (let second = 0; second < 180; second += 1) {
    gain.gain.setValueAtTime(1, first + second);
    gain.gain.setValueAtTime(0, first + second + 0.15);
  }
  const draw = () => {
    const into = context.currentTime - first;
    pen.fillStyle = into >= 0 && into % 1 < 0.15 ? 'white' : (Math.round(into * 30) % 2 ? '#000' : '#010101');
    pen.fillRect(0, 0, 320, 180);
    requestAnimationFrame(draw);
  };
  draw();
  return new MediaStream([...canvas.captureStream(30).getTracks(), ...out.stream.getTracks()]);
};
"""

_BRIGHT = 128
_LOUD = 0.1
_QUIET_S = 0.4
_MATCH_S = 0.45
_MOST_FLASHES = 180
"""The flashes that `FLASH_AND_BEEP` makes by itself."""


class Offset(NamedTuple):
    """A beep, in seconds since the recording began, and how many ms later its flash is."""

    at: float
    ms: float


async def recorded(
    browser: Browser, broker: BrokerUrl, directory: Path, seconds: float, **settings: object
) -> list[Segment]:
    """Returns the segments of a Chromium that flashed and beeped for `seconds`."""
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
    """Returns the offset of each beep that has a flash within 450 ms."""
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
