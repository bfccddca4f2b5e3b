"""The one loop of real video that all cameras of a load test send: made here, or taken from a file.

Owns the loop as RTP payloads, and the check sums by which a viewer knows each of them again. Blocking work, done once
in the parent; the processes get it ready to send.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import av

from sfu.clients.encode import VideoEncoder
from sfu.clients.frames import Frame, SourceError, h264
from sfu.clients.packetize import PAYLOADS, ParameterSets
from sfu.clients.source import Input
from sfu.rtc.sdp.codec import Codec

RATE = 30
_LOOP_SECONDS = 4
_KEY_INTERVAL = 2.0
_BUFFER_SECONDS = 0.15
"""A key frame has at most what five others have: cameras on a call keep to that, lest it comes late."""
_FROM_FILE_SECONDS = 60.0
_BITS_PER_PIXEL = 0.1
_STEP = 16
"""Macroblocks: what sides are multiples of, so that nothing is cropped."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame: its RTP payloads, the seconds until the next one is due, and whether a viewer may start with it."""

    payloads: tuple[bytes, ...]
    lasts: float
    key: bool


@dataclass(frozen=True, slots=True)
class Footage:
    """A loop that follows itself: it starts with a key frame, and lasts `seconds`."""

    codec: Codec
    pictures: tuple[Picture, ...]
    seconds: float
    about: str
    """For people: where it comes from."""

    @property
    def bitrate(self) -> int:
        """Of the payloads, in bit/s."""
        return round(8 * sum(len(p) for picture in self.pictures for p in picture.payloads) / self.seconds)

    @property
    def packets_per_second(self) -> float:
        """RTP packets that one camera sends a second."""
        return sum(len(picture.payloads) for picture in self.pictures) / self.seconds

    def key_after(self, number: int) -> int:
        """The number of the first key frame from picture `number` on, around the loop's end if need be."""
        count = len(self.pictures)
        return next(n % count for n in range(number, number + count) if self.pictures[n % count].key)

    def check_sums(self) -> frozenset[int]:
        """CRC-32 of each payload."""
        return frozenset(zlib.crc32(payload) for picture in self.pictures for payload in picture.payloads)


def synthetic_footage(bitrate: int) -> Footage:
    """Four seconds of a moving, noisy picture, as large as `bitrate` (bit/s) allows; half a second of CPU or so."""
    width, height = _size(bitrate)
    # the noise makes the encoder need the bits it is given, as leaves and rain do outdoors
    graph = f"testsrc2=size={width}x{height}:rate={RATE}:duration={_LOOP_SECONDS},noise=alls=16:allf=t,format=yuv420p"
    encoder = VideoEncoder(
        width,
        height,
        RATE,
        key_interval=_KEY_INTERVAL,
        preset="superfast",
        bit_rate=bitrate,
        buffer_seconds=_BUFFER_SECONDS,
        one_slice=True,
    )
    sets = ParameterSets()
    frames: list[Frame] = []
    with av.open(graph, format="lavfi") as container:
        for number, picture in enumerate(container.decode(video=0)):
            for seconds, data, key in encoder.encode(picture, number / RATE):
                frames.append(Frame(0, seconds, sets.complete(data), key))
    return _footage(h264(sets.profile_level_id or "42e01f"), frames, f"test pattern, {width}x{height} H.264")


async def footage_from_file(path: str) -> Footage:
    """The picture of a file, its first minute at most; H.264, VP8 and VP9 go as they are. Raises SourceError."""
    source = await asyncio.to_thread(Input, path)
    try:
        if source.live:
            raise SourceError(f"{path}: a load test needs a file")
        track = next((i for i, codec in enumerate(source.codecs) if codec.kind == "video"), None)
        if track is None:
            raise SourceError(f"{path}: has no picture")
        frames: list[Frame] = []
        async for frame in source.frames():
            if frame.seconds > _FROM_FILE_SECONDS:
                break
            if frame.track == track and (frames or frame.key):
                frames.append(frame)
        if len(frames) < 2:
            raise SourceError(f"{path}: has no key frame in its first minute")
        return _footage(source.codecs[track], frames, f"{path}, {source.codecs[track].name}")
    finally:
        await source.close()


def _footage(codec: Codec, frames: Iterable[Frame], about: str) -> Footage:
    frames = list(frames)
    starts = [frame.seconds for frame in frames]
    average = (starts[-1] - starts[0]) / (len(starts) - 1)
    periods = [max(later - earlier, 0.0) for earlier, later in pairwise([*starts, starts[-1] + average])]
    pack = PAYLOADS[codec.name]
    pictures = tuple(
        Picture(tuple(pack(frame.data)), period, frame.key) for frame, period in zip(frames, periods, strict=True)
    )
    return Footage(codec, pictures, sum(periods), about)


def _size(bitrate: int) -> tuple[int, int]:
    """16:9 at a tenth of a bit a pixel, from 320x176 to 1888x1056."""
    pixels = bitrate / RATE / _BITS_PER_PIXEL
    width = min(max((pixels * 16 / 9) ** 0.5, 320), 1888)
    return round(width / _STEP) * _STEP, round(width * 9 / 16 / _STEP) * _STEP
