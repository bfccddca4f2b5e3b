"""Trust in the wall clock: a leap deletes nothing by age; a machine that was off for months is cleaned in the end."""

from __future__ import annotations

import pytest

from recorder.upkeep.clock_trust import ClockTrust, kernel_synchronized

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
WALL = 20_000 * DAY_US
NOW = 100.0


def recorded(until_us: int, *, days: int = 8, every_us: int = HOUR_US) -> list[tuple[int, int]]:
    return [(at, at + 600_000_000) for at in range(until_us - days * DAY_US, until_us, every_us)]


def doubted(trust: ClockTrust, after: float, wall_us: int, files: list[tuple[int, int]], sync: bool | None) -> bool:
    return trust.doubt(NOW + after, wall_us, files, synchronized=sync) is not None


@pytest.mark.parametrize("sync", [True, False, None])
def test_a_clock_that_agrees_with_the_recordings_is_trusted_at_once(sync: bool | None) -> None:
    assert not doubted(ClockTrust(), 0, WALL, recorded(WALL), sync)
    assert not doubted(ClockTrust(), 0, WALL, recorded(WALL - 20 * HOUR_US), sync)
    assert not doubted(ClockTrust(), 0, WALL, [], sync)
    assert not doubted(ClockTrust(), 0, WALL, [(WALL - HOUR_US, WALL)], sync)


@pytest.mark.parametrize(("sync", "wait_h"), [(True, 1), (False, 24), (None, 24)])
def test_a_clock_that_starts_far_ahead_has_to_run_steadily_first(sync: bool | None, wait_h: int) -> None:
    trust = ClockTrust()
    files = recorded(WALL - 400 * DAY_US)
    for hour in range(wait_h):
        assert doubted(trust, hour * 3600.0, WALL + hour * HOUR_US, files, sync)
    assert not doubted(trust, wait_h * 3600.0, WALL + wait_h * HOUR_US, files, sync)


@pytest.mark.parametrize("sync", [True, False, None])
def test_a_clock_that_leaps_ahead_later_is_doubted_again(sync: bool | None) -> None:
    trust = ClockTrust()
    for hour in range(48):
        assert not doubted(trust, hour * 3600.0, WALL + hour * HOUR_US, recorded(WALL + hour * HOUR_US), sync)
    files = recorded(WALL + 48 * HOUR_US)
    leapt = WALL + 48 * HOUR_US + 400 * DAY_US
    assert doubted(trust, 48 * 3600.0, leapt, files, sync)
    assert not doubted(trust, 48 * 3600.0 + 60, WALL + 48 * HOUR_US + 60_000_000, files, sync)  # it was set right


def test_recordings_under_a_wrong_clock_are_no_proof_of_it_even_over_restarts() -> None:
    files = [*recorded(WALL - 400 * DAY_US), (WALL - HOUR_US, WALL)]
    assert doubted(ClockTrust(), 0, WALL, files, None)


def test_after_a_holiday_a_day_of_recordings_proves_the_clock_even_over_restarts() -> None:
    files = recorded(WALL - 90 * DAY_US) + recorded(WALL, days=1)
    assert not doubted(ClockTrust(), 0, WALL, files, None)


def test_recordings_of_the_future_prove_nothing() -> None:
    files = recorded(WALL - 90 * DAY_US) + recorded(WALL + 20 * DAY_US, days=10)
    assert doubted(ClockTrust(), 0, WALL, files, None)


def test_a_clock_that_drifts_or_is_corrected_a_little_does_not_begin_anew() -> None:
    trust, files = ClockTrust(), recorded(WALL - 90 * DAY_US)
    answers = [doubted(trust, hour * 3600.0, WALL + hour * (HOUR_US + 50_000_000), files, None) for hour in range(25)]
    assert answers == [True] * 24 + [False]


def test_the_kernel_is_asked() -> None:
    assert kernel_synchronized() in (True, False, None)
