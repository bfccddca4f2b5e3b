"""Quantiles of durations are those of the sorted list, within the width of a step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sfu.clients.histogram import Histogram, longest_of, step


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
