"""A stretch: the part of one consumer's numbering that begins with one key frame and ends before the next start.

Owns the way back from a number that the viewer saw to the packet that had it. Never sends and never renumbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sfu.media.formats.rtp import Packet, sequence_delta
from sfu.media.forward.group import Group

if TYPE_CHECKING:
    from sfu.media.ingest.producer import Producer


class Stretch:
    """What one producer fed under one rewrite."""

    __slots__ = ("_end", "_own", "first", "group", "producer")

    def __init__(self, producer: Producer, own: Group, first: int) -> None:
        self.producer = producer
        self.first = first
        """Index of its first packet."""
        self.group: Group | None = own
        """Whose latest packet is its latest too; None once it has ended."""
        self._own = own
        self._end = first - 1

    def close(self) -> None:
        """Nothing follows."""
        if self.group is not None:
            self._end = self.group.highest
            self.group = None

    def find(self, sequence: int) -> Packet | None:
        """The producer's packet that this number was given to; None if it was none of ours, or is not kept any more.

        Of the packets with these 16 bits the one nearest to the latest: the viewer does not know more either.
        """
        end = self._end if self.group is None else self.group.highest
        index = end + sequence_delta(sequence, (end + self._own.rewrite.sequence_offset) & 0xFFFF)
        return self.producer.history.get(index) if self.first <= index <= end else None

    def rewritten(self, packets: Sequence[Packet], now: float) -> list[bytes]:
        """The packets as the viewer got them, in plain text; only the time of sending may differ."""
        return self._own.rewritten(packets, now)

    @property
    def payload_type(self) -> int:
        """That of all its packets."""
        return self._own.rewrite.payload_type
