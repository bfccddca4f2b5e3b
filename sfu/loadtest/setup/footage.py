"""The loop of real video that all cameras of a load test send: generated, or read from a file.

Owns the loop as RTP payloads, and the checksums by which viewers recognise them. Blocking work, done once in the parent
process; the workers receive it ready to send.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import av

from sfu.clients.encode import BITS_PER_PIXEL_FACTOR, VideoEncoder
from sfu.clients.frames import Frame, SourceError, h264
from sfu.clients.packetize import PAYLOADS, ParameterSets
from sfu.clients.source import Input
from sfu.rtc.sdp.codec import Codec

_FRAMES_PER_S = 30
_LOOP_S = 4
_KEY_INTERVAL_S = 2.0
_BUFFER_S = 0.15
"""A key frame is at most as large as five other frames, as cameras on a call limit it, so that it is not late."""
_FROM_FILE_S = 60.0
_MACROBLOCK = 16
"""Width and height are multiples of this, so that nothing is cropped."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame: its RTP payloads, the seconds until the next frame is due, and True if it is a key frame."""

    payloads: tuple[bytes, ...]
    lasts: float
    key: bool


@dataclass(frozen=True, slots=True)
class Footage:
    """A loop of `seconds` that starts with a key frame, so that it can be repeated."""

    codec: Codec
    pictures: tuple[Picture, ...]
    seconds: float
    about: str
    """Its origin, for people."""

    @property
    def bitrate(self) -> int:
        """Returns the bit/s of the payloads."""
        return round(8 * sum(len(p) for picture in self.pictures for p in picture.payloads) / self.seconds)

    @property
    def packets_per_second(self) -> float:
        """Returns the RTP packets that one camera sends each second."""
        return sum(len(picture.payloads) for picture in self.pictures) / self.seconds

    def key_after(self, number: int) -> int:
        """Returns the number of the first key frame at or after picture `number`, also past the loop's end."""
        count = len(self.pictures)
        return next(n % count for n in range(number, number + count) if self.pictures[n % count].key)

    def check_sums(self) -> frozenset[int]:
        """Returns the CRC-32 of each payload."""
        return frozenset(zlib.crc32(payload) for picture in self.pictures for payload in picture.payloads)


def synthetic_footage(bitrate: int) -> Footage:
    """Encodes four seconds of a moving, noisy picture, as large as `bitrate` (bit/s) allows; takes about 0.5 s of CPU.

    The noise makes the encoder use all its bits, as leaves and rain do outdoors.
    """
    width, height = _size(bitrate)
    pattern = f"testsrc2=size={width}x{height}:rate={_FRAMES_PER_S}:duration={_LOOP_S}"
    graph = f"{pattern},noise=alls=16:allf=t,format=yuv420p"
    encoder = VideoEncoder(
        width,
        height,
        _FRAMES_PER_S,
        key_interval=_KEY_INTERVAL_S,
        preset="superfast",
        bit_rate=bitrate,
        buffer_seconds=_BUFFER_S,
        one_slice=True,
    )
    sets = ParameterSets()
    frames: list[Frame] = []
    with av.open(graph, format="lavfi") as container:
        for number, picture in enumerate(container.decode(video=0)):
            for seconds, data, key in encoder.encode(picture, number / _FRAMES_PER_S):
                frames.append(Frame(0, seconds, sets.complete(data), key))
    return _footage(h264(sets.profile_level_id or "42e01f"), frames, f"test pattern, {width}x{height} H.264")


async def footage_from_file(path: str) -> Footage:
    """Reads the video of a file, at most its first minute. Raises SourceError.

    H.264, VP8 and VP9 stay as they are; other codecs are encoded to H.264.
    """
    source = await asyncio.to_thread(Input, path)
    try:
        if source.live:
            raise SourceError(f"{path}: is not a file; a load test cannot use live inputs")
        track = next((i for i, codec in enumerate(source.codecs) if codec.kind == "video"), None)
        if track is None:
            raise SourceError(f"{path}: has no video")
        frames: list[Frame] = []
        async for frame in source.frames():
            if frame.seconds > _FROM_FILE_S:
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
    """Returns (width, height), 16:9 at 0.1 bit per pixel, from 320x176 to 1888x1056."""
    pixels = bitrate / _FRAMES_PER_S / BITS_PER_PIXEL_FACTOR
    width = min(max((pixels * 16 / 9) ** 0.5, 320), 1888)
    return round(width / _MACROBLOCK) * _MACROBLOCK, round(width * 9 / 16 / _MACROBLOCK) * _MACROBLOCK
