"""One stream's packets in the order in which they were sent.

Owns how long a packet that is missing is waited for: it may yet be sent again (`sfu.media.ingest.gaps`). Never reads
a clock, never asks for anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sfu.media.formats.rtp import Packet
from sfu.rtc.sdp.codec import Codec, Kind

_REPAIRED: Final = 1.05
"""Seconds after which a camera's packet is given up by whoever asks for it, and the way back."""
_REORDERED: Final = 0.1
"""The same where nobody asks."""
_MOST: Final = 512


class Arrival(NamedTuple):
    """A packet of one track, as it came at `now` (seconds of a monotonic clock) with its index, and its codec."""

    kind: Kind
    packet: Packet
    codec: Codec
    now: float


class Reorder:
    """One stream. What comes after its place was given up is `late`, and is not given out."""

    def __init__(self, codec: Codec) -> None:
        self.late = 0
        self._wait = _REPAIRED if "nack" in codec.feedback else _REORDERED
        self._next: int | None = None
        self._held: dict[int, Arrival] = {}
        self._since = 0.0

    def push(self, arrival: Arrival) -> Sequence[Arrival]:
        """What can be given out now, in order; mostly this packet alone."""
        index, expected = arrival.packet.index, self._next
        if expected is None or index == expected:
            self._next = index + 1
            return (arrival, *self._follow()) if self._held else (arrival,)
        if index < expected:
            self.late += 1
            return ()
        if not self._held:
            self._since = arrival.now
        self._held[index] = arrival
        if index - expected >= _MOST:
            return self.flush()
        return self.expired(arrival.now)

    def expired(self, now: float) -> Sequence[Arrival]:
        """What has waited long enough for something that did not come."""
        given: list[Arrival] = []
        while self._held and now - self._since >= self._wait:
            given += self._skip()
            self._since = min((held.now for held in self._held.values()), default=now)
        return given

    def flush(self) -> Sequence[Arrival]:
        """All that is held: whatever is missing will not come."""
        given: list[Arrival] = []
        while self._held:
            given += self._skip()
        return given

    def _skip(self) -> list[Arrival]:
        """Gives up the first hole."""
        self._next = min(self._held)
        return self._follow()

    def _follow(self) -> list[Arrival]:
        given = []
        while (arrival := self._held.pop(self._next or 0, None)) is not None:
            given.append(arrival)
            self._next = arrival.packet.index + 1
        if self._held and given:
            self._since = min(held.now for held in self._held.values())
        return given
