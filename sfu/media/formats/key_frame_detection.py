"""Key frame starts, found in RTP payloads.

Owns reading the few leading bits of each payload format that mark a key frame: H.264 (RFC 6184), H.265 (RFC 7798),
VP8 (RFC 7741), VP9 (RFC 9628), AV1 (AOMedia's RTP specification). Never decodes, keeps no state, never raises on remote
bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sfu.media.formats import vp8
from sfu.media.formats.bits import BrokenError, leb128

_H264_IDR, _H264_SPS, _H264_STAP_A, _H264_FU_A = 5, 7, 24, 28
_H265_FIRST_IRAP, _H265_LAST_IRAP, _H265_VPS, _H265_SPS, _H265_AP, _H265_FU = 16, 21, 32, 33, 48, 49
_AV1_SEQUENCE_HEADER = 1
_START = 0x80
"""The first bit of a fragmentation header, and of a slice that is its picture's first."""


def key_frame_test(codec_name: str) -> Callable[[bytes], bool]:
    """Returns the function that finds out from a packet's payload whether a decoder can start with this packet.

    It returns True for the first packet of a key frame, and for packets with parameter sets where these are separate.
    It always returns True for codecs without key frames: audio.
    """
    return _STARTS.get(codec_name, _always)


def starts_key_frame(codec_name: str, payload: bytes) -> bool:
    """Returns True if a decoder can start with this packet. See `key_frame_test`."""
    return key_frame_test(codec_name)(payload)


def _always(_: bytes) -> bool:
    return True


def _h264(payload: bytes) -> bool:
    kind = payload[0] & 0x1F if payload else 0
    if kind == _H264_STAP_A:
        return any(_h264_unit(unit[0] & 0x1F, unit[1:2]) for unit in _aggregated(payload, 1))
    if kind == _H264_FU_A:
        return len(payload) > 2 and payload[1] >= _START and _h264_unit(payload[1] & 0x1F, payload[2:3])
    return _h264_unit(kind, payload[1:2])


def _h264_unit(kind: int, body: bytes) -> bool:
    """Returns True for an SPS, and for the slice of an IDR picture whose first_mb_in_slice, Exp-Golomb coded, is 0."""
    return kind == _H264_SPS or (kind == _H264_IDR and body >= b"\x80")


def _h265(payload: bytes) -> bool:
    kind = payload[0] >> 1 & 0x3F if payload else 0
    if kind == _H265_AP:
        return any(_h265_unit(unit[0] >> 1 & 0x3F, unit[2:3]) for unit in _aggregated(payload, 2))
    if kind == _H265_FU:
        return len(payload) > 3 and payload[2] >= _START and _h265_unit(payload[2] & 0x3F, payload[3:4])
    return _h265_unit(kind, payload[2:3])


def _h265_unit(kind: int, body: bytes) -> bool:
    """Returns True for a VPS or SPS, and for a random access picture's slice with first_slice_segment_in_pic_flag."""
    if kind in (_H265_VPS, _H265_SPS):
        return True
    return _H265_FIRST_IRAP <= kind <= _H265_LAST_IRAP and body >= b"\x80"


def _aggregated(payload: bytes, position: int) -> Iterator[bytes]:
    """Yields the units of an aggregation packet, each after its 16-bit length, up to one that is empty or cut short."""
    while position + 2 < len(payload):
        after = position + 2 + (payload[position] << 8 | payload[position + 1])
        unit = payload[position + 2 : after]
        if not unit or after > len(payload):
            return
        yield unit
        position = after


def _vp8(payload: bytes) -> bool:
    if not payload or payload[0] & 0x1F != 0x10:  # S, and partition 0
        return False
    if payload[0] & 0x80 and len(payload) < 3:  # X
        return False
    position = vp8.descriptor_length(payload)
    return len(payload) > position and not payload[position] & 0x01


def _vp9(payload: bytes) -> bool:
    if len(payload) < 2 or payload[0] & 0x48 != 0x08:  # B, and not P
        return False
    if not payload[0] & 0x20:  # without L there is one spatial layer
        return True
    position = 1
    if payload[0] & 0x80:  # I
        position += 2 if payload[1] & 0x80 else 1
    return len(payload) > position and not payload[position] & 0x0E  # the upper spatial layers build on layer 0


def _av1(payload: bytes) -> bool:
    if len(payload) < 2 or payload[0] & 0x80:  # Z: continues the last OBU of the previous packet
        return False
    if payload[0] & 0x08:  # N
        return True
    return any(head >> 3 & 0x0F == _AV1_SEQUENCE_HEADER for head in _av1_heads(payload))


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


_STARTS: dict[str, Callable[[bytes], bool]] = {"H264": _h264, "H265": _h265, "VP8": _vp8, "VP9": _vp9, "AV1": _av1}
