"""A group: consumers of one producer whose packets are the same to the byte until they are encrypted.

Owns what is therefore done once for all of them: the rewritten packets, and the counts that their sender reports tell.
A viewer that has shown only one camera shares its group with all others like it, so a thousand viewers are one rewrite.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from sfu.media.audience import Audience
from sfu.media.rtp import Packet, extension_block

if TYPE_CHECKING:
    from sfu.media.consumer import Consumer

_HEADER: Final = Struct(">HHII")


class Layout(NamedTuple):
    """What decides the header extensions of outgoing packets (RFC 8285)."""

    mid: tuple[int, bytes] | None
    """The viewer's id for MID, and the slot's mid."""
    carried: tuple[tuple[int, int], ...]
    """Pairs (producer's id, viewer's id) of extensions whose values are carried over."""


class Rewrite(NamedTuple):
    """What makes outgoing packets of incoming ones; consumers that agree on all of it are one group."""

    ssrc: int
    payload_type: int
    layout: Layout
    sequence_offset: int
    """Added to a packet's index; the sum's low 16 bits are the sequence number."""
    time_offset: int
    """Added to the media time, in its ticks."""


class Group:
    """The consumers that share one `Rewrite`."""

    def __init__(self, rewrite: Rewrite) -> None:
        self.rewrite = rewrite
        self.members: list[Consumer] = []
        self.packets = 0
        self.octets = 0
        """Bytes of payload (RFC 3550 section 6.4.1)."""
        self.floor = 0
        """Index from which on every member takes packets: the latest of their key frames."""
        self.highest = 0
        """Index of the latest packet that was rewritten."""
        self.last_time = 0
        """Its outgoing media time, not wrapped."""
        self.last_at = 0.0
        """When that was, in seconds of the loop's clock."""
        self._audience: Audience | None = None

    def join(self, consumer: Consumer) -> None:
        """One more member."""
        self.members.append(consumer)
        self.floor = max(self.floor, consumer.start)
        self._audience = None

    def leave(self, consumer: Consumer) -> None:
        """A member less."""
        self.members.remove(consumer)
        self._audience = None

    @property
    def audience(self) -> Audience:
        """The members, sorted for sending; kept until one of them moves to another path."""
        known = self._audience
        if known is None or known.paths != [member.transport.agent.path for member in self.members]:
            known = Audience(self.members)
            self._audience = None if known.unkeyed else known  # keys come without a word to us
        return known

    def rewritten(self, packets: Sequence[Packet]) -> list[bytes]:
        """The packets as every member gets them, in plain text."""
        ssrc, payload_type, layout, sequence_offset, time_offset = self.rewrite
        pack = _HEADER.pack
        plain = layout.mid is None and not layout.carried
        out = []
        for packet in packets:
            payload = packet.payload
            body = payload if plain else packet.blocks.get(layout) or _body(packet, layout)
            head = (0x8000 if body is payload else 0x9000) | packet.marker << 7 | payload_type
            sequence = (packet.index + sequence_offset) & 0xFFFF
            out.append(pack(head, sequence, (packet.media_time + time_offset) & 0xFFFFFFFF, ssrc) + body)
        return out

    def count(self, packets: Sequence[Packet]) -> None:
        """These were sent to every member."""
        self.packets += len(packets)
        self.octets += sum([len(packet.payload) for packet in packets])

    def advance(self, last: Packet, now: float) -> None:
        """`last` is the latest of a burst sent to any member; `now` in seconds of the loop's clock."""
        if last.index < self.highest:
            return  # a burst of nothing but late packets: what follows a switch must not go back to their time
        self.highest = last.index
        self.last_time = last.media_time + self.rewrite.time_offset
        self.last_at = now


def _body(packet: Packet, layout: Layout) -> bytes:
    """Extension block and payload, written once for all groups of this layout; the payload itself for no block."""
    values = [] if layout.mid is None else [layout.mid]
    extensions = packet.extensions
    values += [(theirs, extensions[ours]) for ours, theirs in layout.carried if ours in extensions]
    body = extension_block(values) + packet.payload if values else packet.payload
    packet.blocks[layout] = body
    return body
