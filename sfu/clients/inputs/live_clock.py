"""Media time of a live input: anchored on arrival with each connection, and right whatever the camera's clock does.

Pure: `now` (any clock) is an argument. FFmpeg's times follow the camera's sender reports: when the camera's clock is
set, the times of each track leap with its next report, and 32-bit times leap by their wrap too.
"""

from __future__ import annotations

import math
from typing import Final

_AHEAD_S: Final = 0.5
"""Media time this far ahead of its arrival is a leap: nothing arrives before it was captured."""
_BACK_S: Final = 0.1
"""A step back by more than this is a leap."""
_SAME_LEAP_S: Final = 1.0
"""The second track's leap is the first one's if they differ by less, after wraps."""
_SMALLEST_STEP_S: Final = 0.001
_CATCH_UP_FACTOR: Final = 0.5
_FALL_BACK_PER_S: Final = 0.002
"""Share of a delay that becomes usual within a second: camera clocks drift by 100 ppm at most."""


class LiveClock:
    """The media time of all tracks of a live input, over all its connections. It never goes back within a track."""

    def __init__(self) -> None:
        self._line: float | None = None
        """Media time minus time of arrival, of the least delayed packets."""
        self._updated = 0.0
        self._newest = 0.0
        self._begin_shift = 0.0
        self._shifts: dict[int, float] = {}
        self._last: dict[int, float] = {}
        self._wraps: dict[int, float] = {}
        self._leap: float | None = None

    def connect(self, first: float, edge: float, now: float, wraps: dict[int, float]) -> None:
        """Starts a connection; `first` and `edge` are the input's times of its first packet and of the latest one.

        The latest one has arrived just now. `wraps`: seconds after which the times of a track begin anew.
        """
        if self._line is None:
            self._begin_shift, self._line = -first, edge - first - now
        else:
            after_last = self._newest + _SMALLEST_STEP_S - first
            self._begin_shift = max(now + self._line - edge, after_last)
        self._shifts, self._last, self._leap = {}, {}, None
        self._wraps = wraps
        self._updated = now

    def place(self, track: int, seconds: float, now: float) -> float:
        """Returns the media time of a frame that the input puts at `seconds`. Call it in order of presentation."""
        line = self._line or 0.0
        media = seconds + self._shifts.setdefault(track, self._begin_shift)
        last = self._last.get(track)
        if media > now + line + _AHEAD_S or (last is not None and media < last - _BACK_S):
            media -= self._correction(track, media - now - line)
        if last is not None:
            media = max(media, last + _SMALLEST_STEP_S)
        self._last[track] = media
        self._newest = max(self._newest, media)
        self._follow(media, now)
        return media

    def _correction(self, track: int, leap: float) -> float:
        """Returns by how much the track's times are shifted from now on. Both tracks follow one leap alike."""
        wrap = self._wraps.get(track, math.inf)
        rest = math.inf if self._leap is None else math.remainder(leap - self._leap, wrap)
        if abs(rest) < _SAME_LEAP_S:
            leap -= rest
        else:
            self._leap = math.remainder(leap, wrap)
        self._shifts[track] -= leap
        return leap

    def _follow(self, media: float, now: float) -> None:
        """Moves the line, at once towards less delayed packets and slowly towards later ones (the camera's drift)."""
        late = now + (self._line or 0.0) - media
        passed, self._updated = now - self._updated, now
        share = _CATCH_UP_FACTOR if late < 0 else min(1.0, passed * _FALL_BACK_PER_S)
        self._line = (self._line or 0.0) - late * share
