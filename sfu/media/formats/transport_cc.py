"""Arrival times of a transport's packets (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).

Owns the format of this RTCP message between the common header and the padding. Never measures anything and never raises
on remote bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

TICKS_PER_S: Final = 4000
REFERENCE_TICKS: Final = 256
"""The unit of the reference time, 64 ms, in ticks."""
MAX_PACKETS: Final = 0x1FFF
"""The most packets in one message: the longest run. The format allows eight times as many, which no link needs."""

_HEAD: Final = Struct("!IHHI")
_CHUNK: Final = Struct("!H")
_SMALL_DELTA: Final = Struct("!B")
_LARGE_DELTA: Final = Struct("!h")
_LOST, _SMALL, _LARGE = 0, 1, 2
_BIT_VECTOR, _SYMBOL_VECTOR = 14, 7


@dataclass(frozen=True, slots=True)
class TransportFeedback:
    """The arrivals of consecutive packets of one transport."""

    media_ssrc: int
    base: int
    """Transport-wide sequence number of the first of them: 16 bits."""
    count: int
    """Number of this message: 8 bits, wraps."""
    reference_time_ms: int
    """The time that the first delta counts from, on the receiver's own clock: a multiple of 64, wraps at 64 * 2^24."""
    deltas: tuple[int | None, ...]
    """For each packet the time since the previous arrival, in ticks of 250 us; None if it did not arrive."""


def read_arrivals(body: bytes) -> TransportFeedback | None:
    """Returns the message in `body`, which begins with the media SSRC; None if malformed or with too many packets."""
    if len(body) < _HEAD.size:
        return None
    media_ssrc, base, packets, reference = _HEAD.unpack_from(body)
    if not 0 < packets <= MAX_PACKETS:
        return None
    symbols: list[int] = []
    position = _HEAD.size
    while len(symbols) < packets:
        if position + 2 > len(body):
            return None
        symbols += _read_chunk(body[position] << 8 | body[position + 1])
        position += 2
    deltas = _read_deltas(symbols[:packets], body, position)
    if deltas is None:
        return None
    return TransportFeedback(media_ssrc, base, reference & 0xFF, (reference >> 8) * 64, deltas)


def _read_chunk(chunk: int) -> list[int]:
    if not chunk & 0x8000:
        return [chunk >> 13] * (chunk & 0x1FFF)
    if chunk & 0x4000:
        return [chunk >> shift & 3 for shift in range(12, -1, -2)]
    return [chunk >> shift & 1 for shift in range(13, -1, -1)]


def _read_deltas(symbols: Sequence[int], body: bytes, position: int) -> tuple[int | None, ...] | None:
    """Returns the deltas; None if they are cut short or a symbol is the reserved one."""
    deltas: list[int | None] = []
    for symbol in symbols:
        if symbol == _LOST:
            deltas.append(None)
        elif symbol > _LARGE or position + symbol > len(body):
            return None
        else:
            deltas.append(body[position] if symbol == _SMALL else _LARGE_DELTA.unpack_from(body, position)[0])
            position += symbol
    return tuple(deltas)


def write_arrivals(feedback: TransportFeedback) -> bytes:
    """Returns the bytes that `read_arrivals` reads back.

    `feedback` must have 1 to `MAX_PACKETS` packets, and deltas that fit 16 bits with sign.
    """
    reference = feedback.reference_time_ms // 64 & 0xFFFFFF
    head = _HEAD.pack(feedback.media_ssrc, feedback.base, len(feedback.deltas), reference << 8 | feedback.count)
    symbols = [_symbol(delta) for delta in feedback.deltas]
    return b"".join(
        (head, *_write_chunks(symbols), *[_write_delta(each) for each in feedback.deltas if each is not None])
    )


def _symbol(delta: int | None) -> int:
    if delta is None:
        return _LOST
    return _SMALL if 0 <= delta <= 0xFF else _LARGE


def _write_delta(delta: int) -> bytes:
    return _SMALL_DELTA.pack(delta) if 0 <= delta <= 0xFF else _LARGE_DELTA.pack(delta)


def _write_chunks(symbols: Sequence[int]) -> list[bytes]:
    """Writes runs where these take no more bytes than vectors, else vectors, of one bit a symbol if possible."""
    chunks: list[bytes] = []
    position = 0
    while position < len(symbols):
        run = _run(symbols, position)
        ahead = symbols[position : position + _BIT_VECTOR]
        bits = _LARGE not in ahead
        room = _BIT_VECTOR if bits else _SYMBOL_VECTOR
        if run >= min(room, len(symbols) - position):
            chunks.append(_CHUNK.pack(symbols[position] << 13 | run))
            position += run
        else:
            chunks.append(_CHUNK.pack(_vector(ahead[:room], room, 1 if bits else 2)))
            position += room
    return chunks


def _run(symbols: Sequence[int], position: int) -> int:
    end = position
    while end < len(symbols) and symbols[end] == symbols[position]:
        end += 1
    return end - position


def _vector(symbols: Sequence[int], room: int, bits: int) -> int:
    chunk = 2 | bits - 1
    for at in range(room):
        chunk = chunk << bits | (symbols[at] if at < len(symbols) else _LOST)
    return chunk
