"""A stretch: the part of one consumer's numbering from one key frame to the next start.

Owns the way back from a sequence number that the viewer saw to the packet that had it. Never sends and never renumbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from sfu.media.formats.rtp import Packet, sequence_delta
from sfu.media.forward.group import Group
from sfu.media.ingest.producer import Producer


class Stretch:
    """The packets of one producer under one rewrite, as one consumer got them."""

    __slots__ = ("_end", "_own", "first", "group", "lead", "producer")

    def __init__(self, producer: Producer, own: Group, first: int, lead: Sequence[Packet] = ()) -> None:
        self.producer = producer
        self.first = first
        """Index of its first packet, but for those of `lead`."""
        self.lead = lead
        """Packets before it that the producer did not send: the parameter sets of its key frame (`Starts.lead`)."""
        self.group: Group | None = own
        """The group whose latest packet is the latest of this stretch, too; None once the stretch has ended."""
        self._own = own
        self._end = first - 1

    def close(self) -> None:
        """Ends the stretch with the latest packet of its group."""
        if self.group is not None:
            self._end = self.group.highest
            self.group = None

    def find(self, sequence: int) -> Packet | None:
        """Returns the producer's packet that had this sequence number; None if it is not in here or not kept any more.

        Several packets may have had these 16 bits: the one nearest to the latest packet is meant.
        """
        end = self._end if self.group is None else self.group.highest
        index = end + sequence_delta(sequence, (end + self._own.rewrite.sequence_offset) & 0xFFFF)
        if index < self.first:
            return next((packet for packet in self.lead if packet.index == index), None)
        return self.producer.history.get(index) if index <= end else None

    def rewritten(self, packets: Sequence[Packet], now: float) -> list[bytes]:
        """Returns the packets as the viewer got them, in plain text; only the time of sending may differ."""
        return self._own.rewritten(packets, now)

    @property
    def payload_type(self) -> int:
        """The payload type of all its packets."""
        return self._own.rewrite.payload_type
