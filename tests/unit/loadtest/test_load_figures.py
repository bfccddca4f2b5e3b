"""A load test's statistics, its plan and its search for the limit."""

from __future__ import annotations

from array import array
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.clients.histogram import Histogram, longest_of, step
from sfu.clients.outgoing import abs_send_time, latency_us, send_time_delta
from sfu.clients.sequence_counter import SequenceCounter
from sfu.loadtest.measure.counts import SAMPLE, Marks, StreamCounter, StreamCounts, sampled
from sfu.loadtest.measure.limit import LimitSearch, served_well
from sfu.loadtest.measure.results import Figures, Moment, Result, figures
from sfu.loadtest.measure.status import CamerasStatus, SentCounts, ViewerCounts, ViewersStatus
from sfu.loadtest.report.page import ticks
from sfu.loadtest.report.table import verdict
from sfu.loadtest.setup.plan import Plan


@given(st.integers(0, 10**9))
def test_a_step_holds_its_durations_within_two_percent(us: int) -> None:
    number = step(us)
    assert us <= longest_of(number) <= us * 1.02
    assert step(longest_of(number)) == number
    assert step(longest_of(number) + 1) == number + 1


@given(st.lists(st.integers(-5, 10**7), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_the_sorted_lists(durations: list[int], share: float) -> None:
    histogram = Histogram()
    for us in durations:
        histogram.add(us)
    ranked = sorted(max(us, 0) for us in durations)
    exact = next(us for rank, us in enumerate(ranked, 1) if rank >= share * len(ranked))
    quantile = histogram.quantile_ms(share)
    assert quantile is not None
    assert exact / 1000 <= quantile <= exact * 1.02 / 1000
    assert histogram.max_us == ranked[-1]


def test_histograms_are_merged_and_emptied() -> None:
    whole, part = Histogram(), Histogram()
    for us in (1000, 2000, 3000):
        part.add(us)
    whole.merge(part.take())
    assert (part.count, part.quantile_ms(0.5)) == (0, None)
    part.add(9000)
    whole.merge(part)
    assert (whole.count, whole.quantile_ms(1)) == (4, 9.0)
    assert [share for share, _ in whole.curve_ms(4)] == [25, 50, 75, 100]


@given(
    st.integers(0, 0xFFFF),
    st.lists(st.tuples(st.integers(-3, 4), st.integers(1, 70)), max_size=30),
)
def test_bursts_count_as_their_packets_do(start: int, moves: list[tuple[int, int]]) -> None:
    """Runs in order, after gaps, repeated and across the wrap: many at once and one by one give the same."""
    at_once, one_by_one, following = SequenceCounter(), SequenceCounter(), start
    for skip, length in moves:
        burst = array("H", [(following + skip + number) & 0xFFFF for number in range(length)])
        following += skip + length
        at_once.add_burst(burst)
        for sequence in burst:
            one_by_one.add(sequence)
    for name in ("received", "lost", "reordered", "duplicated", "highest"):
        assert getattr(at_once, name) == getattr(one_by_one, name)


def test_a_counter_reports_what_was_lost_since() -> None:
    counter = StreamCounter()
    counter.add(array("H", range(65530, 65536)), 6000)
    before = counter.counts()
    counter.add(array("H", [0, 1, 3]), 3000)
    assert counter.counts() - before == StreamCounts(received=3, octets=3000, lost=1)
    block = counter.report(7, before)
    assert (block.ssrc, block.lost, block.fraction_lost, block.highest & 0xFFFF) == (7, 1, 64, 3)


@given(st.integers(0, 0xFFFF), st.integers(1, 64), st.integers(0, 10**6))
def test_each_viewer_samples_one_number_in_so_many(first: int, count: int, own: int) -> None:
    found = [(first + offset) % SAMPLE for offset in sampled(first, count, own)]
    assert found == [own % SAMPLE] * len(found)
    assert len(found) in (count // SAMPLE, count // SAMPLE + 1)


@given(st.lists(st.integers(0, 100), min_size=1), st.integers(0, 110), st.integers(0, (1 << 24) - 1))
def test_a_mark_parts_what_was_sent_before_it(sent: list[int], at: int, base: int) -> None:
    """Also where the 24 bits wrap."""
    marks, times = Marks(), [(base + ticks) & 0xFF_FFFF for ticks in sorted(sent)]
    marks.set((base + at) & 0xFF_FFFF)
    assert marks.cut(0, len(times), times.__getitem__) == sum(ticks < at for ticks in sent)


def test_marks_that_nothing_follows_get_the_last_count() -> None:
    marks, counts = Marks(), StreamCounts(received=5)
    for at in (10, 20):
        marks.set(at)
    marks.pass_one(StreamCounts(received=3))
    assert marks.take(counts) == [StreamCounts(received=3), counts]
    assert (marks.pending, marks.take(counts)) == (False, [])


@given(st.integers(0, 2**33), st.floats(-30, 30))
def test_latency_is_the_time_from_stamp_to_arrival(second: int, late: float) -> None:
    assert latency_us(abs_send_time(float(second)), second + late) == pytest.approx(late * 1e6, abs=10)


@given(st.integers(0, (1 << 24) - 1), st.integers(-(1 << 23), (1 << 23) - 1))
def test_send_times_wrap(start: int, ticks: int) -> None:
    assert send_time_delta(start, (start + ticks) % (1 << 24)) == ticks


@given(st.integers(1, 200), st.integers(0, 5000))
def test_the_search_ends_at_the_limit(start: int, limit: int) -> None:
    search, steps = LimitSearch(start=start), 0
    while (viewers := search.next) is not None:
        search.report(viewers, viewers <= limit)
        steps += 1
        assert steps < 40
    assert search.best <= limit
    assert limit - search.best <= max(1, 0.05 * search.best) or (search.best == 0 and limit < start)


def test_a_step_carries_only_when_all_is_well() -> None:
    assert served_well(0.995, 100.0, 0)
    assert not served_well(0.994, 10.0, 0)
    assert not served_well(1.0, 100.1, 0)
    assert not served_well(1.0, 10.0, 1)
    assert not served_well(None, None, 0)
    assert not served_well(1.0, None, 0)
    assert served_well(1.0, None, 0, timed=False), "nobody knows the latency of somebody else's camera"
    assert not served_well(0.994, None, 0, timed=False)


@given(st.integers(1, 20), st.integers(1, 50), st.integers(1, 20))
def test_viewers_go_round_the_cameras_of_their_room(publishers: int, viewers: int, rooms: int) -> None:
    plan = Plan(publishers=publishers, viewers=viewers, rooms=min(rooms, publishers))
    watched = [plan.watched(number) for number in range(viewers)]
    for number, camera in enumerate(watched):
        assert camera is not None
        assert plan.camera(camera).room == plan.viewer(number).room
    per_room = [
        [camera for number, camera in enumerate(watched) if number % plan.rooms == r] for r in range(plan.rooms)
    ]
    for cameras in per_room:
        seen = [cameras.count(camera) for camera in set(cameras)]
        assert not seen or max(seen) - min(seen) <= 1
    assert not list(plan.faults())


def test_leaves_are_all_different() -> None:
    plan = Plan(publishers=5, viewers=7, rooms=2)
    leaves = [*plan.cameras(), *(plan.viewer(number) for number in range(plan.viewers))]
    assert len({str(leaf) for leaf in leaves}) == 12
    assert {leaf.room for leaf in leaves} == {"load/1", "load/2"}


@pytest.mark.parametrize(
    "plan",
    [
        Plan(viewers=0),
        Plan(rooms=2),
        Plan(ramp=0),
        Plan(seconds=0),
        Plan(bitrate=10),
        Plan(publishers=-1),
        Plan(publishers=0, rooms=2),
    ],
)
def test_an_impossible_plan_says_why(plan: Plan) -> None:
    assert list(plan.faults())


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_are_few_round_and_cover_what_is_drawn(low: float, span: float) -> None:
    marks = ticks(low, low + span)
    assert marks[0] <= low + 1e-6
    assert marks[-1] >= low + span - 1e-6
    assert 2 <= len(marks) <= 8


def test_of_somebody_elses_camera_what_the_server_numbered_is_expected() -> None:
    cameras = CamerasStatus(up=0, failed={}, sent=0, key_frame_requests=0, cpu_seconds=0)
    moments = [Moment(at, cameras, _viewers(), None) for at in (0.0, 2.0)]
    received = [
        ViewerCounts(None, StreamCounts(received=98, lost=2)),
        ViewerCounts(None, StreamCounts(received=100, lost=-1)),
    ]
    one = figures(*moments, latency=Histogram(), sent=SentCounts(), received=received)
    assert (one.expected, one.received, one.delivered) == (200, 198, 0.99)


def _viewers() -> ViewersStatus:
    return ViewersStatus(2, 2, {}, StreamCounts(), Histogram(), Histogram(), Histogram(), 0, 0, 0, 0.0)


def _step(viewers: int, **values: float) -> Figures:
    return Figures(**({field.name: 0 for field in fields(Figures)} | {"viewers": viewers, "cameras": 1} | values))


@pytest.mark.parametrize(
    ("beyond", "words"),
    [
        ({"viewers_cpu": 80.0}, "this machine serves 100 viewers of this camera"),
        (
            {"viewers_cpu": 95.0},
            "at least 100 viewers of this camera: with more of them the load test itself is too slow",
        ),
        ({"cameras_cpu": 99.0}, "at least 100 viewers"),
        ({"dropped_here": 1}, "at least 100 viewers"),
    ],
)
def test_the_verdict_says_when_the_load_test_itself_was_the_limit(beyond: dict[str, float], words: str) -> None:
    """The step just beyond the limit decides: those far beyond it drown everybody."""
    steps = [_step(100), _step(200, **beyond), _step(400, viewers_cpu=99.0, dropped_here=9)]
    sentence = verdict(Result({}, steps, steps[0], limit=100))
    assert sentence is not None
    assert words in sentence


def test_the_verdict_of_a_search_that_found_nobody_to_carry() -> None:
    sentence = verdict(Result({}, [_step(10, viewers_cpu=99.0)], _step(10), limit=0))
    assert sentence == "this machine cannot serve 10 viewers of this camera"
