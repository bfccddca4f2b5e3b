"""How large the pictures of a stream are, told from the first packet of a key frame.

Owns what of VP8's frame header (RFC 6386 section 9.1) and of H.264's sequence parameter set (ITU-T H.264 section
7.3.2.1.1) says so; other codecs do not come in layers of their own streams. Never decodes, never keeps state, and any
bytes give an answer.
"""

from __future__ import annotations

from typing import Final

from sfu.media.formats import vp8

_SPS, _STAP_A = 7, 24
_START_CODE: Final = b"\x9d\x01\x2a"
_CHROMA_TOLD: Final = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244))
"""The profiles whose parameter sets tell the chroma format."""
_MAX_BITS: Final = 16  # of an Exp-Golomb number before its value: more is no number of ours
_MACROBLOCK: Final = 16  # pixels

Size = tuple[int, int]
"""Width and height in pixels."""


def picture_size(codec_name: str, payload: bytes) -> Size | None:
    """None if this packet does not tell."""
    if codec_name == "VP8":
        return _vp8(payload)
    if codec_name == "H264":
        return _h264(payload)
    return None


def _vp8(payload: bytes) -> Size | None:
    start = vp8.descriptor_length(payload) + 3 if payload else 0
    header = payload[start : start + 7]
    if len(header) < 7 or header[:3] != _START_CODE:
        return None
    return (header[4] << 8 | header[3]) & 0x3FFF, (header[6] << 8 | header[5]) & 0x3FFF


def _h264(payload: bytes) -> Size | None:
    kind = payload[0] & 0x1F if payload else 0
    if kind == _STAP_A and len(payload) > 3:
        payload = payload[3 : 3 + (payload[1] << 8 | payload[2])]  # parameter sets come first
        kind = payload[0] & 0x1F if payload else 0
    if kind != _SPS:
        return None
    try:
        return _from_parameters(_Bits(payload[1:].replace(b"\0\0\3", b"\0\0")))
    except ValueError:
        return None


class _Bits:
    """Reads fields off a bit string; ValueError where it is too short."""

    def __init__(self, data: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in data[:64])
        self._at = 0

    def fixed(self, count: int) -> int:
        """`u(count)`."""
        start, self._at = self._at, self._at + count
        return int(self._bits[start : self._at] if self._at <= len(self._bits) else "", 2)

    def golomb(self) -> int:
        """`ue(v)`, section 9.1; `se(v)` has the same length."""
        zeros = 0
        while not self.fixed(1):
            zeros += 1
            if zeros > _MAX_BITS:
                raise ValueError
        return (1 << zeros) - 1 + (self.fixed(zeros) if zeros else 0)


def _from_parameters(bits: _Bits) -> Size | None:
    profile = bits.fixed(8)
    bits.fixed(16)
    bits.golomb()
    chroma = _chroma(bits) if profile in _CHROMA_TOLD else 1
    bits.golomb()
    _skip_order(bits)
    bits.golomb()
    bits.fixed(1)
    width, height = bits.golomb() + 1, bits.golomb() + 1
    whole_frames = bits.fixed(1)
    bits.fixed(1 if whole_frames else 2)
    left, right, top, bottom = [bits.golomb() for _ in range(4)] if bits.fixed(1) else (0, 0, 0, 0)
    wide, high = (2 if chroma in (1, 2) else 1), (2 if chroma == 1 else 1) * (2 - whole_frames)
    size = (
        width * _MACROBLOCK - wide * (left + right),
        height * (2 - whole_frames) * _MACROBLOCK - high * (top + bottom),
    )
    return size if min(size) > 0 else None


def _chroma(bits: _Bits) -> int:
    """chroma_format_idc and what follows it; ValueError for scaling matrices, which no camera sends."""
    chroma = bits.golomb()
    if chroma == 3:  # 4:4:4 in section 6.2
        bits.fixed(1)
    bits.golomb()
    bits.golomb()
    bits.fixed(1)
    if bits.fixed(1):
        raise ValueError
    return chroma


def _skip_order(bits: _Bits) -> None:
    """pic_order_cnt_type and what it brings."""
    kind = bits.golomb()
    if kind == 0:
        bits.golomb()
    elif kind == 1:
        bits.fixed(1)
        bits.golomb()
        bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()
