"""A group: consumers of one producer whose packets are the same to the byte until they are encrypted.

Owns what is therefore done once for all of them: the rewritten packets, and the counts that their sender reports tell.
A viewer that has shown only one camera shares its group with all others like it, so a thousand viewers are one rewrite.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from sfu.media.formats import vp8
from sfu.media.formats.rtp import Packet, extension_block, time_delta
from sfu.media.forward.audience import Audience

if TYPE_CHECKING:
    from sfu.media.forward.consumer import Consumer

_HEADER: Final = Struct(">HHII")
_PLAIN, _EXTENDED = 0x8000, 0x9000  # the first 16 bits of a header: version 2, and X
_UNMOVED: Final = (0, 0)


class ExtensionLayout(NamedTuple):
    """What decides the header extensions of outgoing packets (RFC 8285)."""

    mid: tuple[int, bytes] | None
    """The viewer's id for MID, and the slot's mid."""
    carried: tuple[tuple[int, int], ...]
    """Pairs (producer's id, viewer's id) of extensions whose values are carried over."""
    send_time: int | None = None
    """The viewer's id for abs-send-time, which says when the packet leaves here."""


_NO_EXTENSIONS: Final = ExtensionLayout(None, ())


class Rewrite(NamedTuple):
    """What makes outgoing packets of incoming ones; consumers that agree on all of it are one group."""

    ssrc: int
    payload_type: int
    layout: ExtensionLayout
    sequence_offset: int
    """Added to a packet's index; the sum's low 16 bits are the sequence number."""
    time_offset: int
    """Added to the media time, in its ticks."""
    pictures: tuple[int, int] = _UNMOVED
    """Added to VP8's picture numbers (`vp8.moved`)."""

    def applied(self, packets: Sequence[Packet], now: float) -> list[bytes]:
        """The packets as they leave at `now` (seconds of the loop's clock), in plain text."""
        ssrc, payload_type, layout, sequence_offset, time_offset, pictures = self
        pack = _HEADER.pack
        plain = layout == _NO_EXTENSIONS and pictures == _UNMOVED
        moment = 0 if layout.send_time is None else int(now * (1 << 18)) & 0xFFFFFF
        out = []
        for packet in packets:
            first, body = (_PLAIN, packet.payload) if plain else _body(packet, layout, moment, pictures)
            head = first | packet.marker << 7 | payload_type
            sequence = (packet.index + sequence_offset) & 0xFFFF
            out.append(pack(head, sequence, (packet.media_time + time_offset) & 0xFFFFFFFF, ssrc) + body)
        return out


class Squeeze(NamedTuple):
    """The media times of a replay: what was recorded over seconds is told as if it came in the time it takes to send.

    A receiver whose frames come faster than their times say would hold them back to show them at the recorded pace.
    """

    until: int
    """Index of the last packet concerned."""
    start: int
    """Media time of the first one."""
    live: int
    """Media time of the last one, which stays."""
    span: int
    """Ticks between the two as told."""

    @classmethod
    def of(cls, packets: Sequence[Packet], span: int) -> Self:
        """For these packets, in order."""
        return cls(packets[-1].index, packets[0].media_time, packets[-1].media_time, span)

    def applied(self, packet: Packet) -> Packet:
        """`packet`, or a copy of it with the time as told."""
        length = time_delta(self.live, self.start)
        if packet.index > self.until or length <= self.span:
            return packet
        past = time_delta(packet.media_time, self.start)
        media_time = self.live - self.span + past * self.span // length
        return Packet(
            packet.marker,
            packet.payload_type,
            packet.sequence,
            media_time & 0xFFFFFFFF,
            packet.ssrc,
            packet.payload,
            packet.extensions,
            packet.blocks,
            packet.index,
            packet.key,
        )


class Group:
    """The consumers that share one `Rewrite`."""

    def __init__(self, rewrite: Rewrite, squeeze: Squeeze | None = None) -> None:
        self.rewrite = rewrite
        self.squeeze = squeeze
        self.members: list[Consumer] = []
        self.packets = 0
        self.octets = 0
        """Bytes of payload (RFC 3550 section 6.4.1)."""
        self.floor = 0
        """Index from which on every member takes the same: after the latest of their key frames, and their replays."""
        self.highest = 0
        """Index of the latest packet that was rewritten."""
        self.last_time = 0
        """Its outgoing media time, not wrapped."""
        self.last_at = 0.0
        """When that was, in seconds of the loop's clock."""
        self.last_payload = b""
        """As it came."""
        self._audience: Audience | None = None

    def join(self, consumer: Consumer) -> None:
        """One more member."""
        self.members.append(consumer)
        self._audience = None

    def leave(self, consumer: Consumer) -> None:
        """A member less."""
        self.members.remove(consumer)
        self._audience = None

    def rerouted(self) -> None:
        """A member's transport leads elsewhere, or has other keys."""
        self._audience = None

    @property
    def audience(self) -> Audience:
        """The members, sorted for sending."""
        if self._audience is None:
            self._audience = Audience(self.members)
        return self._audience

    def rewritten(self, packets: Sequence[Packet], now: float) -> list[bytes]:
        """The packets as every member gets them at `now` (seconds of the loop's clock), in plain text."""
        if self.squeeze is not None:
            packets = [self.squeeze.applied(packet) for packet in packets]
        return self.rewrite.applied(packets, now)

    def sent(self, packets: int, octets: int, last: Packet, now: float) -> None:
        """So many packets and bytes of payload were sent to every member, `last` the latest of them, at `now`."""
        self.packets += packets
        self.octets += octets
        if last.index < self.highest:
            return  # a burst of nothing but late packets: what follows a switch must not go back to their time
        if self.squeeze is not None:
            last = self.squeeze.applied(last)
        self.highest = last.index
        self.last_time = last.media_time + self.rewrite.time_offset
        self.last_at = now
        self.last_payload = last.payload

    def continue_from(self, own: Group) -> None:
        """A member comes from a group of its own; if that was ahead, what it sent last counts here too."""
        if own.highest > self.highest:
            self.highest, self.last_time, self.last_at = own.highest, own.last_time, own.last_at
            self.last_payload = own.last_payload


def _body(packet: Packet, layout: ExtensionLayout, moment: int, pictures: tuple[int, int]) -> tuple[int, bytes]:
    """The header's first 16 bits so far, extension block and payload; written once for all groups of this layout.

    Moved picture numbers are a viewer's own mostly, and not kept.
    """
    blocks = packet.blocks
    if blocks is None:
        blocks = packet.blocks = {}
    known = blocks.get(layout)
    if known is not None and known[0] == moment and pictures == _UNMOVED:
        return known[1:]
    values = [] if layout.mid is None else [layout.mid]
    extensions = packet.extensions
    values += [(theirs, extensions[ours]) for ours, theirs in layout.carried if ours in extensions]
    if layout.send_time is not None:
        values.append((layout.send_time, moment.to_bytes(3, "big")))
    block = extension_block(values)
    first = _EXTENDED if block else _PLAIN
    if pictures != _UNMOVED:
        return first, block + vp8.moved(packet.payload, pictures)
    body = block + packet.payload if block else packet.payload
    blocks[layout] = (moment, first, body)
    return first, body
