"""A model of cameras and of what a viewer of theirs may see; knows packets, but not how numbers are made.

Used by the state machine that tests consumers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Protocol

from sfu.media.formats import rtx
from sfu.media.formats.rtp import Packet, parse
from sfu.media.forward.consumer import Consumer
from sfu.media.forward.fanout import HOLD_S, Fanout
from sfu.media.ingest.producer import Producer
from sfu.rtc.sdp.description import ABS_SEND_TIME, Send
from tests.helpers.clock import FakeTime
from tests.helpers.forwarding import DELTA, KEY, SSRC, VP8, VP8_THERE, fake_transport

RTX_SSRC, RTX = 0xABCE, 121

Source = tuple[int, int, int]  # camera, run of numbers of that camera, number in it (not wrapped)


class World(Protocol):
    """The cameras and viewers of one run, with the clock that they share."""

    time: FakeTime
    originals: dict[bytes, SentPacket]
    taken: dict[Source, int]
    taken_at: dict[Source, float]

    def pending(self) -> set[Source]:
        """Returns the packets that are still held or replayed."""
        ...


@dataclass
class SentPacket:
    """One packet as its camera made it."""

    source: Source
    packet: Packet
    order: int | None = None
    """Position among all packets that producers took in."""


class ModelCamera:
    """Sends frames, over a network that may do anything to them."""

    def __init__(
        self, number: int, sequence: int, media_time: int, *, originals: dict[bytes, SentPacket], fanout: Fanout
    ) -> None:
        self.number = number
        self.originals = originals
        self.ssrc, self.run, self.index, self.media_time = 10 * number, 0, sequence, media_time
        self.late: list[SentPacket] = []
        self.highest: SentPacket | None = None
        """The last packet in order of the present run that was taken in."""
        self.anew_after = -1 << 20
        """Index before a jump of media time."""
        self.producer = Producer(str(number), (VP8,), {ABS_SEND_TIME: 5}, listener=self, open_output=fanout.open)
        self.branch = fanout.branch(self.producer)

    def on_key_frame_wanted(self, producer: Producer) -> None:
        """Heeds no request."""

    def on_missing(self, producer: Producer, sequences: Sequence[int]) -> None:
        """Sends nothing again."""

    def on_bug(self, producer: Producer) -> None:
        raise  # noqa: PLE0704  # the exception on the way out

    def on_codec(self, producer: Producer) -> None:
        """Has one codec."""

    def frame(self, key: bool, count: int) -> list[SentPacket]:
        made = []
        for number in range(count):
            self.index += 1
            name = len(self.originals).to_bytes(4, "big")
            payload = (KEY if key and number == 0 else DELTA) + name
            packet = Packet(
                number == count - 1,
                96,
                self.index & 0xFFFF,
                self.media_time & 0xFFFFFFFF,
                self.ssrc,
                payload,
                {5: name[1:]},
            )
            original = self.originals[name] = SentPacket((self.number, self.run, self.index), packet)
            made.append(original)
        self.media_time += 3000
        return made

    def cut(self) -> None:
        """Starts another run of numbers; late packets of the last one belong to none."""
        self.run += 1
        self.anew_after = -1 << 20
        self.late.clear()
        self.highest = None


@dataclass
class ModelStretch:
    """A part of a viewer's numbering in which it differs from its source's by one offset."""

    source: tuple[int, int]
    offset: int
    first: int
    order: int
    replayed: bool
    ended_at: float = float("inf")
    times: dict[int, int] = field(default_factory=dict)
    """Media time as sent, by the camera's media time."""


@dataclass
class ReceivedPacket:
    data: bytes
    packet: Packet
    original: SentPacket


