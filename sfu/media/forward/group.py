"""A group: consumers of one producer whose packets are equal byte for byte until they are encrypted.

Owns the work that is done once for all of them: the rewritten packets, the counters for their sender reports, and the
batches in which their packets are sent. Viewers that have shown only one camera share one group, so that a thousand
viewers cost one rewrite. Never sends and never encrypts.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from struct import Struct
from typing import Final, NamedTuple, Protocol, Self

from sfu.media.formats import vp8
from sfu.media.formats.rtp import Packet, extension_block, time_delta
from sfu.rtc.net.paths import Path, Targets
from sfu.rtc.net.srtp import SrtpContext
from sfu.rtc.transport import Transport

_HEADER: Final = Struct(">HHII")
_PLAIN, _EXTENDED = 0x8000, 0x9000  # the first 16 bits of a header: version 2, and X
_UNMOVED: Final = (0, 0)


class Drop(StrEnum):
    """Why a packet did not reach a consumer."""

    WAITING_FOR_KEY_FRAME = "waiting_for_key_frame"
    BEFORE_KEY_FRAME = "before_key_frame"
    CODEC = "codec"
    NOT_CONNECTED = "not_connected"
    REFUSED = "refused"


class Member(Protocol):
    """A consumer as its group and the fan-out see it."""

    transport: Transport
    start: int
    """Index of the key frame with which it started."""
    drops: dict[Drop, int]

    def rewritten(self, packets: Sequence[Packet], now: float) -> list[bytes]:
        """Returns late packets in the form that this consumer must get, in plain text."""
        ...

    def missed(self, packets: Sequence[Packet], reason: Drop) -> None:
        """Counts packets that its group was sent and it was not."""


class ExtensionLayout(NamedTuple):
    """The header extensions of outgoing packets (RFC 8285)."""

    mid: tuple[int, bytes] | None
    """The viewer's id for MID, and the mid of the slot."""
    carried: tuple[tuple[int, int], ...]
    """Pairs (producer's id, viewer's id) of extensions whose values are copied."""
    send_time: int | None = None
    """The viewer's id for abs-send-time, which holds the time at which the packet leaves this server."""


_NO_EXTENSIONS: Final = ExtensionLayout(None, ())


class Rewrite(NamedTuple):
    """The changes that turn incoming packets into outgoing ones; consumers with equal values form one group."""

    ssrc: int
    payload_type: int
    layout: ExtensionLayout
    sequence_offset: int
    """Added to a packet's index; the low 16 bits of the sum are the sequence number."""
    time_offset: int
    """Added to the media time, in ticks of its clock."""
    pictures: tuple[int, int] = _UNMOVED
    """Added to VP8's picture numbers (`vp8.moved`)."""

    def applied(self, packets: Sequence[Packet], now: float) -> list[bytes]:
        """Returns the packets as they leave at `now` (seconds of the loop's clock), in plain text."""
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
    """The media times of a replay, compressed to the time that sending it takes.

    A receiver holds back frames that arrive faster than their media times say, to show them at the recorded pace.
    """

    until: int
    """Index of the last packet concerned."""
    start: int
    """Media time of the first packet."""
    live: int
    """Media time of the last packet, which is kept."""
    span: int
    """Ticks between the two after compression."""

    @classmethod
    def of(cls, packets: Sequence[Packet], span: int) -> Self:
        """Makes the compression of these packets, which are in order, to `span` ticks."""
        return cls(packets[-1].index, packets[0].media_time, packets[-1].media_time, span)

    def applied(self, packet: Packet) -> Packet:
        """Returns `packet`, or a copy of it with the compressed media time."""
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


class Audience:
    """Consumers that get the same bytes, sorted by how these are sent; valid until one joins, leaves or moves."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.relayed: list[Member] = []
        """Members behind a TURN server: they have no address for batched sending."""
        self.unkeyed: list[Member] = []
        """Members without SRTP keys."""
        self.batches: list[tuple[Targets, list[Member]]] = []
        """All others: the targets of one batch and, in the same order, their members."""
        alike: dict[tuple[object, int], list[tuple[Path, SrtpContext, Member]]] = {}
        for member in members:
            path, keys = member.transport.agent.path, member.transport.sender
            if keys is None:
                self.unkeyed.append(member)
            elif path is None:
                self.relayed.append(member)
            else:
                alike.setdefault((path.socket, keys.overhead), []).append((path, keys, member))
        for batch in alike.values():
            targets = Targets([(path, keys) for path, keys, _ in batch])
            self.batches.append((targets, [member for _, _, member in batch]))


class Group:
    """The consumers that share one `Rewrite`."""

    def __init__(self, rewrite: Rewrite, squeeze: Squeeze | None = None) -> None:
        self.rewrite = rewrite
        self.squeeze = squeeze
        self.members: list[Member] = []
        self.packets = 0
        """Packets sent to each member."""
        self.octets = 0
        """Bytes of payload sent to each member (RFC 3550 section 6.4.1)."""
        self.floor = 0
        """Index from which on all members get the same packets: after the latest of their key frames and replays."""
        self.highest = 0
        """Index of the latest packet that was rewritten."""
        self.last_time = 0
        """Outgoing media time of that packet, not wrapped."""
        self.last_at = 0.0
        """Time at which that packet was sent, in seconds of the loop's clock."""
        self.last_payload = b""
        """Payload of that packet as it came in."""
        self._audience: Audience | None = None

    def join(self, member: Member) -> None:
        """Adds a member."""
        self.members.append(member)
        self._audience = None

    def leave(self, member: Member) -> None:
        """Removes a member."""
        self.members.remove(member)
        self._audience = None

    def rerouted(self) -> None:
        """Sorts the members again at the next packet: one of them has another path or other keys."""
        self._audience = None

    @property
    def audience(self) -> Audience:
        """Returns the members, sorted for sending."""
        if self._audience is None:
            self._audience = Audience(self.members)
        return self._audience

    def rewritten(self, packets: Sequence[Packet], now: float) -> list[bytes]:
        """Returns the packets as all members get them at `now` (seconds of the loop's clock), in plain text."""
        if self.squeeze is not None:
            packets = [self.squeeze.applied(packet) for packet in packets]
        return self.rewrite.applied(packets, now)

    def sent(self, packets: int, octets: int, last: Packet, now: float) -> None:
        """Counts packets and bytes of payload that all members were sent at `now`; `last` is the latest of them."""
        self.packets += packets
        self.octets += octets
        if last.index < self.highest:
            return  # only late packets: media time after the next switch must not go back to theirs
        if self.squeeze is not None:
            last = self.squeeze.applied(last)
        self.highest = last.index
        self.last_time = last.media_time + self.rewrite.time_offset
        self.last_at = now
        self.last_payload = last.payload

    def continue_from(self, own: Group) -> None:
        """Takes over the latest packet of a new member's own group, if that group was ahead."""
        if own.highest > self.highest:
            self.highest, self.last_time, self.last_at = own.highest, own.last_time, own.last_at
            self.last_payload = own.last_payload


def _body(packet: Packet, layout: ExtensionLayout, moment: int, pictures: tuple[int, int]) -> tuple[int, bytes]:
    """Returns the header's first 16 bits so far, and extension block with payload, made once per layout.

    Moved picture numbers mostly belong to one viewer, so these bodies are not kept.
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
