"""Packets of one stream, put back into sending order.

Owns how long a missing packet is waited for: it may still be retransmitted (`sfu.media.ingest.gaps`). Never reads a
clock, never requests a retransmission.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sfu.media.formats.rtp import Packet
from sfu.rtc.sdp.codec import Codec, Kind

_RETRANSMITTED_WAIT_S: Final = 1.05
"""Wait for a missing packet where NACK is negotiated: `gaps` gives up after a second, and the way back is added."""
_REORDERED_WAIT_S: Final = 0.1
"""Wait for a missing packet without NACK: it can only have been overtaken."""
_MAX_HOLE_PACKETS: Final = 512
"""A jump of more packets than this is not waited for."""


class Arrival(NamedTuple):
    """One packet of a track with its codec; it came at `now` (seconds of a monotonic clock)."""

    kind: Kind
    packet: Packet
    codec: Codec
    now: float
    turned: int | None = None
    """The orientation that the packet states."""


class Reorder:
    """The reorder buffer of one stream. A packet that comes after its place was given up counts as `late`."""

    def __init__(self, codec: Codec) -> None:
        self.late = 0
        """Packets dropped because they came too late."""
        self._wait_s = _RETRANSMITTED_WAIT_S if "nack" in codec.feedback else _REORDERED_WAIT_S
        self._next: int | None = None
        self._held: dict[int, Arrival] = {}
        self._since = 0.0

    def push(self, arrival: Arrival) -> Sequence[Arrival]:
        """Adds a packet and returns the packets that are in order now; mostly this one alone."""
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
        if index - expected >= _MAX_HOLE_PACKETS:
            return self.flush()
        return self.expired(arrival.now)

    def expired(self, now: float) -> Sequence[Arrival]:
        """Returns the packets that have waited long enough for a missing one, in order."""
        released: list[Arrival] = []
        while self._held and now - self._since >= self._wait_s:
            released += self._skip()
            self._since = min((held.now for held in self._held.values()), default=now)
        return released

    def flush(self) -> Sequence[Arrival]:
        """Returns all held packets, in order, and gives up every missing one."""
        released: list[Arrival] = []
        while self._held:
            released += self._skip()
        return released

    def _skip(self) -> list[Arrival]:
        """Gives up the first hole and returns the packets after it."""
        self._next = min(self._held)
        return self._follow()

    def _follow(self) -> list[Arrival]:
        """Returns the held packets that continue the sequence."""
        released = []
        while (arrival := self._held.pop(self._next or 0, None)) is not None:
            released.append(arrival)
            self._next = arrival.packet.index + 1
        if self._held and released:
            self._since = min(held.now for held in self._held.values())
        return released
