"""The estimate of a viewer's link: each source alone, which of them counts, and that no lie gets it out of bounds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.media.adapt.link_estimate import LinkEstimate


def sending(estimate: LinkEstimate, bitrate: int, start: float, end: float) -> None:
    for tick in range(round(start * 10), round(end * 10)):
        estimate.on_sent(bitrate // 80, tick / 10)


def test_it_is_unknown_until_something_is_heard() -> None:
    estimate = LinkEstimate()
    sending(estimate, 500_000, 0.0, 5.0)
    estimate.on_report(0.0, 0.05, 0.001, 5.0)
    assert estimate.bitrate(5.0) is None
    assert not estimate.congested


def test_a_remb_is_taken_at_its_word_until_it_is_old() -> None:
    estimate = LinkEstimate()
    estimate.on_remb(800_000, 1.0)
    assert estimate.bitrate(1.0) == 800_000
    assert estimate.bitrate(7.0) is None


def test_what_is_sent_without_harm_is_carried() -> None:
    estimate = LinkEstimate()
    estimate.on_remb(235_000, 0.5)
    sending(estimate, 500_000, 0.0, 3.0)
    estimate.on_remb(260_000, 1.5)
    estimate.on_remb(280_000, 2.5)
    known = estimate.bitrate(3.0)
    assert known == pytest.approx(500_000, rel=0.1)
    assert not estimate.congested


def test_a_remb_that_falls_below_what_is_sent_is_congestion() -> None:
    estimate = LinkEstimate()
    sending(estimate, 1_700_000, 0.0, 3.0)
    estimate.on_remb(2_000_000, 2.0)
    assert not estimate.congested
    estimate.on_remb(340_000, 3.0)
    assert estimate.congested
    assert estimate.bitrate(3.0) == 340_000
    estimate.on_remb(350_000, 4.0)  # it rises again: so its queue is gone
    assert not estimate.congested


def test_a_remb_that_falls_to_085_of_all_that_was_sent_is_a_key_frame_that_queued() -> None:
    estimate = LinkEstimate()
    sending(estimate, 1_700_000, 0.0, 3.0)
    estimate.on_remb(2_000_000, 2.0)
    estimate.on_remb(1_445_000, 3.0)
    assert not estimate.congested


def test_a_remb_that_falls_far_above_what_is_sent_is_none() -> None:
    estimate = LinkEstimate()
    sending(estimate, 150_000, 0.0, 3.0)
    estimate.on_remb(5_000_000, 2.0)
    estimate.on_remb(1_000_000, 3.0)
    assert not estimate.congested


def test_a_remb_that_ceases_to_rise_under_more_than_it_allows_is_congestion() -> None:
    estimate = LinkEstimate()
    sending(estimate, 500_000, 0.0, 6.0)
    for second in (2, 3):
        estimate.on_remb(340_000, second)
        assert not estimate.congested
    estimate.on_remb(340_000, 4.0)
    assert estimate.congested
    estimate.bitrate(6.0)
    assert not estimate.congested  # nothing was heard of it since


@pytest.mark.parametrize(("share", "congested"), [(0.02, False), (0.09, False), (0.15, True), (0.7, True)])
def test_loss_alone(share: float, congested: bool) -> None:
    estimate = LinkEstimate()
    sending(estimate, 1_000_000, 0.0, 5.0)
    for second in (3, 4, 5):
        estimate.on_report(share, None, 0.0, second)
    assert estimate.congested == congested
    known = estimate.bitrate(5.0)
    assert known == (pytest.approx(1_000_000 * (1 - share), rel=0.15) if congested else None)


def test_one_report_of_15_percent_decides_nothing_and_one_of_70_does() -> None:
    estimate = LinkEstimate()
    sending(estimate, 1_000_000, 0.0, 5.0)
    estimate.on_report(0.15, None, 0.0, 3.0)
    assert (estimate.congested, estimate.bitrate(3.0)) == (False, None)
    estimate.on_report(0.7, None, 0.0, 4.0)
    assert estimate.congested


def test_loss_that_a_rising_remb_denies_lowers_the_estimate_but_is_no_congestion() -> None:
    estimate = LinkEstimate()
    sending(estimate, 1_000_000, 0.0, 6.0)
    for second in (2, 3, 4, 5):
        estimate.on_remb(1_000_000 + 50_000 * second, second)
        estimate.on_report(0.15, None, 0.0, second)
    assert not estimate.congested
    assert estimate.bitrate(5.0) == pytest.approx(
        0.85 * 1_250_000, rel=0.1
    )  # no further than the receiver itself would


def test_after_loss_it_grows_slowly_and_not_far_beyond_what_is_sent() -> None:
    estimate = LinkEstimate()
    sending(estimate, 1_000_000, 0.0, 3.0)
    for second in (1, 2, 3):
        estimate.on_report(0.8, None, 0.0, second)
    low = estimate.bitrate(3.0)
    assert low is not None
    assert low < 250_000
    for second in range(4, 30):
        sending(estimate, 150_000, second, second + 1)
        estimate.on_report(0.0, None, 0.0, second + 1)
    known = estimate.bitrate(30.0)
    assert known is not None
    assert low < known <= 1.5 * 150_000 + 15_000


def test_a_round_trip_that_grows_twice_is_congestion_where_nothing_better_is_known() -> None:
    estimate, better = LinkEstimate(), LinkEstimate()
    sending(estimate, 500_000, 0.0, 5.0)
    sending(better, 500_000, 0.0, 5.0)
    better.on_remb(600_000, 2.5)
    for now, rtt in ((1.0, 0.05), (2.0, 0.06), (3.0, 0.3), (4.0, 0.31)):
        assert not estimate.congested
        estimate.on_report(0.0, rtt, 0.002, now)
        better.on_report(0.0, rtt, 0.002, now)
    assert estimate.congested
    assert estimate.bitrate(4.0) == pytest.approx(425_000, rel=0.1)
    assert not better.congested


times = st.floats(-1.0, 5.0)
anything = st.floats()
steps = st.one_of(
    st.tuples(st.just("remb"), st.integers(-(1 << 70), 1 << 70)),
    st.tuples(st.just("report"), st.tuples(anything, st.none() | anything, anything)),
    st.tuples(st.just("sent"), st.integers(0, 1_000_000)),
)


@given(st.lists(st.tuples(steps, times), max_size=60))
def test_whatever_a_viewer_says_it_stays_in_bounds(said: list[tuple[tuple[str, Any], float]]) -> None:
    estimate, now = LinkEstimate(), 100.0
    for (step, value), elapsed in said:
        now += elapsed
        match step, value:
            case "remb", int(bitrate):
                estimate.on_remb(bitrate, now)
            case "report", (loss, rtt, jitter):
                estimate.on_report(loss, rtt, jitter, now)
            case "sent", int(octets):
                estimate.on_sent(octets, now)
        known = estimate.bitrate(now)
        assert known is None or 0 <= known <= 10_000_000_000
