"""Chromium publishes and another Chromium views: each codec decodes without a freeze, lips and voice stay together."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.helpers.brokers import Mosquitto
from tests.helpers.browser.flash_and_beep import FLASH_AND_BEEP
from tests.helpers.browser.pages import camera_page, decoded, opened, publisher, tiles_when, until_live
from tests.helpers.serving import serving

Record = Callable[[str, object], None]

# Two software encoders and decoders of 720p would be a test of this machine.
SMALL_CAMERA = """
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = ({audio}) => open({audio, video: {width: 640, height: 360}});
"""

# A flash and a beep in the same instant, once a second.
# When the flashes were on the screen and when the beeps sounded, in ms of performance.now(), for ever.
WATCH = """(selector) => {
  const video = document.querySelector(selector);
  window.flashes = [];
  window.beeps = [];
  const pen = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  let bright = true;
  const look = (now, {expectedDisplayTime}) => {
    pen.drawImage(video, 0, 0, 1, 1);
    const [level] = pen.getImageData(0, 0, 1, 1).data;
    if (level > 128 && !bright) window.flashes.push(expectedDisplayTime);
    bright = level > 128;
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  const context = new AudioContext();
  const ear = context.createScriptProcessor(256, 1, 1);
  let quietSince = 0;
  ear.onaudioprocess = ({inputBuffer, playbackTime}) => {
    const at = inputBuffer.getChannelData(0).findIndex((sample) => Math.abs(sample) > 0.1);
    if (at < 0) return;
    if (playbackTime - quietSince > 0.4) {
      const {contextTime, performanceTime} = context.getOutputTimestamp();
      window.beeps.push(performanceTime + (playbackTime + at / context.sampleRate - contextTime) * 1000);
    }
    quietSince = playbackTime;
  };
  context.createMediaStreamSource(video.srcObject).connect(ear).connect(context.destination);
}"""

LAST_OFFSETS = """() => window.flashes.slice(-3).map((flash) =>
  window.beeps.map((beep) => flash - beep).reduce((a, b) => Math.abs(a) < Math.abs(b) ? a : b, 1e6))"""


@pytest.mark.parametrize("codec", ["vp8", "h264", "vp9"])
async def test_a_codec_of_the_settings_is_sent_and_decodes_without_a_freeze(
    chromium: Browser, mosquitto: Callable[..., Mosquitto], record_property: Record, codec: str
) -> None:
    async with serving(mosquitto().url, media__codecs=codec) as service:
        camera = await camera_page(chromium, service, "hall", "one", init=SMALL_CAMERA)
        viewer = await opened(chromium, service, "#hall")
        (shown,) = await until_live(viewer, "hall/one")
        record_property("first_picture_after_answer_ms", shown["firstFrameAt"] - shown["answeredAt"])
        record_property("first_picture_after_offer_ms", shown["firstFrameAt"] - (await started_at(viewer)))
        tile = await steady(viewer, 90)
        assert tile["video"]["mimeType"].lower() == f"video/{codec}"
        assert tile["codec"].lower() == codec
        assert tile["packetsLost"] == 0
        assert tile["audio"]["totalSamplesReceived"] > 48_000
        # what it starts with it keeps only, and goes on from, if it hears back; a machine without a free core slows it
        sent = await reaches(camera, 1_500_000)
        assert sent["mimeType"].lower() == f"video/{codec}"


async def reaches(camera: Page, bitrate: int, timeout: float = 60.0) -> dict[str, Any]:
    """Returns the figures of the camera's video once it aims for `bitrate` (bit/s)."""
    deadline = time.monotonic() + timeout
    sent: dict[str, Any]
    while (sent := (await publisher(camera))["video"])["targetBitrate"] < bitrate:
        assert time.monotonic() < deadline, sent["targetBitrate"]
        await asyncio.sleep(0.2)
    return sent


async def steady(page: Page, frames: int) -> dict[str, Any]:
    """The one tile, once it has decoded so many pictures in a row without a freeze and dropped none or one of them.

    One that falters begins again: a machine with other work to do holds encoder and decoder up now and then.
    """
    async with asyncio.timeout(90):
        while True:
            (before,), (after,) = await decoded(page, frames)
            faults = [after[name] - before[name] for name in ("freezeCount", "totalFreezesDuration", "framesDropped")]
            if faults[:2] == [0, 0] and faults[2] <= 1:
                return after


async def test_sound_and_picture_stay_in_sync(
    chromium: Browser, mosquitto: Callable[..., Mosquitto], record_property: Record
) -> None:
    """Flashes and beeps are taken where a person would meet them, so that no report needs to be believed.

    The camera's own preview tells how far apart they are before they are sent, and what this way of looking adds.
    Chromium moves the early one of the two by some 20 ms a second, hence the patience.
    """
    async with serving(mosquitto().url, media__codecs="vp8") as service:
        camera = await camera_page(chromium, service, "hall", "one", init=FLASH_AND_BEEP)
        await camera.evaluate(WATCH, ".onair video")
        viewer = await opened(chromium, service, "#hall")
        await until_live(viewer, "hall/one")
        await viewer.evaluate(WATCH, ".tile:not([hidden]) video")
        async with asyncio.timeout(60):
            while abs(added := await offset(viewer, -1e6) - await offset(camera, 1e6)) > 100:
                await asyncio.sleep(0.2)
        record_property("added_flash_to_beep_ms", added)
        (tile,) = await tiles_when(viewer, lambda windows: abs(playout_offset(windows[0])) < 100, timeout=60)
        record_property("playout_offset_ms", playout_offset(tile))


async def offset(page: Page, unknown: float) -> float:
    """Median of the last three times from a beep to its flash, in ms; `unknown` before there are three."""
    offsets: list[float] = await page.evaluate(LAST_OFFSETS)
    return statistics.median(offsets) if len(offsets) == 3 else unknown


def playout_offset(tile: dict[str, Any]) -> float:
    """How far the picture's capture time on the screen is ahead of the sound's, by the sender reports, in ms."""
    picture, sound = ((tile[kind] or {}).get("estimatedPlayoutTimestamp") for kind in ("video", "audio"))
    return math.inf if picture is None or sound is None else picture - sound


async def started_at(page: Page) -> float:
    (session,) = await page.evaluate("__sfu.sessions()")
    return float(session["startedAt"])
