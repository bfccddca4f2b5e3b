"""RTP packets: bytes to values and back (RFC 3550 section 5, header extensions RFC 8285).

Owns the wire format of one packet and the arithmetic of its wrapping counters. Never keeps state between packets, never
raises on remote bytes, and never looks into a payload (`key_frame_detection` does).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

_HEADER = Struct("!BBHII")
_EXTENSION_HEADER = Struct("!HH")
_ONE_BYTE_PROFILE = 0xBEDE
_TWO_BYTE_PROFILE = 0x1000
_NO_EXTENSIONS: Final[Mapping[int, bytes]] = {}  # shared: one for each packet costs memory and time
_BYTES = [bytes((value,)) for value in range(256)]


@dataclass(slots=True)
class Packet:
    """One RTP packet without padding and CSRCs.

    Not frozen, because a frozen one takes three times as long to make, and one is made for each incoming packet. Treat
    the received fields as constant all the same; the last three fields are filled in later.
    """

    marker: bool
    payload_type: int
    sequence: int
    """16 bits, wraps."""
    media_time: int
    """32 bits in ticks of the codec's clock rate, wraps."""
    ssrc: int
    payload: bytes
    """May be empty: browsers probe the path with packets that contain padding only."""
    extensions: Mapping[int, bytes] = field(default_factory=dict)
    """Raw values by the sender's extension id."""
    blocks: dict[object, tuple[int, int, bytes]] | None = field(default=None, compare=False, repr=False)
    """Rewritten packets that several consumers share, by a key of the fan-out's choice."""
    index: int = field(default=0, compare=False)
    """The sequence number, unwrapped by the producer: it never wraps, so `<` works."""
    key: bool = field(default=False, compare=False)
    """True if a key frame starts here. Set by the producer."""


def is_rtcp(data: bytes) -> bool:
    """Returns True if a datagram of a muxed transport is RTCP: its second byte is 192 to 223 (RFC 5761 section 4)."""
    return len(data) > 1 and 192 <= data[1] <= 223


def parse(data: bytes) -> Packet | None:
    """Returns the packet in `data`; None if any part of it is malformed or cut short."""
    if len(data) < 12:
        return None
    first, second, sequence, media_time, ssrc = _HEADER.unpack_from(data)
    if first == 0x80:  # version 2 without optional parts: most packets
        return Packet(second > 127, second & 0x7F, sequence, media_time, ssrc, data[12:], _NO_EXTENSIONS)
    if first >> 6 != 2:
        return None
    start = 12 + 4 * (first & 0x0F)
    end = len(data)
    extensions: dict[int, bytes] | None = {}
    if first & 0x10:
        if end < start + 4:
            return None
        profile, words = _EXTENSION_HEADER.unpack_from(data, start)
        block = start + 4
        start = block + 4 * words
        extensions = _parse_extensions(profile, data, block, start)
    if first & 0x20:
        end -= data[-1] or end  # a padding of zero bytes contradicts itself
    if start > end or extensions is None:
        return None
    return Packet(second > 127, second & 0x7F, sequence, media_time, ssrc, data[start:end], extensions)


def _parse_extensions(profile: int, data: bytes, position: int, end: int) -> dict[int, bytes] | None:
    """Returns the elements in `data[position:end]`; none for a profile outside RFC 8285; None if cut short."""
    if end > len(data):
        return None
    if profile == _ONE_BYTE_PROFILE:
        return _parse_one_byte(data, position, end)
    if profile & 0xFFF0 == _TWO_BYTE_PROFILE:
        return _parse_two_byte(data, position, end)
    return {}


def _parse_one_byte(data: bytes, position: int, end: int) -> dict[int, bytes] | None:
    extensions: dict[int, bytes] = {}
    while position < end:
        head = data[position]
        position += 1
        if head == 0:  # padding
            continue
        if head < 0x10 or head >= 0xF0:  # ids 0 with a length and 15 end the list (RFC 8285 section 4.2)
            break
        after = position + (head & 0x0F) + 1
        if after > end:
            return None
        extensions[head >> 4] = data[position:after]
        position = after
    return extensions


def _parse_two_byte(data: bytes, position: int, end: int) -> dict[int, bytes] | None:
    extensions: dict[int, bytes] = {}
    while position < end:
        extension_id = data[position]
        position += 1
        if extension_id == 0:  # padding
            continue
        if position == end:
            return None
        after = position + 1 + data[position]
        if after > end:
            return None
        extensions[extension_id] = data[position + 1 : after]
        position = after
    return extensions


def extension_block(values: Sequence[tuple[int, bytes]]) -> bytes:
    """Returns the header extension of these (id, value) pairs: header, elements, padding to 32 bits; b"" for no pairs.

    The elements have one-byte headers if all of them fit, else two-byte headers (RFC 8285 section 4). Leaves out pairs
    that fit neither (an id outside 1 to 255, more than 255 bytes), because this runs for each packet and must not
    raise.
    """
    parts: list[bytes] = []
    for number, value in values:
        size = len(value)
        if not (0 < number < 15 and 0 < size < 17):
            return _two_byte_block(values)
        parts += (_BYTES[number << 4 | size - 1], value)
    return _block(_ONE_BYTE_PROFILE, b"".join(parts)) if parts else b""


def _two_byte_block(values: Sequence[tuple[int, bytes]]) -> bytes:
    elements = [(number, value) for number, value in values if 0 < number < 256 and len(value) < 256]
    if len(elements) < len(values):
        return extension_block(elements)  # the rest may fit one-byte headers
    return _block(_TWO_BYTE_PROFILE, b"".join([bytes((number, len(value))) + value for number, value in elements]))


def _block(profile: int, body: bytes) -> bytes:
    padding = -len(body) & 3
    return _EXTENSION_HEADER.pack(profile, len(body) + padding >> 2) + body + bytes(padding)


def serialize(packet: Packet) -> bytes:
    """Returns the bytes of `packet`, which `parse` reads back."""
    block = extension_block(list(packet.extensions.items()))
    header = _HEADER.pack(
        0x90 if block else 0x80,
        packet.marker << 7 | packet.payload_type,
        packet.sequence,
        packet.media_time,
        packet.ssrc,
    )
    return header + block + packet.payload


def sequence_delta(a: int, b: int) -> int:
    """Returns the distance from sequence number `b` to `a`: -32768 to 32767, negative if `a` comes before `b`."""
    return ((a - b + 0x8000) & 0xFFFF) - 0x8000


def follows(packet: Packet, before: Packet) -> bool:
    """Returns True if `packet` comes right after `before` in the same stream and has the same media time."""
    return (
        packet.sequence == before.sequence + 1 & 0xFFFF
        and packet.media_time == before.media_time
        and packet.ssrc == before.ssrc
        and packet.payload_type == before.payload_type
    )


def sequence_newer(a: int, b: int) -> bool:
    """Returns True if sequence number `a` comes after `b`."""
    return sequence_delta(a, b) > 0


def time_delta(a: int, b: int) -> int:
    """Returns the ticks from media time `b` to `a`: -2^31 to 2^31 - 1, negative if `a` comes before `b`."""
    return ((a - b + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000
