"""Key frames of some hundred bytes that claim pictures for which a decoder needs gigabytes of memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache

import av
from av.video.codeccontext import VideoCodecContext

from tests.helpers.rtp_payloads import encode_grey

SIDE = 16_000
_LIBVPX = {"deadline": "realtime"}
_ESCAPE = b"\x03"


def _bits(data: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in data)


def _bytes(bits: str) -> bytes:
    return bytes(int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8))


def _golomb(*values: int) -> str:
    return "".join("0" * (len(f"{value + 1:b}") - 1) + f"{value + 1:b}" for value in values)


def _escaped(data: bytes) -> bytes:
    out = bytearray()
    for byte in data:
        if byte <= 3 and out.endswith(b"\0\0"):
            out += _ESCAPE
        out.append(byte)
    return bytes(out)


def _with_sps(data: bytes, begin: bytes, old: str, new: str) -> bytes:
    """Replaces the bits that state the size in the SPS that begins with these bytes."""
    start = data.index(b"\0\0\1" + begin) + 3 + len(begin)
    end = data.index(b"\0\0\1", start)
    bits = _bits(data[start:end].rstrip(b"\0").replace(b"\0\0" + _ESCAPE, b"\0\0"))
    assert bits.count(old) == 1
    return data[:start] + _escaped(_bytes(bits.replace(old, new).rstrip("0"))) + b"\0" + data[end:]


def _vp8() -> bytes:
    data = encode_grey("libvpx", (64, 64), _LIBVPX)[0]
    return data[:6] + SIDE.to_bytes(2, "little") * 2 + data[10:]


def _vp9() -> bytes:
    bits = _bits(encode_grey("libvpx-vp9", (64, 64), _LIBVPX)[0])
    return _bytes(bits.replace(f"{63:016b}" * 2, f"{SIDE - 1:016b}" * 2, 1))


def _h264() -> bytes:
    data = encode_grey("libx264", (64, 48), {"preset": "ultrafast", "x264-params": "log-level=none"})[0]
    return _with_sps(data, b"\x67", _golomb(3, 2), _golomb(SIDE // 16 - 1, SIDE // 16 - 1))


def _h265() -> bytes:
    data = encode_grey("libx265", (64, 80), {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"})[0]
    return _with_sps(data, b"\x42\x01", _golomb(64, 80), _golomb(SIDE, SIDE))


def _av1() -> bytes:
    """A whole picture a little over 8K: a larger one takes minutes to encode, and an altered header does not parse."""
    context = av.CodecContext.create("libsvtav1", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt, context.time_base = 8192, 4352, "yuv420p", Fraction(1, 25)
    context.options = {"preset": "11", "svtav1-params": "pred-struct=1:lp=1"}
    frame = av.VideoFrame(8192, 4352, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


_MAKERS: Mapping[str, Callable[[], bytes]] = {"VP8": _vp8, "VP9": _vp9, "H264": _h264, "H265": _h265, "AV1": _av1}
CODECS = tuple(_MAKERS)


@cache
def bomb(codec: str) -> tuple[bytes, tuple[int, int]]:
    """Returns the key frame, and the width and height that it claims."""
    return _MAKERS[codec](), (8192, 4352) if codec == "AV1" else (SIDE, SIDE)
