"""Any sequence of losses, switches, replays, slide shows and NACKs, against a model of what a viewer may see.

The model remembers which packet each sequence number had when it was first seen, and not how numbers are made.
Its invariants, checked after each step:

- a number stands for one packet, also when it is sent again, and then with the same bytes but for the time of sending;
- a stretch of numbers differs from its camera's by one offset, and media time never goes back at a switch;
- each hole in the numbers is explained: by a loss, by a switch, or by packets that were still held;
- sender reports count exactly the packets and bytes that were sent;
- after a quiet second each started viewer has its camera's latest packet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sfu.media.formats import rtx
from sfu.media.formats.rtp import Packet, parse
from sfu.media.forward.consumer import Consumer
from sfu.media.forward.fanout import HOLD_S, Fanout
from sfu.media.ingest.producer import Producer
from sfu.rtc.sdp.description import ABS_SEND_TIME, Send
from tests.helpers.forwarding import DELTA, KEY, SSRC, VP8, VP8_THERE, FakeTime, fake_fanout, fake_transport

RTX_SSRC, RTX = 0xABCE, 121
CAMERAS = VIEWERS = 3
ROUND_TRIP = 0.1

Source = tuple[int, int, int]  # camera, run of numbers of that camera, number in it (not wrapped)


@dataclass
class Shot:
    """One packet as its camera made it."""

    source: Source
    packet: Packet
    order: int | None = None
    """Of those that the producer took in, the how manieth it was."""


class Camera:
    """Sends frames, over a network that may do anything to them."""

    def __init__(
        self, number: int, sequence: int, media_time: int, *, shots: dict[bytes, Shot], fanout: Fanout
    ) -> None:
        self.number = number
        self.shots = shots
        self.ssrc, self.run, self.index, self.media_time = 10 * number, 0, sequence, media_time
        self.late: list[Shot] = []
        self.highest: Shot | None = None
        """Of the present run, the last in order that was taken in."""
        self.anew_after = -1 << 20
        """The index before a jump of media time."""
        self.producer = Producer(str(number), (VP8,), {ABS_SEND_TIME: 5}, listener=self, open_output=fanout.open)
        self.branch = fanout.branch(self.producer)

    def on_key_frame_wanted(self, producer: Producer) -> None:
        """Heeds no request."""

    def on_missing(self, producer: Producer, sequences: Sequence[int]) -> None:
        """Sends nothing again."""

    def on_codec(self, producer: Producer) -> None:
        """Has one codec."""

    def frame(self, key: bool, count: int) -> list[Shot]:
        made = []
        for number in range(count):
            self.index += 1
            name = len(self.shots).to_bytes(4, "big")
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
            shot = self.shots[name] = Shot((self.number, self.run, self.index), packet)
            made.append(shot)
        self.media_time += 3000
        return made

    def cut(self) -> None:
        """Another run of numbers begins: what is late belongs to none any more."""
        self.run += 1
        self.anew_after = -1 << 20
        self.late.clear()
        self.highest = None


@dataclass
class Stretch:
    """A part of a viewer's numbering in which it differs from its source's by one offset."""

    source: tuple[int, int]
    offset: int
    first: int
    order: int
    replayed: bool
    ended_at: float = float("inf")
    times: dict[int, int] = field(default_factory=dict)
    """Media time as sent by that of the camera."""


@dataclass
class Seen:
    data: bytes
    packet: Packet
    shot: Shot


class Viewer:
    """One slot, all that came into it, and what may be missing in it."""

    def __init__(self, number: int, world: ConsumerMachine, rtx_payload_type: int | None) -> None:
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
        self.seen: dict[int, Seen] = {}
        self.stretches: list[Stretch] = []
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
        """Not wrapped."""
        if not self.seen:
            return sequence + (1 << 16)
        return self.highest + ((sequence - self.highest + 0x8000 & 0xFFFF) - 0x8000)

    def _arrive(self, packets: Sequence[bytes]) -> None:
        self.inbox += [(data, self.world.time.now) for data in packets]

    def look(self, *, replaying: bool = False) -> None:
        """Takes in what arrived first-hand."""
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
        shot = self.world.shots[packet.payload[-4:]]
        assert (packet.payload, packet.marker) == (shot.packet.payload, shot.packet.marker)
        *source, index = shot.source
        stretch = next((s for s in reversed(self.stretches) if s.first <= number), None)
        if stretch is None or (stretch.source, stretch.offset) != (tuple(source), number - index):
            assert packet.payload.startswith(KEY), "a stretch begins with a key frame"
            if self.seen:
                assert number == self.highest + 1, "a stretch begins with the next number"
                before = self.seen[self.highest].packet.media_time
                assert 0 < (packet.media_time - before) & 0xFFFFFFFF < 1 << 31, "time goes back"
            assert shot.order is not None
            if self.stretches:
                self.stretches[-1].ended_at = at
            stretch = Stretch((source[0], source[1]), number - index, number, shot.order, replaying)
            self.stretches.append(stretch)
        told = stretch.times.setdefault(shot.packet.media_time, packet.media_time)
        assert told == packet.media_time, "two times of one frame"
        self.seen[number] = Seen(data, packet, shot)

    def hear_again(self, data: bytes, asked: Sequence[int]) -> int:
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
        """What is missing although it came from the camera while this viewer was there."""
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


FATES = st.lists(st.sampled_from(["comes"] * 6 + ["lost", "late", "late", "twice"]), min_size=1, max_size=5)
some_camera = st.integers(0, CAMERAS - 1)
some_viewer = st.integers(0, VIEWERS - 1)
SECONDS = st.sampled_from([0.0, 0.0004, 0.005, 0.02, 0.1, 0.6])


class ConsumerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.time = FakeTime()
        self.shots: dict[bytes, Shot] = {}
        self.taken_at: dict[Source, float] = {}
        self.taken: dict[Source, int] = {}
        """What producers have taken in: the how manieth of all that was."""
        self.fanout = fake_fanout(self.time)
        self.viewers = [Viewer(n, self, RTX if n % 2 else None) for n in range(VIEWERS)]
        self.cameras: list[Camera] = []

    @initialize(starts=st.tuples(*[st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF))] * CAMERAS))
    def begin(self, starts: Sequence[tuple[int, int]]) -> None:
        self.cameras = [Camera(n, *start, shots=self.shots, fanout=self.fanout) for n, start in enumerate(starts)]
        for camera in self.cameras:
            # the first camera sends its frames in one go, so that its packets are held
            for shot in camera.frame(True, 100 if camera.number == 0 else 2):
                self.arrives(camera, shot)
        self.time.advance(0.01)
        for viewer in self.viewers:
            viewer.consumer.attach(self.cameras[0].branch, self.time.now)
            self.start(viewer)
        self.time.advance(0.2)

    # --- cameras

    def arrives(self, camera: Camera, shot: Shot) -> None:
        was = shot.packet
        copy = Packet(
            was.marker, was.payload_type, was.sequence, was.media_time, was.ssrc, was.payload, dict(was.extensions)
        )
        taken = camera.producer.receive(copy, self.time.now)
        if shot.order is not None:
            assert not taken, "a duplicate is forwarded"
            return
        if taken:
            shot.order = self.taken[shot.source] = len(self.taken)
            self.taken_at[shot.source] = self.time.now
            if camera.highest is None or shot.source > camera.highest.source:
                camera.highest = shot
            camera.branch.push([copy])

    @rule(number=some_camera, key=st.booleans(), fates=FATES, turns=st.booleans(), late_first=st.booleans())
    def film(self, number: int, key: bool, fates: Sequence[str], turns: bool, late_first: bool) -> None:
        camera = self.cameras[number]
        frame = camera.frame(key, len(fates))
        if late_first:
            frame.reverse()
        for shot, fate in zip(frame, fates, strict=True):
            if fate == "late":
                camera.late.append(shot)
            elif fate != "lost":
                self.arrives(camera, shot)
                if fate == "twice":
                    self.arrives(camera, shot)
        self.time.advance(0.0005)
        if turns:
            self.time.turn()

    @rule(number=some_camera, key=st.booleans(), frames=st.integers(5, 60))
    def film_long(self, number: int, key: bool, frames: int) -> None:
        for at in range(frames):
            for shot in self.cameras[number].frame(key and at == 0, 1 + at % 3):
                self.arrives(self.cameras[number], shot)
            self.time.advance(0.033)

    @rule(number=some_camera, turns=st.booleans(), data=st.data())
    def late_ones_arrive(self, number: int, turns: bool, data: st.DataObject) -> None:
        camera = self.cameras[number]
        if camera.late:
            for _ in range(data.draw(st.integers(1, len(camera.late)))):
                self.arrives(camera, camera.late.pop(data.draw(st.integers(0, len(camera.late) - 1))))
        if turns:
            self.time.turn()

    @rule(number=some_camera, numbers=st.integers(2, 900))
    def skip_numbers(self, number: int, numbers: int) -> None:
        camera = self.cameras[number]
        if camera.highest is not None:
            camera.index += numbers
            self.arrives(camera, *camera.frame(False, 1))

    @rule(number=some_camera, ticks=st.sampled_from([90_000, 10_000_000, -3000, -90_000, -1_000_000_000]))
    def jump_in_time(self, number: int, ticks: int) -> None:
        camera = self.cameras[number]
        camera.media_time += ticks + 7
        if abs(ticks) > 10 * 90_000:  # the stream begins anew, and what came before is not kept
            camera.anew_after = camera.index

    @rule(number=some_camera, numbers=st.sampled_from([3500, 20_000, -3500, -20_000]))
    def jump_in_numbers(self, number: int, numbers: int) -> None:
        camera = self.cameras[number]
        if camera.highest is None:
            return
        self.time.advance(1.0)
        camera.index += numbers
        camera.cut()
        (stray,) = camera.frame(False, 1)
        self.arrives(camera, stray)
        assert stray.order is None, "one packet alone is no new beginning"

    @rule(number=some_camera, sequence=st.integers(0, 0xFFFF))
    def change_ssrc(self, number: int, sequence: int) -> None:
        self.time.advance(1.0)
        camera = self.cameras[number]
        camera.ssrc += 1
        camera.index = sequence
        camera.cut()

    # --- viewers

    def pending(self) -> set[Source]:
        """What waits in the fan-out for the rest of its frame."""
        queued = [packet for camera in self.cameras for packet in (*camera.branch.held, *camera.branch.due)]
        return {self.shots[packet.payload[-4:]].source for packet in queued}

    def leaves(self, viewer: Viewer) -> None:
        """What waits in the fan-out now, it need not get any more."""
        self.look()
        viewer.excused |= self.pending()
        if viewer.stretches:
            viewer.stretches[-1].ended_at = min(viewer.stretches[-1].ended_at, self.time.now)

    @rule(viewer=some_viewer, number=st.one_of(st.none(), some_camera))
    def attach(self, viewer: int, number: int | None) -> None:
        chosen = self.viewers[viewer]
        if number is None or chosen.consumer.producer is not self.cameras[number].producer:
            self.leaves(chosen)
        chosen.consumer.set_sparse(False)
        chosen.consumer.attach(None if number is None else self.cameras[number].branch, self.time.now)
        self.start(chosen)

    def start(self, viewer: Viewer) -> None:
        producer = viewer.consumer.producer
        self.look()
        waiting = producer is not None and viewer.consumer.group is None and not viewer.consumer.sparse
        due = waiting and producer is not None and producer.replayable()
        self.fanout.start(viewer.consumer)
        for each in self.viewers:
            each.look(replaying=each is viewer)
        if due:
            assert viewer.consumer.group is not None, "not started at once"

    @rule(viewer=some_viewer, number=st.one_of(st.none(), some_camera))
    def follow(self, viewer: int, number: int | None) -> None:
        consumer = self.viewers[viewer].consumer
        following = None if number is None else self.cameras[number].branch
        if consumer.source is not None and following is not consumer.source:
            consumer.follow(following, self.time.now)

    @rule(viewer=some_viewer)
    def restart(self, viewer: int) -> None:
        self.leaves(self.viewers[viewer])
        self.viewers[viewer].consumer.restart()
        self.start(self.viewers[viewer])

    @rule(viewer=some_viewer, sparse=st.booleans())
    def set_sparse(self, viewer: int, sparse: bool) -> None:
        chosen = self.viewers[viewer]
        if sparse and not chosen.consumer.sparse:
            self.leaves(chosen)
            self.forgets(chosen)
        chosen.consumer.set_sparse(sparse)

    @rule(viewer=some_viewer)
    def slide(self, viewer: int) -> None:
        if self.viewers[viewer].consumer.sparse:
            self.fanout.slide(self.viewers[viewer].consumer)

    @rule(viewer=some_viewer, number=some_camera)
    def lower(self, viewer: int, number: int) -> None:
        """Goes to another layer at once, whatever is on its way."""
        chosen = self.viewers[viewer]
        if chosen.consumer.producer is not self.cameras[number].producer:
            self.leaves(chosen)
            chosen.consumer.attach(self.cameras[number].branch, self.time.now)
            self.forgets(chosen)
            chosen.consumer.forget()
            self.start(chosen)

    def forgets(self, viewer: Viewer) -> None:
        self.look()
        if viewer.seen:
            viewer.forgotten = viewer.highest

    @rule(viewer=some_viewer, data=st.data())
    def nack(self, viewer: int, data: st.DataObject) -> None:
        chosen = self.viewers[viewer]
        self.look()
        if not chosen.seen:
            assert chosen.consumer.resend([0, 1, 0xFFFF], self.time.now, ROUND_TRIP) == []
            return
        numbers = st.one_of(
            st.integers(chosen.highest - 60, chosen.highest),
            st.sampled_from(sorted(chosen.seen)),
            st.sampled_from(chosen.missing() or [chosen.highest]),
            st.integers(chosen.highest + 1, chosen.highest + 30_000),
            st.integers(chosen.highest - 30_000, chosen.highest),
        )
        asked = data.draw(st.lists(numbers, min_size=1, max_size=20, unique_by=lambda number: number & 0xFFFF))
        due = {number for number in asked if self.answerable(chosen, number)}
        answers = chosen.consumer.resend([n & 0xFFFF for n in asked], self.time.now, ROUND_TRIP)
        answered = {chosen.hear_again(answer, asked) for answer in answers}
        assert due <= answered, "not answered"
        for number in answered:
            chosen.resent_at[number] = self.time.now

    def answerable(self, viewer: Viewer, number: int) -> bool:
        """Whether nothing excuses that a packet is not sent again: it is of late, and was not sent again of late."""
        if self.time.now < viewer.resent_at.get(number, 0.0) + ROUND_TRIP or number not in viewer.seen:
            return False
        if number <= viewer.forgotten:
            return False
        camera, run, index = viewer.seen[number].shot.source
        stretch = viewer.stretches[-1]
        present = self.cameras[camera]
        if number < stretch.first or present.highest is None or stretch.source != (camera, run) or run != present.run:
            return False
        return index > present.anew_after and present.highest.source[2] - index < 400

    # --- time, and what always holds

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.time.advance(seconds)

    def look(self) -> None:
        for viewer in self.viewers:
            viewer.look()

    @invariant()
    def holes_are_explained(self) -> None:
        self.look()
        for viewer in self.viewers:
            assert self.replaying(viewer) or viewer.unexplained() == []

    def replaying(self, viewer: Viewer) -> bool:
        """On its way to live: what comes late meanwhile it gets at the end of that."""
        return viewer.consumer.group is not None and self.fanout.replays.running(viewer.consumer)

    @invariant()
    def reports_count_what_was_sent(self) -> None:
        for viewer in self.viewers:
            assert (viewer.consumer.packets, viewer.consumer.octets) == (viewer.sent, viewer.octets)

    @precondition(lambda self: self.cameras)
    @rule()
    def settle(self) -> None:
        """Once nothing moves any more, whoever is started is level with live."""
        self.time.advance(1.5)
        self.look()
        for viewer in self.viewers:
            consumer = viewer.consumer
            camera = next((c for c in self.cameras if c.producer is consumer.producer), None)
            if camera is None or camera.highest is None or consumer.group is None:
                continue
            if consumer.sparse or consumer in camera.branch.waiting:
                continue
            assert viewer.seen[viewer.highest].shot is camera.highest, "behind"


ConsumerMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestConsumerMachine = ConsumerMachine.TestCase
