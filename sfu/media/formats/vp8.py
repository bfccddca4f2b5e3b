"""VP8's payload descriptor (RFC 7741 section 4.2): how long it is, the numbers it gives to pictures, how to move them.

Receivers order pictures by them, so one slot's must run on when another layer or camera feeds it. Never decodes, never
keeps state, and any bytes give an answer.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_EXTENDED: Final = 0x80  # X, in the first byte; I (PictureID present), in the second
_LAYER: Final = 0x40  # L (TL0PICIDX present), in the second byte
_TEMPORAL: Final = 0x30  # T or K, in the second byte
_LONG: Final = 0x80  # M, before a PictureID of 15 bits


class Numbers(NamedTuple):
    """Of one picture, or to add to one's; None where the descriptor has no such number."""

    picture: int | None
    """PictureID: 7 or 15 bits, wraps."""
    base: int | None
    """TL0PICIDX: which picture of the lowest temporal layer it builds on; 8 bits, wraps."""


def numbers(payload: bytes) -> Numbers:
    """What a payload's descriptor says."""
    at, long, base_at = _places(payload)
    picture = None
    if at is not None:
        picture = (payload[at] & 0x7F) << 8 | payload[at + 1] if long else payload[at]
    return Numbers(picture, None if base_at is None else payload[base_at])


def moved(payload: bytes, offset: tuple[int, int]) -> bytes:
    """The payload with this much added to its PictureID and TL0PICIDX, in as many bits as they have."""
    at, long, base_at = _places(payload)
    if at is None and base_at is None:
        return payload
    data = bytearray(payload)
    if at is not None and long:
        picture = ((data[at] & 0x7F) << 8 | data[at + 1]) + offset[0] & 0x7FFF
        data[at], data[at + 1] = _LONG | picture >> 8, picture & 0xFF
    elif at is not None:
        data[at] = data[at] + offset[0] & 0x7F
    if base_at is not None:
        data[base_at] = data[base_at] + offset[1] & 0xFF
    return bytes(data)


def offset(last: Numbers, following: Numbers) -> tuple[int, int]:
    """What to add so that a picture with the numbers `following` comes right after one that left with `last`."""
    pairs = zip(last, following, strict=True)
    picture, base = (0 if a is None or b is None else (a + 1 - b) & 0x7FFF for a, b in pairs)
    return picture, base & 0xFF


def descriptor_length(payload: bytes) -> int:
    """Bytes before the picture's data; 1 for a descriptor that is cut short. At least one byte is needed."""
    if not payload[0] & _EXTENDED or len(payload) < 3:
        return 1
    options, position = payload[1], 2
    if options & _EXTENDED:
        position += 2 if payload[2] & _LONG else 1
    if options & _LAYER:
        position += 1
    if options & _TEMPORAL:
        position += 1
    return position


def _places(payload: bytes) -> tuple[int | None, bool, int | None]:
    """Where the PictureID begins, whether it has 15 bits, and where TL0PICIDX is."""
    if len(payload) < 3 or not payload[0] & _EXTENDED:
        return None, False, None
    flags, position = payload[1], 2
    picture_at, long = None, False
    if flags & _EXTENDED:
        long = payload[position] >= _LONG
        picture_at = position if len(payload) > position + long else None
        position += 1 + long
    base_at = position if flags & _LAYER and len(payload) > position else None
    return picture_at, long, base_at
