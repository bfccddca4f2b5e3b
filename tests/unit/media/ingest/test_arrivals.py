"""Arrivals: what a camera reads of its own packets, whatever the path does to them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sfu.media.formats import rtcp
from sfu.media.formats.transport_cc import MAX_PACKETS, TransportFeedback
from sfu.media.ingest.arrivals import Arrivals

TICK = 1.001 / 4000  # and what floats lose
DATAGRAM = 1200


def told(arrivals: Arrivals, now: float) -> list[TransportFeedback]:
    """The feedback as a camera reads it."""
    read = []
    for feedback in arrivals.feedback(7, now):
        data = rtcp.transport_feedback(1, feedback)
        assert len(data) <= DATAGRAM
        assert rtcp.parse(data) == [feedback]
        read.append(feedback)
    return read


def times(feedback: TransportFeedback) -> dict[int, float | None]:
    """Sequence number -> arrival time in seconds, None if lost."""
    at, found = feedback.reference_time_ms / 1000, dict[int, float | None]()
    for offset, delta in enumerate(feedback.deltas):
        at += (delta or 0) / 4000
        found[(feedback.base + offset) & 0xFFFF] = None if delta is None else at
    return found


def fed(packets: list[tuple[int, float]]) -> Arrivals:
    arrivals = Arrivals()
    for sequence, now in packets:
        arrivals.received(sequence, now)
    return arrivals


def test_nothing_received_is_nothing_told() -> None:
    arrivals = fed([(1, 1.0)])
    assert len(told(arrivals, 1.1)) == 1
    assert told(arrivals, 1.2) == []
    assert told(Arrivals(), 1.0) == []


def test_arrivals_are_told_to_a_quarter_millisecond() -> None:
    (feedback,) = told(fed([(10, 1.0), (11, 1.001), (12, 1.0035), (13, 1.5)]), 2.0)
    assert feedback.media_ssrc == 7
    assert times(feedback) == pytest.approx({10: 1.0, 11: 1.001, 12: 1.0035, 13: 1.5}, abs=TICK)


def test_the_numbers_wrap_inside_a_message() -> None:
    (feedback,) = told(fed([(0xFFFE, 1.0), (0xFFFF, 1.0), (1, 1.0)]), 1.0)
    assert times(feedback) == {0xFFFE: 1.0, 0xFFFF: 1.0, 0: None, 1: 1.0}


def test_a_loss_between_two_messages_is_told() -> None:
    arrivals = fed([(10, 1.0)])
    told(arrivals, 1.0)
    arrivals.received(12, 1.1)
    (feedback,) = told(arrivals, 1.1)
    assert times(feedback) == pytest.approx({11: None, 12: 1.1}, abs=TICK)


def test_a_late_packet_is_told_with_what_came_after_it() -> None:
    arrivals = fed([(10, 1.0), (12, 1.1), (14, 1.1)])
    told(arrivals, 1.1)
    arrivals.received(11, 1.2)
    (feedback,) = told(arrivals, 1.2)
    assert times(feedback) == pytest.approx({11: 1.2, 12: 1.1, 13: None, 14: 1.1}, abs=TICK)
    assert told(arrivals, 1.3) == []


def test_a_packet_half_a_second_late_is_not_told_of() -> None:
    arrivals = fed([(10, 1.0), (12, 1.0)])
    told(arrivals, 1.6)
    arrivals.received(11, 1.6)
    assert told(arrivals, 1.7) == []


def test_a_duplicate_keeps_its_first_arrival() -> None:
    arrivals = fed([(10, 1.0), (11, 1.0), (10, 1.2)])
    (feedback,) = told(arrivals, 1.2)
    assert times(feedback) == {10: 1.0, 11: 1.0}
    arrivals.received(11, 1.3)
    assert told(arrivals, 1.3) == []


def test_messages_are_counted_in_8_bits() -> None:
    arrivals = Arrivals()
    counts = []
    for sequence in range(600):
        arrivals.received(sequence, sequence / 10)
        counts += [feedback.count for feedback in told(arrivals, sequence / 10)]
    assert counts == [number & 0xFF for number in range(600)]


def test_many_packets_take_several_messages() -> None:
    messages = told(fed([(sequence, 1 + sequence / 1000) for sequence in range(1000)]), 2.0)
    found = {sequence: at for feedback in messages for sequence, at in times(feedback).items()}
    assert found == pytest.approx({sequence: 1 + sequence / 1000 for sequence in range(1000)}, abs=TICK)


def test_packets_far_apart_in_number_and_time_still_fit_datagrams() -> None:
    packets = {at * 20: 1.0 + at / 10 for at in range(800)}
    messages = told(fed(list(packets.items())), 100.0)
    found = {sequence: at for feedback in messages for sequence, at in times(feedback).items() if at is not None}
    assert found == pytest.approx(packets, abs=TICK)


def test_several_long_losses_take_several_messages() -> None:
    messages = told(fed([(0, 1.0), (5000, 1.0), (10_000, 1.0), (18_000, 1.0)]), 1.0)
    assert all(len(feedback.deltas) <= MAX_PACKETS for feedback in messages)
    assert [(feedback.base, feedback.base + len(feedback.deltas)) for feedback in messages] == [
        (0, 5001),
        (5001, 10_001),
        (10_001, 18_001),
    ]


def test_a_flood_is_not_remembered_whole() -> None:
    arrivals = fed([(sequence & 0xFFFF, 1.0) for sequence in range(20_000)])
    assert len(told(arrivals, 1.0)) == -(-20_000 // 190)
    assert arrivals.remembered == MAX_PACKETS


def test_a_pause_too_long_for_a_delta_takes_another_message() -> None:
    first, second = told(fed([(1, 1.0), (3, 10.0)]), 10.0)
    assert times(first) == {1: 1.0}
    assert times(second) == {2: None, 3: 10.0}


def test_a_long_loss_is_told_and_a_longer_one_is_a_jump() -> None:
    arrivals = fed([(1, 1.0)])
    told(arrivals, 1.0)
    arrivals.received(1 + MAX_PACKETS, 1.1)
    (feedback,) = told(arrivals, 1.1)
    assert len(feedback.deltas) == MAX_PACKETS
    arrivals.received(2 + 2 * MAX_PACKETS, 1.2)
    assert told(arrivals, 1.2) == []
    arrivals.received(3 + 2 * MAX_PACKETS, 1.3)
    (feedback,) = told(arrivals, 1.3)
    assert times(feedback) == pytest.approx({3 + 2 * MAX_PACKETS: 1.3}, abs=TICK)


def test_holes_before_each_packet_are_told_within_bounds() -> None:
    """50 packets, between which 8,000 seem missing each time."""
    arrivals = Arrivals()
    for count in range(50):
        arrivals.received(count * 8000 & 0xFFFF, 1.0 + count / 1000)
    assert sum(len(feedback.deltas) for feedback in told(arrivals, 1.1)) <= 3 * MAX_PACKETS


@pytest.mark.parametrize("jump", [20_000, 0x8000, 45_000, 65_000])
def test_a_jump_counts_once_a_second_packet_follows_it(jump: int) -> None:
    arrivals = fed([(sequence, 1.0) for sequence in range(100)])
    told(arrivals, 1.0)
    stray = 100 + jump & 0xFFFF
    arrivals.received(stray, 2.0)
    arrivals.received(100, 2.0)
    (feedback,) = told(arrivals, 2.0)
    assert times(feedback) == {100: 2.0}
    told(arrivals, 3.0)
    for sequence in (stray, stray + 1, stray + 2):
        arrivals.received(sequence & 0xFFFF, 3.0)
    (feedback,) = told(arrivals, 3.0)
    assert times(feedback) == {(stray + 1) & 0xFFFF: 3.0, (stray + 2) & 0xFFFF: 3.0}


def test_the_reference_time_wraps() -> None:
    wrap = 64 * (1 << 24) / 1000
    (feedback,) = told(fed([(1, wrap + 2.0)]), wrap + 2.0)
    assert times(feedback) == pytest.approx({1: 2.0}, abs=TICK)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.floats(-20, 20)), max_size=300))
def test_any_numbers_give_messages_that_can_be_sent(packets: list[tuple[int, float]]) -> None:
    arrivals, now = Arrivals(), 1000.0
    for at, (sequence, elapsed) in enumerate(packets):
        now = max(1.0, now + elapsed)
        arrivals.received(sequence, now)
        if at % 17 == 0:
            told(arrivals, now)
    assert arrivals.remembered <= MAX_PACKETS + len(packets)


class ArrivalsMachine(RuleBasedStateMachine):
    """A camera's packets over a path that loses, delays and doubles them, and the reports that the camera got."""

    def __init__(self) -> None:
        super().__init__()
        self.arrivals = Arrivals()
        self.now = 1000.0
        self.next = 0xFFF0
        self.came: dict[int, float] = {}
        self.acknowledged: dict[int, float] = {}
        self.owed: set[int] = set()
        self.covered: int | None = None
        self.under_way: list[int] = []

    @rule(
        count=st.integers(1, 250), delayed=st.sets(st.integers(0, 249), max_size=30), gap=st.sampled_from([0, 1, 900])
    )
    def send(self, count: int, delayed: set[int], gap: int) -> None:
        self.next += gap
        for at in range(count):
            self.now += 0.0004
            if at in delayed and self.came:
                self.under_way.append(self.next)
            else:
                self.arrive(self.next)
            self.next += 1

    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """In any order: nothing is in its place."""
        order = data.draw(st.permutations(self.under_way))
        for number in order:
            self.now += 0.0003
            self.arrive(number)
        self.under_way.clear()

    @rule(data=st.data())
    def double(self, data: st.DataObject) -> None:
        if self.came:
            self.arrive(data.draw(st.sampled_from(sorted(self.came)[-50:])))

    def arrive(self, number: int) -> None:
        newest = max(self.came, default=number)
        if number > newest or not [n for n in range(number, newest) if self.came.get(n, self.now) < self.now - 0.5]:
            self.owed.add(number)  # all that came after it is still remembered
        self.arrivals.received(number & 0xFFFF, self.now)
        self.came.setdefault(number, self.now)

    @rule(wait=st.sampled_from([0.0, 0.05]))
    def tell(self, wait: float) -> None:
        self.now += wait
        for feedback in told(self.arrivals, self.now):
            highest = max(self.came)
            first = highest + ((feedback.base - highest + 0x8000 & 0xFFFF) - 0x8000)
            assert first >= min(self.came)
            if self.covered is not None:
                assert first <= self.covered
            for number, at in zip(range(first, first + len(feedback.deltas)), times(feedback).values(), strict=True):
                assert number <= highest
                if at is None:
                    assert number not in self.came
                else:
                    assert at == pytest.approx(self.came[number], abs=TICK)
                    self.acknowledged[number] = at
            self.covered = max(self.covered or 0, first + len(feedback.deltas))
        assert self.owed <= self.acknowledged.keys()
        if self.came:
            assert self.covered == max(self.came) + 1

    @invariant()
    def it_is_bounded(self) -> None:
        assert self.arrivals.remembered <= len(self.came)


TestArrivalsMachine = ArrivalsMachine.TestCase
TestArrivalsMachine.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)
