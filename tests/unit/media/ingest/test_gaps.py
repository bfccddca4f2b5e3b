"""Gaps: what is asked for, when again, and when no more."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sfu.media.ingest.gaps import Gaps

START = 0x20000


def received(indexes: list[int], gaps: Gaps | None = None, now: float = 0.0) -> Gaps:
    gaps = gaps or Gaps()
    for index in indexes:
        gaps.received(START + index, now)
    return gaps


def due(gaps: Gaps, now: float, rtt: float = 0.0) -> list[int]:
    gaps.round_trip = rtt
    return [index - START for index in gaps.due(now)]


def test_a_whole_stream_misses_nothing() -> None:
    gaps = received(list(range(1000)))
    assert gaps.due_at == math.inf
    assert due(gaps, 10.0) == []
    assert not gaps.wants_key_frame()


def test_a_hole_is_asked_for_after_a_short_wait() -> None:
    gaps = received([0, 1, 4])
    assert gaps.due_at == pytest.approx(0.01)
    assert due(gaps, 0.009) == []
    assert due(gaps, 0.01) == [2, 3]
    assert gaps.nacked == 2


def test_three_later_packets_make_the_wait_shorter() -> None:
    gaps = received([0, 2, 3], now=1.0)
    assert due(gaps, 1.0) == []
    received([4], gaps, now=1.001)
    assert gaps.due_at == 1.001
    assert due(gaps, 1.001) == [1]


def test_each_hole_waits_for_later_packets_of_its_own() -> None:
    gaps = received([0, 2, 4, 6])
    assert due(gaps, 0.0) == [1]
    received([7], gaps)
    assert due(gaps, 0.004) == []  # not at once again: a flood of holes costs one look in 5 ms
    assert due(gaps, 0.005) == [3]


def test_reordered_packets_are_not_asked_for() -> None:
    gaps = received([0, 2, 1, 4, 5, 3])
    assert gaps.due_at == math.inf
    assert due(gaps, 1.0) == []
    assert (gaps.reordered, gaps.recovered, gaps.late) == (2, 0, 0)


def test_requests_back_off_by_the_round_trip() -> None:
    gaps = received([0, 2])
    asked = [now / 1000 for now in range(1100) if due(gaps, now / 1000, rtt=0.1)]
    assert asked == pytest.approx([0.01, 0.16, 0.46], abs=0.0021)
    assert (gaps.nacked, gaps.abandoned) == (1, 1)
    assert gaps.due_at == math.inf


def test_a_short_round_trip_is_taken_for_20_ms() -> None:
    gaps = received([0, 2])
    asked = [now / 1000 for now in range(300) if due(gaps, now / 1000, rtt=0.001)]
    assert asked == pytest.approx([0.01, 0.03, 0.07, 0.15], abs=0.0031)


def test_the_round_trip_is_learned_from_what_one_request_brought() -> None:
    gaps = Gaps()
    index = START
    for second in range(40):
        gaps.received(index, float(second))
        gaps.received(index + 2, float(second))
        assert gaps.due(second + 0.01) == [index + 1]
        if second % 2:
            gaps.received(index + 1, second + 0.04)
        else:  # the answer to either request
            assert gaps.due(second + 0.5) == [index + 1]
            gaps.received(index + 1, second + 0.9)
        index += 3
    assert gaps.round_trip == pytest.approx(0.03, abs=0.01)


def test_ten_requests_are_enough() -> None:
    gaps = received([0, 2], Gaps(seconds=1000.0))
    asked = [now / 100 for now in range(100_000) if due(gaps, now / 100)]
    assert len(asked) == 10
    assert gaps.abandoned == 1


def test_what_comes_after_a_request_is_recovered_and_after_giving_up_late() -> None:
    gaps = received([0, 3])
    assert due(gaps, 0.01) == [1, 2]
    received([1], gaps, 0.1)
    assert (gaps.recovered, gaps.late) == (1, 0)
    assert due(gaps, 1.0) == []
    received([2], gaps, 1.1)
    assert (gaps.recovered, gaps.abandoned, gaps.late) == (1, 1, 1)


def test_what_is_given_up_leads_to_one_key_frame() -> None:
    gaps = received([0, 3, 6])
    assert due(gaps, 0.5) == [1, 2, 4, 5]
    assert not gaps.wants_key_frame()
    assert due(gaps, 1.0) == []
    assert gaps.wants_key_frame()
    assert not gaps.wants_key_frame()


def test_what_is_given_up_before_a_later_key_frame_leads_to_none() -> None:
    gaps = received([0, 3])
    gaps.key_frame(START + 3)
    assert due(gaps, 1.0) == []
    assert gaps.abandoned == 2
    assert not gaps.wants_key_frame()


def test_a_large_hole_gives_everything_up_at_once() -> None:
    gaps = received([0, 2, 515, 516])
    assert len(gaps.due(0.02)) == 512
    received([1030], gaps, now=0.03)
    assert gaps.due_at == math.inf
    assert gaps.abandoned == 1 + 512 + 513
    assert gaps.wants_key_frame()


def test_the_oldest_of_too_many_are_given_up() -> None:
    gaps = received([0, 401, 802])
    assert due(gaps, 0.02) == [*range(289, 401), *range(402, 802)]
    assert gaps.abandoned == 288


def test_a_new_stream_owes_nothing_of_the_old_one() -> None:
    gaps = received([0, 2, 1000])
    gaps.restart()
    received([200_000], gaps)
    assert gaps.due_at == math.inf
    assert not gaps.wants_key_frame()
    received([200_002], gaps)
    assert due(gaps, 0.01) == [200_001]


class GapsMachine(RuleBasedStateMachine):
    """A stream with any loss, reordering and duplicates, beside the set of what came."""

    def __init__(self) -> None:
        super().__init__()
        self.gaps = Gaps(seconds=0.5)
        self.now = 100.0
        self.came: set[int] = set()
        self.asked: dict[int, list[float]] = {}

    @rule(step=st.sampled_from([1, 1, 1, 2, 3, 50, 511, 512, 513, 514, 5000]), count=st.integers(1, 8))
    def forward(self, step: int, count: int) -> None:
        first = max(self.came, default=START - 1) + step
        for index in range(first, first + count):
            self.receive(index)

    @rule(back=st.integers(0, 600))
    def backward(self, back: int) -> None:
        if self.came and max(self.came) - back >= min(self.came):
            self.receive(max(self.came) - back)

    @rule(rtt=st.sampled_from([0.0, 0.03, 0.2]), wait=st.sampled_from([0.0, 0.001, 0.02, 0.1, 0.6]))
    def ask(self, rtt: float, wait: float) -> None:
        self.now += wait
        due_at = self.gaps.due_at
        self.gaps.round_trip = rtt
        asked = self.gaps.due(self.now)
        assert asked == sorted(set(asked))
        assert not self.came & set(asked)
        assert len(asked) <= 512
        if asked:
            assert due_at <= self.now
            assert asked[-1] < max(self.came)
        for index in asked:
            times = self.asked.setdefault(index, [])
            assert not times or self.now >= times[-1] + 0.02
            times.append(self.now)
            assert len(times) <= 10

    @rule()
    def begin_anew(self) -> None:
        self.gaps.restart()
        self.came.clear()
        self.asked.clear()
        assert self.gaps.due_at == math.inf

    def receive(self, index: int) -> None:
        before = self.gaps.recovered
        self.gaps.received(index, self.now)
        if self.gaps.recovered > before:
            assert index not in self.came
            assert index in self.asked
        self.came.add(index)

    @invariant()
    def it_is_bounded_and_adds_up(self) -> None:
        gaps = self.gaps
        assert len(gaps.missing) <= 512
        assert gaps.reordering <= 3 * 512
        assert gaps.recovered <= gaps.nacked
        assert (gaps.due_at == math.inf) == (not gaps.missing)

    def teardown(self) -> None:
        """All that is missing is asked for or given up in the end."""
        while self.gaps.due_at < math.inf:
            self.now = max(self.now, self.gaps.due_at)
            self.gaps.due(self.now)


TestGapsMachine = GapsMachine.TestCase
TestGapsMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
