"""The minimum covers one to three windows and forgets older values, also after a silence."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from sfu.media.windowed_minimum import WindowedMinimum

WINDOW = 10


def test_before_the_first_value_it_is_infinite() -> None:
    assert WindowedMinimum(WINDOW).least == inf


def test_a_value_is_forgotten_after_a_silence_of_two_windows() -> None:
    minimum = WindowedMinimum(WINDOW)
    minimum.add(1, 0)
    minimum.add(5, 2 * WINDOW + 1)
    assert minimum.least == 5


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(-1000, 1000)), min_size=1, max_size=60))
def test_it_covers_at_least_one_window_and_at_most_three(steps: list[tuple[int, int]]) -> None:
    minimum = WindowedMinimum(WINDOW)
    now, values = 0, []
    for step, value in steps:
        now += step
        values.append((now, value))
        minimum.add(value, now)
        one = min(value for at, value in values if at >= now - WINDOW)
        three = min(value for at, value in values if at >= now - 3 * WINDOW)
        assert three <= minimum.least <= one
