"""New names for recordings of the last day whose clock was set meanwhile: their time by the clock as it is now.

Owns which recordings have to move (pure), from their place on a clock that never leaps. They only move back: a clock
that was set forward may have stood still with its machine, and the recordings before that are right. Never touches a
file.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from recorder.store.directory import Segment

_STEP_US: Final = 10_000_000
"""A smaller step of the clock is not worth new names."""
_KEPT_US: Final = 86_400_000_000
"""Older recordings keep their names: their clock was in use for long."""
_MAX_KEPT: Final = 20_000
_MAX_EPOCHS: Final = 16


@dataclass(slots=True)
class _Dated:
    """A segment of this run: its place on the steady clock, and its duration, in microseconds."""

    segment: Segment
    at_us: int
    lasts_us: int


@dataclass(frozen=True, slots=True)
class Move:
    """A segment that belongs to another time: `start_us` to `end_us` by the present clock."""

    segment: Segment
    start_us: int
    end_us: int


class Dating:
    """The recordings of this run. `now_us`: microseconds of a clock that never leaps and counts sleep too."""

    def __init__(self, now_us: int, wall_us: int) -> None:
        self._epochs = [wall_us - now_us]
        self._kept: deque[_Dated] = deque(maxlen=_MAX_KEPT)

    def note(self, now_us: int, wall_us: int) -> list[Move]:
        """Takes note of both clocks, and returns what is to be moved because the wall clock was set. Call it often."""
        epoch = wall_us - now_us
        if abs(epoch - self._epochs[-1]) <= _STEP_US:
            return []
        self._epochs = [*self._epochs[1 - _MAX_EPOCHS :], epoch]
        while self._kept and self._kept[0].at_us < now_us - _KEPT_US:
            self._kept.popleft()
        return [move for dated in self._kept for move in self._move(dated)]

    def finished(self, segment: Segment, end_us: int, now_us: int) -> list[Move]:
        """Adds a segment that ended just now, at `end_us` by the clock of its recording; returns its move if any."""
        epoch = min(self._epochs, key=lambda one: abs(end_us - one - now_us))
        dated = _Dated(segment, segment.start_us - epoch, end_us - segment.start_us)
        self._kept.append(dated)
        return self._move(dated)

    def moved(self, before: Segment, after: Segment) -> None:
        """Takes note of a segment's new name."""
        for dated in self._kept:
            if dated.segment == before:
                dated.segment = after

    def _move(self, dated: _Dated) -> list[Move]:
        start_us = dated.at_us + self._epochs[-1]
        if dated.segment.start_us - start_us <= _STEP_US:
            return []
        return [Move(dated.segment, start_us, start_us + dated.lasts_us)]
