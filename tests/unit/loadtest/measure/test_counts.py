"""Packet counts of a viewer, at marks and in reports."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from sfu.loadtest.measure.counts import SAMPLE, Marks, StreamCounter, StreamCounts, sampled


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
