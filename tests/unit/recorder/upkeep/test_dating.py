"""Recordings get the names of the times that they have by the present clock, and no other ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorder.store.directory import Segment
from recorder.upkeep.dating import Dating

SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
NOW, WALL = 50 * SECOND, 20_000 * DAY


def segment(start_us: int) -> Segment:
    return Segment(start_us, "yard", "cam", Path(f"/nowhere/{start_us}.mp4"))


def recorded(dating: Dating, at: int, wall_us: int, *, lasts: int = 60) -> Segment:
    """Adds a segment of a minute that ended at `at` on the steady clock, when the wall clock showed `wall_us`."""
    made = segment(wall_us - lasts * SECOND)
    assert dating.finished(made, wall_us, at) == []
    return made


@pytest.mark.parametrize("step", [-HOUR, -400 * DAY, -11 * SECOND])
def test_a_clock_that_is_set_back_moves_what_was_recorded_before(step: int) -> None:
    dating = Dating(NOW, WALL)
    made = [recorded(dating, NOW + n * 60 * SECOND, WALL + n * 60 * SECOND) for n in range(1, 4)]
    later = 200 * SECOND
    moves = dating.note(NOW + later, WALL + later + step)
    assert [(move.segment, move.start_us - move.segment.start_us) for move in moves] == [(one, step) for one in made]
    assert all(move.end_us - move.start_us == 60 * SECOND for move in moves)


def test_a_segment_that_was_open_when_the_clock_was_set_moves_when_it_ends() -> None:
    dating = Dating(NOW, WALL + HOUR)
    assert dating.note(NOW + 60 * SECOND, WALL + 60 * SECOND) == []
    open_one = segment(WALL + HOUR)
    (move,) = dating.finished(open_one, WALL + HOUR + 60 * SECOND, NOW + 61 * SECOND)
    assert move.start_us == WALL
    assert dating.finished(segment(WALL + 62 * SECOND), WALL + 122 * SECOND, NOW + 123 * SECOND) == []


def test_a_clock_that_goes_there_and_back_leaves_the_right_names() -> None:
    dating = Dating(NOW, WALL)
    recorded(dating, NOW + 60 * SECOND, WALL + 60 * SECOND)
    assert dating.note(NOW + 70 * SECOND, WALL + 70 * SECOND + 400 * DAY) == []
    away = recorded(dating, NOW + 130 * SECOND, WALL + 130 * SECOND + 400 * DAY)
    (back,) = dating.note(NOW + 140 * SECOND, WALL + 140 * SECOND)
    assert (back.segment, back.start_us) == (away, WALL + 70 * SECOND)
    dating.moved(away, segment(back.start_us))
    assert dating.note(NOW + 150 * SECOND, WALL + 150 * SECOND) == []


def test_a_virtual_machine_that_was_paused_keeps_the_names_from_before() -> None:
    """Its steady clock stood still too: the wall clock seems to be set forward when it goes on."""
    dating = Dating(NOW, WALL)
    recorded(dating, NOW + 60 * SECOND, WALL + 60 * SECOND)
    assert dating.note(NOW + 61 * SECOND, WALL + 61 * SECOND + 8 * HOUR) == []
    recorded(dating, NOW + 120 * SECOND, WALL + 120 * SECOND + 8 * HOUR)
    moves = dating.note(NOW + 121 * SECOND, WALL + 101 * SECOND + 8 * HOUR)
    assert [move.start_us for move in moves] == [WALL + 40 * SECOND + 8 * HOUR]


def test_drift_small_steps_and_sleep_move_nothing() -> None:
    dating = Dating(NOW, WALL)
    recorded(dating, NOW + 60 * SECOND, WALL + 60 * SECOND)
    assert dating.note(NOW + 100 * SECOND, WALL + 105 * SECOND) == []
    assert dating.note(NOW + 100 * SECOND, WALL + 95 * SECOND) == []
    assert dating.note(NOW + 100 * SECOND + 8 * HOUR, WALL + 100 * SECOND + 8 * HOUR) == []


def test_what_is_older_than_a_day_keeps_its_name() -> None:
    dating = Dating(NOW, WALL)
    recorded(dating, NOW + 60 * SECOND, WALL + 60 * SECOND)
    young = recorded(dating, NOW + DAY, WALL + DAY)
    assert [move.segment for move in dating.note(NOW + DAY + HOUR, WALL + DAY)] == [young]
