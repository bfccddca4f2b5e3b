"""Sequence numbers show loss, disorder and duplicates."""

from __future__ import annotations

from array import array
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from sfu.clients.sequence_counter import SequenceCounter


@given(st.integers(0, 65535), st.sets(st.integers(0, 300), min_size=2), st.randoms(use_true_random=False))
def test_loss_is_what_is_missing_in_any_order_and_across_the_wrap(
    start: int, offsets: set[int], random: Random
) -> None:
    arrivals = sorted(offsets)
    random.shuffle(arrivals)
    sequences = SequenceCounter()
    for offset in [*arrivals, *arrivals]:
        sequences.add((start + offset) & 0xFFFF)
    assert sequences.received == len(offsets)
    assert sequences.duplicated == len(offsets)
    assert sequences.lost == max(offsets) - min(offsets) + 1 - len(offsets)


def test_a_new_session_keeps_the_counts_and_forgets_the_numbers() -> None:
    sequences = SequenceCounter()
    for number in (1, 2, 4):
        sequences.add(number)
    sequences.restart()
    for number in (40000, 40001):
        sequences.add(number)
    assert (sequences.received, sequences.lost, sequences.reordered, sequences.duplicated) == (5, 1, 0, 0)


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
