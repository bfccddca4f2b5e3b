"""Wall times in sender reports: whatever a camera's clock says, ours go on, and sound and picture stay together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.media.formats.rtcp import NTP_MASK, ntp_delta
from sfu.media.ingest.reported_clock import ReportedClock
from sfu.units import ntp_time

OURS = ntp_time(1_800_000_000)
S = 1 << 32


@pytest.mark.parametrize("begins", [0, 1970 * S, OURS - 90 * S, NTP_MASK - 3 * S, OURS + 3600 * S])
@pytest.mark.parametrize("step", [-3600, 3600, 57 * 365 * 86_400, -57 * 365 * 86_400])
def test_a_clock_that_is_set_is_followed_by_its_second_report(begins: int, step: int) -> None:
    clock = ReportedClock()
    found = [
        clock.to_ours(begins + (at + (step if at >= 5 else 0)) * S & NTP_MASK, OURS + at * S & NTP_MASK, float(at))
        for at in range(10)
    ]
    assert found == [None if at == 5 else OURS + at * S for at in range(10)]


def test_a_single_wrong_report_is_not_used_and_neither_is_one_that_came_late() -> None:
    clock = ReportedClock()
    said = [100.0, 101.0, 5.0, 103.0, 104.0, 107.2]
    came = [100.0, 101.0, 102.0, 103.0, 107.0, 107.3]
    found = [clock.to_ours(int(told * S), OURS + int(now * S), now) for told, now in zip(said, came, strict=True)]
    assert [each is None for each in found] == [False, False, True, False, True, False]
    assert clock.to_ours(108 * S, 0, 108.1) == OURS + 108 * S


def test_all_tracks_of_a_camera_share_one_offset_before_and_after_its_clock_is_set() -> None:
    audio, video = ReportedClock(), ReportedClock()
    apart = []
    for at in range(20):
        told = 1000 + at + (500_000 if at > 10 else 0)
        heard = audio.to_ours(told * S, OURS + at * S, float(at), [video])
        seen = video.to_ours(told * S, OURS + at * S + S // 10, at + 0.1, [audio])
        if heard is not None and seen is not None:
            apart.append(ntp_delta(heard, seen))
    assert len(apart) == 19
    assert set(apart) == {0}


def test_the_time_goes_on_when_64_bits_wrap() -> None:
    """On 7 February 2036; by then our clock has the same times."""
    assert ntp_time(2_085_978_496 + 5) == 5 * S
    clock = ReportedClock()
    found = [clock.to_ours(at * S & NTP_MASK, at * S & NTP_MASK, float(at)) for at in range(-5, 5)]
    assert found == [at * S & NTP_MASK for at in range(-5, 5)]


@given(st.lists(st.tuples(st.integers(0, NTP_MASK), st.integers(0, NTP_MASK), st.floats(0, 1e9))))
def test_whatever_is_reported_has_64_bits(reports: list[tuple[int, int, float]]) -> None:
    clock, other = ReportedClock(), ReportedClock()
    for reported, ours, now in reports:
        for each, rest in ((clock, other), (other, clock)):
            found = each.to_ours(reported, ours, now, [rest])
            assert found is None or 0 <= found <= NTP_MASK
