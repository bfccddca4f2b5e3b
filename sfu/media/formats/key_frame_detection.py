"""Key frame starts, found in RTP payloads.

Owns reading the few leading bits of each payload format that mark a key frame or parameter sets: H.264 (RFC 6184),
H.265 (RFC 7798), VP8 (RFC 7741), VP9 (RFC 9628), AV1 (AOMedia's RTP specification). Never decodes, keeps no state,
never raises on remote bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from sfu.media.formats import vp8
from sfu.media.formats.bits import BrokenError, leb128
from sfu.media.formats.nal_units import aggregated

START: Final = 1
"""A decoder can start here: with a key frame, or with parameter sets before one."""
SETS: Final = 2
"""The payload has parameter sets of H.264 or H.265."""
PICTURE: Final = 4
"""A key frame's picture begins in it."""

_H264_IDR, _H264_SPS, _H264_PPS, _H264_STAP_A, _H264_FU_A = 5, 7, 8, 24, 28
_H265_FIRST_IRAP, _H265_LAST_IRAP, _H265_VPS, _H265_SPS, _H265_PPS, _H265_AP, _H265_FU = 16, 21, 32, 33, 34, 48, 49
_AV1_SEQUENCE_HEADER = 1
_FIRST = 0x80
"""The first bit of a fragmentation header, and of a slice that is its picture's first."""


def start_test(codec_name: str) -> Callable[[bytes], int]:
    """Returns the function that finds out what begins in a packet's payload: a sum of `START`, `SETS` and `PICTURE`.

    It is 0 for most packets. The first packet of a key frame has `START`, and so have packets with an SPS or VPS. For
    codecs without key frames, audio, it is always `START` and `PICTURE`.
    """
    return _STARTS.get(codec_name, _always)


def starts_key_frame(codec_name: str, payload: bytes) -> bool:
    """Returns True if a decoder can start with this packet. See `start_test`."""
    return bool(start_test(codec_name)(payload) & START)


def _always(_: bytes) -> int:
    return START | PICTURE


def _h264(payload: bytes) -> int:
    kind = payload[0] & 0x1F if payload else 0
    if kind < _H264_IDR:  # most packets that are no fragments
        return 0
    if kind == _H264_STAP_A:
        found = 0
        for unit in aggregated(payload, 1):
            found |= _h264_unit(unit[0] & 0x1F, unit[1:2])
        return found
    if kind == _H264_FU_A:
        if len(payload) > 2 and payload[1] >= _FIRST:
            return _h264_unit(payload[1] & 0x1F, payload[2:3])
        return 0
    return _h264_unit(kind, payload[1:2])


def _h264_unit(kind: int, body: bytes) -> int:
    """Finds an SPS or PPS, or the slice of an IDR picture whose first_mb_in_slice, Exp-Golomb coded, is 0."""
    if kind < _H264_IDR:
        return 0
    if kind == _H264_IDR:
        return START | PICTURE if body >= b"\x80" else 0
    if kind == _H264_SPS:
        return START | SETS
    return SETS if kind == _H264_PPS else 0


def _h265(payload: bytes) -> int:
    kind = payload[0] >> 1 & 0x3F if payload else 0
    if kind < _H265_FIRST_IRAP:
        return 0
    if kind == _H265_AP:
        found = 0
        for unit in aggregated(payload, 2):
            found |= _h265_unit(unit[0] >> 1 & 0x3F, unit[2:3])
        return found
    if kind == _H265_FU:
        if len(payload) > 3 and payload[2] >= _FIRST:
            return _h265_unit(payload[2] & 0x3F, payload[3:4])
        return 0
    return _h265_unit(kind, payload[2:3])


def _h265_unit(kind: int, body: bytes) -> int:
    """Finds a parameter set, or a random access picture's slice with first_slice_segment_in_pic_flag."""
    if kind < _H265_FIRST_IRAP:
        return 0
    if kind <= _H265_LAST_IRAP:
        return START | PICTURE if body >= b"\x80" else 0
    if kind in (_H265_VPS, _H265_SPS):
        return START | SETS
    return SETS if kind == _H265_PPS else 0


def _vp8(payload: bytes) -> int:
    if not payload or payload[0] & 0x1F != 0x10:  # S, and partition 0
        return 0
    if payload[0] & 0x80 and len(payload) < 3:  # X
        return 0
    position = vp8.descriptor_length(payload)
    return START | PICTURE if len(payload) > position and not payload[position] & 0x01 else 0


def _vp9(payload: bytes) -> int:
    if len(payload) < 2 or payload[0] & 0x48 != 0x08:  # B, and not P
        return 0
    if not payload[0] & 0x20:  # without L there is one spatial layer
        return START | PICTURE
    position = 1
    if payload[0] & 0x80:  # I
        position += 2 if payload[1] & 0x80 else 1
    lowest = len(payload) > position and not payload[position] & 0x0E  # the upper spatial layers build on layer 0
    return START | PICTURE if lowest else 0


def _av1(payload: bytes) -> int:
    if len(payload) < 2 or payload[0] & 0x80:  # Z: continues the last OBU of the previous packet
        return 0
    if payload[0] & 0x08:  # N
        return START | PICTURE
    found = any(head >> 3 & 0x0F == _AV1_SEQUENCE_HEADER for head in _av1_heads(payload))
    return START | PICTURE if found else 0


def _av1_heads(payload: bytes) -> Iterator[int]:
    """Yields the headers of the first two OBUs: a sequence header is the first, or follows a temporal delimiter."""
    count = payload[0] >> 4 & 0x03
    position = 1
    for index in range(1, 3):
        if position >= len(payload):
            return
        length = len(payload)  # the last of a counted list goes on to the end
        if index != count:
            try:
                length, position = leb128(payload, position)
            except BrokenError:
                return
        if length == 0 or position >= len(payload):
            return
        yield payload[position]
        position += length


_STARTS: dict[str, Callable[[bytes], int]] = {"H264": _h264, "H265": _h265, "VP8": _vp8, "VP9": _vp9, "AV1": _av1}
