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

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sfu.media.formats.rtp import Packet
from tests.helpers.clock import FakeTime
from tests.helpers.forwarding import fake_fanout
from tests.helpers.forwarding_model import RTX, ModelCamera, ModelViewer, SentPacket, Source

CAMERAS = VIEWERS = 3
ROUND_TRIP = 0.1
FATES = st.lists(st.sampled_from(["comes"] * 6 + ["lost", "late", "late", "twice"]), min_size=1, max_size=5)
some_camera = st.integers(0, CAMERAS - 1)
some_viewer = st.integers(0, VIEWERS - 1)
SECONDS = st.sampled_from([0.0, 0.0004, 0.005, 0.02, 0.1, 0.6])


class ConsumerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.time = FakeTime()
        self.originals: dict[bytes, SentPacket] = {}
        self.taken_at: dict[Source, float] = {}
        self.taken: dict[Source, int] = {}
        """Position of each packet among all that producers took in."""
        self.fanout = fake_fanout(self.time)
        self.viewers = [ModelViewer(n, self, RTX if n % 2 else None) for n in range(VIEWERS)]
        self.cameras: list[ModelCamera] = []

    @initialize(starts=st.tuples(*[st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF))] * CAMERAS))
    def begin(self, starts: Sequence[tuple[int, int]]) -> None:
        self.cameras = [
            ModelCamera(n, *start, originals=self.originals, fanout=self.fanout) for n, start in enumerate(starts)
        ]
        for camera in self.cameras:
            # the first camera sends its frames in one go, so that its packets are held
            for original in camera.frame(True, 100 if camera.number == 0 else 2):
                self.arrives(camera, original)
        self.time.advance(0.01)
        for viewer in self.viewers:
            viewer.consumer.attach(self.cameras[0].branch, self.time.now)
            self.start(viewer)
        self.time.advance(0.2)

    # --- cameras

    def arrives(self, camera: ModelCamera, original: SentPacket) -> None:
        was = original.packet
        copy = Packet(
            was.marker, was.payload_type, was.sequence, was.media_time, was.ssrc, was.payload, dict(was.extensions)
        )
        taken = camera.producer.receive(copy, self.time.now)
        if original.order is not None:
            assert not taken, "a duplicate is forwarded"
            return
        if taken:
            original.order = self.taken[original.source] = len(self.taken)
            self.taken_at[original.source] = self.time.now
            if camera.highest is None or original.source > camera.highest.source:
                camera.highest = original
            camera.branch.push([copy])

    @rule(number=some_camera, key=st.booleans(), fates=FATES, turns=st.booleans(), late_first=st.booleans())
    def send(self, number: int, key: bool, fates: Sequence[str], turns: bool, late_first: bool) -> None:
        camera = self.cameras[number]
        frame = camera.frame(key, len(fates))
        if late_first:
            frame.reverse()
        for original, fate in zip(frame, fates, strict=True):
            if fate == "late":
                camera.late.append(original)
            elif fate != "lost":
                self.arrives(camera, original)
                if fate == "twice":
                    self.arrives(camera, original)
        self.time.advance(0.0005)
        if turns:
            self.time.turn()

    @rule(number=some_camera, key=st.booleans(), frames=st.integers(5, 60))
    def send_long(self, number: int, key: bool, frames: int) -> None:
        for at in range(frames):
            for original in self.cameras[number].frame(key and at == 0, 1 + at % 3):
                self.arrives(self.cameras[number], original)
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
        """Returns the packets that wait in the fan-out for the rest of their frame."""
        queued = [packet for camera in self.cameras for packet in (*camera.branch.held, *camera.branch.due)]
        return {self.originals[packet.payload[-4:]].source for packet in queued}

    def leaves(self, viewer: ModelViewer) -> None:
        """Excuses the packets that wait in the fan-out now: this viewer need not get them any more."""
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

    def start(self, viewer: ModelViewer) -> None:
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

    def forgets(self, viewer: ModelViewer) -> None:
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
        answered = {chosen.take_repair(answer, asked) for answer in answers}
        assert due <= answered, "not answered"
        for number in answered:
            chosen.resent_at[number] = self.time.now

    def answerable(self, viewer: ModelViewer, number: int) -> bool:
        """True if a packet must be sent again: it is recent, and was not sent again a moment ago."""
        if self.time.now < viewer.resent_at.get(number, 0.0) + ROUND_TRIP or number not in viewer.seen:
            return False
        if number <= viewer.forgotten:
            return False
        camera, run, index = viewer.seen[number].original.source
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

    def replaying(self, viewer: ModelViewer) -> bool:
        """On its way to live: what comes late meanwhile it gets at the end of that."""
        return viewer.consumer.group is not None and self.fanout.replays.running(viewer.consumer)

    @invariant()
    def reports_count_what_was_sent(self) -> None:
        for viewer in self.viewers:
            assert (viewer.consumer.packets, viewer.consumer.octets) == (viewer.sent, viewer.octets)

    @precondition(lambda self: self.cameras)
    @rule()
    def settle(self) -> None:
        """Checks that each started viewer has its camera's latest packet once nothing moves any more."""
        self.time.advance(1.5)
        self.look()
        for viewer in self.viewers:
            consumer = viewer.consumer
            camera = next((c for c in self.cameras if c.producer is consumer.producer), None)
            if camera is None or camera.highest is None or consumer.group is None:
                continue
            if consumer.sparse or consumer in camera.branch.waiting:
                continue
            assert viewer.seen[viewer.highest].original is camera.highest, "behind"


ConsumerMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestConsumerMachine = ConsumerMachine.TestCase
