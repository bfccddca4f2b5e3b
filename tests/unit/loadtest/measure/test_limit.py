"""The search for the most viewers ends at the limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sfu.loadtest.measure.limit import LimitSearch, served_well


@given(st.integers(1, 200), st.integers(0, 5000))
def test_the_search_ends_at_the_limit(start: int, limit: int) -> None:
    search, steps = LimitSearch(start=start), 0
    while (viewers := search.next) is not None:
        search.report(viewers, viewers <= limit)
        steps += 1
        assert steps < 40
    assert search.best <= limit
    assert limit - search.best <= max(1, 0.05 * search.best) or (search.best == 0 and limit < start)


def test_a_step_is_served_well_only_when_all_is_well() -> None:
    assert served_well(0.995, 100.0, 0)
    assert not served_well(0.994, 10.0, 0)
    assert not served_well(1.0, 100.1, 0)
    assert not served_well(1.0, 10.0, 1)
    assert not served_well(None, None, 0)
    assert not served_well(1.0, None, 0)
    assert served_well(1.0, None, 0, timed=False), "nobody knows the latency of somebody else's camera"
    assert not served_well(0.994, None, 0, timed=False)
