"""Really encoded video, and packetisers for the payload formats that aiortc lacks (VP9, AV1, H.265)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cache

import av
from aiortc.codecs import get_encoder
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from av.video.codeccontext import VideoCodecContext

MTU = 1100
FRAMES = 25
KEY_FRAME_EVERY = 10


@cache
def encode(encoder: str, options: tuple[tuple[str, str], ...] = ()) -> list[av.Packet[av.VideoStream]]:
    """Encodes noise, so that key frames take many packets; a key frame every ten frames."""
    context = av.CodecContext.create(encoder, "w")
    context.thread_count = 1  # the threads of libvpx spin for minutes on a busy machine
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = 320, 192, "yuv420p"
    context.time_base = Fraction(1, 25)
    context.framerate = Fraction(25)
    context.bit_rate = 2_000_000
    context.gop_size = KEY_FRAME_EVERY
    context.options = dict(options)
    packets = []
    noise = random.Random(1)
    for index in range(FRAMES):
        frame = av.VideoFrame(320, 192, "yuv420p")
        for plane in frame.planes:
            plane.update(noise.randbytes(plane.buffer_size))
        frame.pts = index
        packets += context.encode(frame)
    return packets + context.encode(None)


def encode_grey(
    encoder: str, size: tuple[int, int], options: Mapping[str, str] | None = None, *, pixel_format: str = "yuv420p"
) -> list[bytes]:
    """Returns two encoded grey frames of any size."""
    context = av.CodecContext.create(encoder, "w")
    context.thread_count = 1  # the threads of libvpx spin for minutes on a busy machine
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = *size, pixel_format
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = dict(options or {})
    made = []
    for index in range(2):
        frame = av.VideoFrame(*size, pixel_format)
        for plane in frame.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        frame.pts = index
        made += context.encode(frame)
    return [bytes(packet) for packet in [*made, *context.encode(None)]]


def pack(mime_type: str, packet: av.Packet[av.VideoStream]) -> list[bytes]:
    """Returns the payloads that aiortc makes of a packet."""
    encoder = get_encoder(RTCRtpCodecParameters(mimeType=mime_type, clockRate=90000, payloadType=96))
    payloads, _ = encoder.pack(packet)
    return payloads


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def units(annex_b: bytes) -> list[bytes]:
    """Returns the NAL units of an Annex B byte stream."""
    return [unit.rstrip(b"\0") for unit in annex_b.replace(b"\0\0\0\x01", b"\0\0\x01").split(b"\0\0\x01") if unit]


def pack_units(annex_b: bytes, *, header: int) -> list[list[bytes]]:
    """Returns the payloads of each NAL unit, fragmented but not aggregated; `header`: 1 for H.264, 2 for H.265."""
    return [_fragments(unit, header) if len(unit) > MTU else [unit] for unit in units(annex_b)]


def _fragments(unit: bytes, header: int) -> list[bytes]:
    if header == 1:
        indicator, kind = bytes((unit[0] & 0x60 | 28,)), unit[0] & 0x1F
    else:
        indicator, kind = bytes((unit[0] & 0x81 | 49 << 1, unit[1])), unit[0] >> 1 & 0x3F
    parts = pieces(unit[header:], MTU)
    marks = [0x80, *[0] * (len(parts) - 2), 0x40]
    return [indicator + bytes((mark | kind,)) + part for mark, part in zip(marks, parts, strict=True)]


def aggregate(header: bytes, group: list[bytes]) -> bytes:
    """Returns a STAP-A of H.264 or an aggregation packet of H.265."""
    return header + b"".join(len(unit).to_bytes(2, "big") + unit for unit in group)


def pack_vp9(frame: bytes, *, key: bool, picture_id: bytes = b"\x80\x07") -> list[bytes]:
    """Returns the payloads of a frame (RFC 9628 section 4.2): non-flexible mode with one spatial layer."""
    parts = pieces(frame, MTU)
    payloads = []
    for index, part in enumerate(parts):
        begin, end = index == 0, index == len(parts) - 1
        payloads.append(bytes((0x80 | (not key) << 6 | begin << 3 | end << 2,)) + picture_id + part)
    return payloads


def pack_av1(unit: bytes, *, key: bool, counted: bool) -> list[bytes]:
    """Returns the payloads of a temporal unit, without temporal delimiters and size fields, as AV1's RTP asks."""
    payloads: list[bytes] = []
    elements: list[bytes] = []
    continued = False
    obus = list(_obus(unit))
    for index, obu in enumerate(obus):
        parts = pieces(obu, MTU)
        for number, part in enumerate(parts):
            elements.append(part)
            more = number < len(parts) - 1
            if more or len(elements) == 3 or index == len(obus) - 1:
                first = continued << 7 | more << 6 | (key and not payloads) << 3
                payloads.append(_av1_payload(first, elements, counted=counted))
                elements, continued = [], more
    return payloads


def _av1_payload(first: int, elements: list[bytes], *, counted: bool) -> bytes:
    if not counted:
        return bytes((first,)) + b"".join(_leb128(len(element)) + element for element in elements)
    listed = b"".join(_leb128(len(element)) + element for element in elements[:-1])
    return bytes((first | len(elements) << 4,)) + listed + elements[-1]


def _obus(unit: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(unit):
        head = unit[position]
        assert head & 0x02, "the low-overhead format has sizes"
        extension = unit[position + 1 : position + 2] if head & 0x04 else b""
        size, position = _read_leb128(unit, position + 1 + len(extension))
        if head >> 3 & 0x0F != 2:
            yield bytes((head & ~0x02,)) + extension + unit[position : position + size]
        position += size


def _leb128(value: int) -> bytes:
    return bytes((value,)) if value < 0x80 else bytes((value & 0x7F | 0x80, value >> 7))


def _read_leb128(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[position] & 0x7F) << shift
        shift += 7
        position += 1
        if data[position - 1] < 0x80:
            return value, position
