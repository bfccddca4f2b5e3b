"""VP8: the payload descriptor (RFC 7741 section 4.2) and the size in a key frame's header (RFC 6386 section 9.1).

Owns the length of the descriptor, and reading and changing the picture numbers in it. Receivers order pictures by these
numbers, so they must continue without a gap when another layer or camera feeds a slot. Never decodes, keeps no state,
never raises on remote bytes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_EXTENDED: Final = 0x80  # X, in the first byte; I (PictureID present), in the second
_LAYER: Final = 0x40  # L (TL0PICIDX present), in the second byte
_TEMPORAL: Final = 0x30  # T or K, in the second byte
_LONG: Final = 0x80  # M, before a PictureID of 15 bits
_START_CODE: Final = b"\x9d\x01\x2a"


class Numbers(NamedTuple):
    """The numbers of one picture; None where the descriptor has no such number."""

    picture: int | None
    """PictureID: 7 or 15 bits, wraps."""
    base: int | None
    """TL0PICIDX, the number of the picture in the lowest temporal layer that this one depends on: 8 bits, wraps."""


def numbers(payload: bytes) -> Numbers:
    """Returns the picture numbers in a payload's descriptor."""
    at, long, base_at = _places(payload)
    picture = None
    if at is not None:
        picture = (payload[at] & 0x7F) << 8 | payload[at + 1] if long else payload[at]
    return Numbers(picture, None if base_at is None else payload[base_at])


def moved(payload: bytes, offset: tuple[int, int]) -> bytes:
    """Returns the payload with `offset` added to its PictureID and TL0PICIDX, each wrapping at its own width."""
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
    """Returns the offset for `moved` that makes the picture `following` the next one after the sent picture `last`."""
    pairs = zip(last, following, strict=True)
    picture, base = (0 if a is None or b is None else (a + 1 - b) & 0x7FFF for a, b in pairs)
    return picture, base & 0xFF


def descriptor_length(payload: bytes) -> int:
    """Returns the number of bytes before the picture's data; 1 if the descriptor is cut short.

    The payload must not be empty.
    """
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


def key_frame_size(frame: bytes) -> tuple[int, int] | None:
    """Returns width and height in pixels from the first 10 bytes of a frame; None if no key frame starts there."""
    if len(frame) < 10 or frame[0] & 0x01 or frame[3:6] != _START_CODE:
        return None
    size = (frame[7] << 8 | frame[6]) & 0x3FFF, (frame[9] << 8 | frame[8]) & 0x3FFF
    return size if min(size) > 0 else None


def _places(payload: bytes) -> tuple[int | None, bool, int | None]:
    """Returns the position of the PictureID, True if that has 15 bits, and the position of TL0PICIDX."""
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
