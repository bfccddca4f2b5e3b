"""Encoded units as a depacketizer yields them, files recorded from them, and what FFmpeg says of a file."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

import av
from av.bitstream import BitStreamFilterContext

from recorder.capture.reorder import Arrival
from recorder.depacketize.units import CodecParameters
from recorder.segments.muxer import Muxer
from recorder.segments.writer import SegmentWriter
from recorder.store.directory import Segment, Store
from sfu.clients.frames import OPUS
from sfu.clients.packetize import PAYLOADS
from sfu.media.formats.rtp import Packet
from sfu.rtc.sdp.codec import Codec, Kind
from tests.helpers.media import make_file
from tests.helpers.programs import need

START_US = 1_772_600_767_891_000  # 2026-03-04T05:06:07.891Z
H264 = Codec("H264", 90_000, 1, 102, (("packetization-mode", "1"),), ("nack", "nack pli"))
NOW = 1000.0
EPOCH_US = START_US - int(NOW * 1e6)
ENCODERS = {
    "H264": ("libx264", ".mp4", {"preset": "ultrafast", "bf": "0"}),
    "H265": ("libx265", ".mp4", {"preset": "ultrafast", "x265-params": "bframes=0:log-level=none"}),
    "VP8": ("libvpx", ".webm", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "threads": "1"}),
    "VP9": ("libvpx-vp9", ".webm", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "threads": "1"}),
    "AV1": ("libsvtav1", ".mkv", {"preset": "12", "svtav1-params": "pred-struct=1"}),
}
_ANNEX_B = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}


class Unit(NamedTuple):
    """One encoded unit, in the order and with the times a recording hands to its muxer."""

    pts_us: int
    kind: Literal["audio", "video"]
    data: bytes
    key: bool


@functools.cache
def units(codec: str | None, *, audio: bool = True, seconds: int = 4) -> tuple[Unit, ...]:
    """Returns a test picture in `codec` (25 a second, a key frame each second) and a tone in Opus, by time."""
    encoder, suffix, options = ENCODERS[codec] if codec is not None else (None, ".mp4", {})
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"source{suffix}"
        make_file(path, video=encoder, audio="libopus" if audio else None, seconds=seconds, options=options)
        return tuple(sorted(units_of(path)))


def units_of(path: Path) -> Iterator[Unit]:
    with av.open(str(path)) as container:
        filters = {
            stream.index: BitStreamFilterContext(_ANNEX_B.get(stream.codec_context.name, "null"), stream)
            for stream in container.streams
        }
        for packet in container.demux():
            for unit in filters[packet.stream.index].filter(packet if packet.size else None):
                kind: Kind = "video" if packet.stream.type == "video" else "audio"
                pts_us = round(Fraction(unit.pts or 0) * unit.time_base * 1_000_000)
                if pts_us >= 0:
                    yield Unit(pts_us, kind, bytes(unit), unit.is_keyframe)


def parameters(codec: str, size: tuple[int, int] = (320, 180)) -> CodecParameters:
    if codec in ENCODERS:
        return CodecParameters(codec, 90_000, *size, pixel_format="yuv420p" if codec == "VP9" else "")
    return CodecParameters(codec, *((48_000, 0, 0, 2) if codec == "opus" else (8_000, 0, 0, 1)))


def tracks_of(codec: str | None, *, audio: bool = True, size: tuple[int, int] = (320, 180)) -> list[CodecParameters]:
    return [*([parameters(codec, size)] if codec else []), *([parameters("opus")] if audio else [])]


def muxed(muxer: Muxer, sequence: Sequence[Unit]) -> list[bytes]:
    """Returns the bytes that the muxer gave for each unit, and at its close."""
    return [*(muxer.write(unit.kind, unit.pts_us, unit.data, key=unit.key) for unit in sequence), muxer.close()]


def record(
    store: Store,
    *,
    room: str = "yard",
    peer: str = "cam",
    start_us: int = START_US,
    codec: str | None = "H264",
    audio: bool = True,
    sequence: Sequence[Unit] | None = None,
    size: tuple[int, int] = (320, 180),
    orientation: int = 0,
) -> Segment:
    """Returns a finished segment of these units, by default 4 s of the test picture."""
    sequence = units(codec, audio=audio) if sequence is None else sequence
    tracks = tracks_of(codec, audio=audio, size=size)
    turned = [track if track.channels else replace(track, orientation=orientation) for track in tracks]
    muxer = Muxer(turned, start_us=start_us, title=f"{room}/{peer}")
    segment = store.new(room, peer, start_us, muxer.suffix)
    writer = SegmentWriter(segment.path, muxer)
    for unit in sequence:
        writer.write(unit.kind, unit.pts_us, unit.data, key=unit.key, now=unit.pts_us / 1e6)
    writer.close()
    return segment


def complaints(path: Path) -> str:
    """Returns the messages of FFmpeg while it decodes every frame of a file; empty if it is sound.

    Frames keep their times: forced on a grid, those that share a place there would be complained about.
    """
    times = ["-vsync", "passthrough", "-enc_time_base", "-1"]
    command = [need("ffmpeg"), "-nostdin", "-v", "error", "-i", str(path), *times, "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stderr if done.returncode == 0 else f"exit {done.returncode}: {done.stderr}"


def arrivals(*, seconds: int = 4, audio: bool = True, at: float = NOW) -> Iterator[Arrival]:
    """Yields the test picture and tone as a camera sends them from `at` on."""
    index = {"video": 0, "audio": 0}
    for unit in units("H264", audio=audio, seconds=seconds):
        codec = H264 if unit.kind == "video" else OPUS
        payloads = PAYLOADS[codec.name](unit.data)
        for number, payload in enumerate(payloads):
            media_time = unit.pts_us * codec.clock_rate // 1_000_000
            packet = Packet(number == len(payloads) - 1, codec.payload_type, 0, media_time, 1, payload)
            index[unit.kind] += 1
            packet.index = index[unit.kind]
            yield Arrival(unit.kind, packet, codec, at + unit.pts_us / 1e6)


class Seen(NamedTuple):
    """A stream as FFprobe sees it: codec, and each packet's presentation time in seconds."""

    codec: str
    times: list[float]


def probed(path: Path) -> dict[str, Seen]:
    """Returns the streams of a file by kind."""
    entries = "stream=index,codec_type,codec_name:packet=stream_index,pts_time"
    command = [need("ffprobe"), "-v", "error", "-show_entries", entries, "-of", "json", str(path)]
    found = json.loads(subprocess.run(command, capture_output=True, timeout=60, check=True).stdout)
    return {
        stream["codec_type"]: Seen(
            stream["codec_name"],
            [float(packet["pts_time"]) for packet in found["packets"] if packet["stream_index"] == stream["index"]],
        )
        for stream in found["streams"]
    }
