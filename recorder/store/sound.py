"""A cheap check whether the frames of one part reached the disk: a power loss leaves zeros where data was on its way.

Owns the signs of lost bytes (pure). Never decodes: a part that is sound here decodes unless the camera sent it damaged.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

_SECTOR_BYTES: Final = 512
"""The least that a disk loses; a loss begins and ends at multiples of it."""
_MIN_ZEROS: Final = 16
"""Fewer zeros at the edge of a frame are its own."""
_ZEROS: Final = bytes(_SECTOR_BYTES)
_LENGTH_BYTES: Final = 4


class FrameBytes(NamedTuple):
    """The bytes [start, end) of one unit, counted from the start of its part.

    `prefixed`: its NAL units have their lengths before them (H.264 and H.265 in MP4).
    """

    start: int
    end: int
    video: bool
    prefixed: bool = False


def is_sound(data: bytes, offset: int, frames: Iterable[FrameBytes]) -> bool:
    """True unless bytes of a part were lost. `data`: the whole part, which begins at `offset` in its file."""
    return all(_is_there(data, offset, frame) for frame in frames)


def _is_there(data: bytes, offset: int, frame: FrameBytes) -> bool:
    """True unless bytes of the frame are missing, or zeros where it cannot have them."""
    start, end = frame.start, frame.end
    if not 0 <= start <= end <= len(data):
        return False
    if frame.prefixed:
        return _fits(data, start, end) and data.find(_ZEROS, start, end) < 0
    if not frame.video:  # codecs fill silence with zeros
        return end - start < _MIN_ZEROS or any(data[start:end])
    if data.find(_ZEROS, start, end) >= 0:
        return False
    first, last = _SECTOR_BYTES - (offset + start) % _SECTOR_BYTES, (offset + end) % _SECTOR_BYTES
    edges = (data[start : min(end, start + first)], data[max(start, end - last) : end], data[start:end][-_MIN_ZEROS:])
    return not any(len(edge) >= _MIN_ZEROS and not any(edge) for edge in edges)


def _fits(data: bytes, at: int, end: int) -> bool:
    """True if [at, end) is a chain of NAL units, none of which is empty or ends in 0 (Rec. H.264 section 7.4.1)."""
    while at + _LENGTH_BYTES < end:
        size = int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
        at += _LENGTH_BYTES + size
        if not size or at > end or not data[at - 1]:
            return False
    return at == end
