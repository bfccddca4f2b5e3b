"""Requirements on a load test: how they are read, and how a wrong one is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.loadtest.measure.requirements import FIGURES, RequirementError, missed, parse


def test_a_demand_is_read_in_the_figures_own_unit() -> None:
    share, latency, join = parse("delivered>=99.5%, p99<50ms,join_p95 <= 1s")
    assert (share.name, share.comparison) == ("delivered", ">=")
    assert share.bound == pytest.approx(0.995)
    assert (latency.name, latency.comparison, latency.bound) == ("p99", "<", 50)
    assert join.bound == 1000


def test_what_is_missed_is_said_with_what_was_measured() -> None:
    demands = parse("delivered>=0.995,p99<50ms,cpu<80%")
    assert missed(demands, {"delivered": 1.0, "p99": 72.25, "cpu": 12.0}) == ["p99<50ms: 72.25 ms"]
    assert missed(demands, {"delivered": 0.995, "p99": 49.9}) == ["cpu<80%: not measured"]


@pytest.mark.parametrize("text", ["", ",", "p99", "p99<", "p99<fast", "speed>1", "p99<5MB", "delivered=>1", "p99<-5"])
def test_a_wrong_demand_is_refused(text: str) -> None:
    with pytest.raises(RequirementError):
        parse(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        demands = parse(text)
    except RequirementError:
        return
    assert all(demand.name in FIGURES for demand in demands)


@given(
    st.sampled_from(sorted(FIGURES)),
    st.sampled_from([">=", "<=", ">", "<", "="]),
    st.decimals(0, 10**6, places=3),
    st.floats(0, 10**6),
)
def test_a_demand_holds_exactly_when_its_comparison_does(name: str, sign: str, bound: object, value: float) -> None:
    (demand,) = parse(f"{name}{sign}{bound}")
    expected = {">=": value >= demand.bound, "<=": value <= demand.bound, ">": value > demand.bound}
    expected |= {"<": value < demand.bound, "=": value == demand.bound}
    assert demand.met(value) is expected[sign]
