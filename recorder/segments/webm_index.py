"""The index of a finished WebM file: its duration at the beginning, and its key frames at the end.

Owns the bytes of both (RFC 9559 sections 5.1.2.10 and 5.1.5). A file that grows has neither, since FFmpeg cannot go
back; at the end its header is replaced by one of the same length, in place of padding. Never writes to a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack
from typing import Final

from recorder.store.file_layout import Part
from recorder.store.webm import beginning

_SEEK_HEAD, _SEEK, _SEEK_ID, _SEEK_POSITION = 0x114D9B74, 0x4DBB, 0x53AB, 0x53AC
_VOID, _INFO, _DURATION = 0xEC, 0x1549A966, 0x4489
_CUES, _POINT, _TIME, _POSITIONS, _TRACK, _CLUSTER = 0x1C53BB6B, 0xBB, 0xB3, 0xB7, 0xF7, 0xF1
_MIN_VOID_BYTES: Final = 9


def index(parts: Sequence[Part], track: int, header: bytes) -> bytes:
    """Returns the Cues: the times and places of the parts that begin with a key frame of `track`."""
    segment = beginning(header)[0].body
    points = [
        _element(_TIME, _number(part.key_us // 1000))
        + _element(_POSITIONS, _element(_TRACK, _number(track)) + _element(_CLUSTER, _number(part.offset - segment)))
        for part in parts
        if part.key_us is not None
    ]
    return _element(_CUES, b"".join(_element(_POINT, point) for point in points)) if points else b""


def finished_header(header: bytes, duration_ms: float, index_at: int) -> bytes:
    """Returns a header of the same length that states the duration, and the place of the index in the file.

    Returns the header as it is if it has no padding between SeekHead and Info, as FFmpeg makes it.
    """
    if not (elements := beginning(header)):
        return header
    segment, *found = elements
    if [element.kind for element in found[:3]] != [_SEEK_HEAD, _VOID, _INFO]:
        return header
    seek_head, _, info = found[:3]
    duration = _element(_DURATION, pack(">d", duration_ms))
    new_info = _element(_INFO, duration + header[info.body : info.end])
    places = [(_INFO, info.end - len(new_info)), *((one.kind, one.offset) for one in found[3:]), (_CUES, index_at)]
    seeks = [(_element(_SEEK_ID, _id(kind)), _number(place - segment.body)) for kind, place in places if kind != _VOID]
    new_head = _element(_SEEK_HEAD, b"".join(_element(_SEEK, one + _element(_SEEK_POSITION, at)) for one, at in seeks))
    padding = info.end - seek_head.offset - len(new_head) - len(new_info)
    if padding < _MIN_VOID_BYTES:
        return header
    body = padding - _MIN_VOID_BYTES
    void = _id(_VOID) + (1 << 56 | body).to_bytes(8, "big") + bytes(body)
    return header[: seek_head.offset] + new_head + void + new_info + header[info.end :]


def _element(kind: int, body: bytes) -> bytes:
    length = next(length for length in range(1, 9) if len(body) < (1 << 7 * length) - 1)
    return _id(kind) + (1 << 7 * length | len(body)).to_bytes(length, "big") + body


def _id(kind: int) -> bytes:
    return kind.to_bytes((kind.bit_length() + 7) // 8, "big")


def _number(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")