class ModelViewer:
    """One slot, all packets that came to it, and those that may be missing."""

    def __init__(self, number: int, world: World, rtx_payload_type: int | None) -> None:
        self.world = world
        self.inbox: list[tuple[bytes, float]] = []
        transport = fake_transport(SimpleNamespace(extend=self._arrive))
        self.has_rtx = rtx_payload_type is not None
        send = Send((VP8_THERE,), {ABS_SEND_TIME: 3}, SSRC, "window-1", "window-1-video")
        if rtx_payload_type is not None:
            send = Send(
                (VP8_THERE,),
                {ABS_SEND_TIME: 3},
                SSRC,
                "window-1",
                "window-1-video",
                rtx={VP8_THERE.payload_type: rtx_payload_type},
                rtx_ssrc=RTX_SSRC,
            )
        self.consumer = Consumer("v", send, transport)
        self.seen: dict[int, ReceivedPacket] = {}
        self.stretches: list[ModelStretch] = []
        self.excused: set[Source] = set()
        self.sent = self.octets = 0
        self.rtx_sequence = 0
        self.resent_at: dict[int, float] = {}
        self.forgotten = 0
        """Numbers up to this one are not sent again."""

    @property
    def highest(self) -> int:
        return max(self.seen)

    def number(self, sequence: int) -> int:
        """Returns a sequence number unwrapped."""
        if not self.seen:
            return sequence + (1 << 16)
        return self.highest + ((sequence - self.highest + 0x8000 & 0xFFFF) - 0x8000)

    def _arrive(self, packets: Sequence[bytes]) -> None:
        self.inbox += [(data, self.world.time.now) for data in packets]

    def look(self, *, replaying: bool = False) -> None:
        """Takes in the packets that arrived for the first time."""
        arrived = self.inbox[:]
        self.inbox.clear()
        for data, at in arrived:
            packet = parse(data)
            assert packet is not None
            assert (packet.ssrc, packet.payload_type) == (SSRC, VP8_THERE.payload_type)
            self.sent += 1
            self.octets += len(packet.payload)
            number = self.number(packet.sequence)
            assert number not in self.seen, "first-hand twice"
            self._note(number, data, packet, at, replaying=replaying)

    def _note(self, number: int, data: bytes, packet: Packet, at: float, *, replaying: bool = False) -> None:
        original = self.world.originals[packet.payload[-4:]]
        assert (packet.payload, packet.marker) == (original.packet.payload, original.packet.marker)
        *source, index = original.source
        stretch = next((s for s in reversed(self.stretches) if s.first <= number), None)
        if stretch is None or (stretch.source, stretch.offset) != (tuple(source), number - index):
            assert packet.payload.startswith(KEY), "a stretch begins with a key frame"
            if self.seen:
                assert number == self.highest + 1, "a stretch begins with the next number"
                before = self.seen[self.highest].packet.media_time
                assert 0 < (packet.media_time - before) & 0xFFFFFFFF < 1 << 31, "time goes back"
            assert original.order is not None
            if self.stretches:
                self.stretches[-1].ended_at = at
            stretch = ModelStretch((source[0], source[1]), number - index, number, original.order, replaying)
            self.stretches.append(stretch)
        told = stretch.times.setdefault(original.packet.media_time, packet.media_time)
        assert told == packet.media_time, "two times of one frame"
        self.seen[number] = ReceivedPacket(data, packet, original)

    def take_repair(self, data: bytes, asked: Sequence[int]) -> int:
        """Takes in an answer to a NACK; returns the number that it repairs."""
        packet = parse(data)
        assert packet is not None
        if self.has_rtx:
            self.rtx_sequence += 1
            assert (packet.ssrc, packet.payload_type, packet.sequence) == (RTX_SSRC, RTX, self.rtx_sequence & 0xFFFF)
            packet = rtx.unwrap(packet, VP8_THERE.payload_type, SSRC)
            assert packet is not None
        number = self.number(packet.sequence)
        assert number & 0xFFFF in [n & 0xFFFF for n in asked]
        before = self.seen.get(number)
        if before is None:
            assert number < self.highest
            self._note(number, data, packet, self.world.time.now)
            return number
        was = before.packet
        assert (packet.payload, packet.media_time, packet.marker) == (was.payload, was.media_time, was.marker)
        assert self.has_rtx or data == before.data, "two packets under one number"
        return number

    def missing(self) -> list[int]:
        return sorted(set(range(min(self.seen), self.highest)) - set(self.seen)) if self.seen else []

    def unexplained(self) -> list[Source]:
        """Returns the missing packets that came from the camera while this viewer was there."""
        found = []
        pending = self.world.pending()
        for number in self.missing():
            stretch = next(s for s in reversed(self.stretches) if s.first <= number)
            source = (*stretch.source, number - stretch.offset)
            order = self.world.taken.get(source)
            if order is None or source in self.excused or source in pending:
                continue
            if self.world.taken_at[source] >= stretch.ended_at - HOLD_S:
                continue
            if stretch.replayed or order > stretch.order:
                found.append(source)
        return found
