"""Media time of a live input follows arrival, whatever the camera's own clock does."""

from __future__ import annotations

import itertools

import pytest

from sfu.clients.inputs.live_clock import LiveClock

RTP_VIDEO_S = 2**32 / 90_000
RTP_SOUND_S = 2**32 / 8_000
WRAPS = {0: RTP_VIDEO_S, 1: RTP_SOUND_S}


def connected(now: float = 100.0) -> LiveClock:
    clock = LiveClock()
    clock.connect(0.0, 0.0, now, WRAPS)
    return clock


def test_the_first_connection_begins_at_second_0_with_its_oldest_packet() -> None:
    clock = LiveClock()
    clock.connect(7.0, 9.0, 100.0, WRAPS)
    assert [clock.place(0, 7.0 + n / 10, 100.0) for n in range(3)] == pytest.approx([0, 0.1, 0.2])


@pytest.mark.parametrize("set_by", [-3600.0, -2.0, 1800.0, 86_400.0])
def test_a_clock_that_is_set_moves_neither_track(set_by: float) -> None:
    """Each track leaps with its own next sender report; FFmpeg adds a wrap where a time would be negative."""
    clock = connected()
    for number in range(1, 200):
        seconds, now = number / 25, 100.0 + number / 25 + 0.01 * (number % 3)
        for track, leaps_at, rate in ((0, 60, 90_000), (1, 75, 8_000)):
            leap = set_by % (2**32 / rate) if set_by < 0 else set_by
            shown = seconds + leap if number >= leaps_at else seconds
            assert clock.place(track, shown, now) == pytest.approx(seconds, abs=0.05)
        if number > 75:  # sound and picture are as far apart as they were
            pair = [
                clock.place(0, seconds + _shown(set_by, 90_000) + 0.01, now),
                clock.place(1, seconds + _shown(set_by, 8_000) + 0.01, now),
            ]
            assert pair[0] == pytest.approx(pair[1], abs=1e-3)


def _shown(set_by: float, rate: int) -> float:
    return set_by % (2**32 / rate) if set_by < 0 else set_by


def test_a_new_connection_goes_on_after_the_time_that_passed() -> None:
    clock = connected()
    for number in range(100):
        clock.place(0, number / 25, 100 + number / 25)
    clock.connect(5000.0, 5001.0, 114.0, WRAPS)
    assert clock.place(0, 5000.0, 114.0) == pytest.approx(13.0)
    assert clock.place(0, 5001.0, 114.0) == pytest.approx(14.0)


def test_a_quick_new_connection_never_goes_back() -> None:
    clock = connected()
    last = [clock.place(0, number / 25, 100 + number / 25) for number in range(100)][-1]
    clock.connect(0.0, 3.0, 104.2, WRAPS)
    times = [last, *(clock.place(0, number / 25, 104.2) for number in range(76))]
    assert all(a < b for a, b in itertools.pairwise(times))


def test_times_never_go_back_within_a_track() -> None:
    clock = connected()
    times = [clock.place(0, seconds, 101.0) for seconds in (0.1, 0.14, 0.12, 0.18)]
    assert all(a < b for a, b in itertools.pairwise(times))


def test_a_network_that_stood_still_is_no_leap() -> None:
    clock = connected()
    clock.place(0, 0.0, 100.0)
    assert [clock.place(0, number / 25, 104.0) for number in range(1, 100)] == pytest.approx(
        [number / 25 for number in range(1, 100)]
    )
