"""Small media files made on the spot, and RTP payloads put together again as a receiver would."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType


def make_file(
    path: Path,
    *,
    video: str | None = "libx264",
    audio: str | None = "libopus",
    seconds: float = 2.0,
    rate: int = 25,
    options: Mapping[str, str] | None = None,
    size: tuple[int, int] = (320, 180),
) -> Path:
    """Makes a file with a test picture and a tone; the container by the path's suffix. One key frame a second."""
    with av.open(str(path), "w") as output:
        streams: list[tuple[Any, str]] = []
        if video is not None:
            picture: Any = output.add_stream(video, rate=rate, options={"g": str(rate), **(options or {})})
            picture.width, picture.height = size
            picture.pix_fmt = "yuv420p"
            source = f"testsrc=size={size[0]}x{size[1]}:rate={rate}:duration={seconds},format=yuv420p"
            streams.append((picture, source))
        if audio is not None:
            sound: Any = output.add_stream(audio, rate=48000)
            sound.layout = "stereo"
            tone = f"sine=frequency=440:sample_rate=48000:samples_per_frame=960:duration={seconds}"
            streams.append((sound, f"{tone},aformat=channel_layouts=stereo"))
        for stream, graph in streams:
            with av.open(graph, format="lavfi") as pictures:
                for frame in pictures.decode():
                    if isinstance(frame, av.VideoFrame):
                        frame.pict_type = PictureType.NONE  # the test source wants key frames only
                    output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return path


def packets_of(path: Path, kind: str) -> list[tuple[float, bytes]]:
    """Returns (seconds, bytes as the container has them) of a file's first video or audio stream."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [
            (float((packet.pts or 0) * packet.time_base), bytes(packet))
            for packet in container.demux(stream)
            if packet.size
        ]


def jpeg_size(jpeg: bytes) -> tuple[int, int]:
    """Returns width and height of a picture."""
    with av.open(io.BytesIO(jpeg), "r") as container:
        (shown,) = container.decode(video=0)
        return shown.width, shown.height


def avcc_units(sample: bytes) -> list[bytes]:
    """Returns the NAL units of an MP4 sample with four-byte lengths."""
    units, at = [], 0
    while at < len(sample):
        size = int.from_bytes(sample[at : at + 4], "big")
        units.append(sample[at + 4 : at + 4 + size])
        at += 4 + size
    return units


def h264_units(payloads: Sequence[bytes]) -> list[bytes]:
    """Returns the NAL units in the RTP payloads of one access unit (RFC 6184)."""
    units: list[bytes] = []
    fragment = b""
    for payload in payloads:
        kind = payload[0] & 0x1F
        if kind == 24:
            units += _aggregated(payload)
        elif kind == 28:
            if payload[1] & 0x80:
                assert not fragment
                fragment = bytes([payload[0] & 0xE0 | payload[1] & 0x1F])
            fragment += payload[2:]
            if payload[1] & 0x40:
                units.append(fragment)
                fragment = b""
        else:
            assert 0 < kind < 24
            units.append(payload)
    assert not fragment
    return units


def _aggregated(payload: bytes) -> list[bytes]:
    units, at = [], 1
    while at < len(payload):
        size = int.from_bytes(payload[at : at + 2], "big")
        units.append(payload[at + 2 : at + 2 + size])
        at += 2 + size
    assert at == len(payload)
    return units


def decoded(codec: str, frames: Sequence[bytes]) -> list[tuple[int, int]]:
    """Returns width and height of each picture that a strict decoder makes of the frames."""
    context = av.CodecContext.create(codec, "r")
    assert isinstance(context, VideoCodecContext)
    context.options = {"err_detect": "explode"}
    pictures = []
    for frame in frames:
        packet = av.Packet(frame)
        packet.time_base = Fraction(1, 90000)
        pictures += [(picture.width, picture.height) for picture in context.decode(packet)]
    return pictures + [(picture.width, picture.height) for picture in context.decode(None)]
