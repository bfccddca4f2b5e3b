"""The clocks that a timeline joins: a track's media clock, the camera's wall clock, and ours.

Owns how each of them is followed. Never reads one: what they say comes in, `now_us` in us of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sfu.media.formats.rtp import time_delta
from sfu.media.windowed_minimum import WindowedMinimum

US: Final = 1_000_000
JUMP: Final = 5 * US
"""What is this far from where arrival puts it is a new beginning, not jitter."""
IMPLAUSIBLE: Final = 2 * US
"""Clocks that are this far apart did not drift there."""

DELAY_WINDOW_US: Final = 10 * US
"""The least delay is taken over this much or up to twice as much."""

_BACK: Final = US // 5
_QUICK: Final = 0.1
_CLOCK_PACE: Final = 0.001


class MediaAxis:
    """A track's media times on an axis in us that never wraps and never jumps."""

    def __init__(self, clock_rate: int) -> None:
        self._clock_rate = clock_rate
        self._media_time: int | None = None
        self._ticks = 0
        self._arrived: int | None = None

    @property
    def position(self) -> int:
        """Where the last media time stands."""
        return self._ticks * US // self._clock_rate

    def restart(self) -> None:
        """The next media time has nothing to do with the last one."""
        self._media_time = None

    def advance(self, media_time: int, now_us: int) -> bool:
        """Moves to `media_time`, which arrives now; False if it jumped: then as far as arrival says.

        Frames are never given out backwards: what goes back by more than 200 ms has jumped. So has what comes after so
        long a silence that media times wrapped.
        """
        elapsed = 0 if self._arrived is None else max(0, now_us - self._arrived)
        expected = elapsed * self._clock_rate // US
        step = expected if self._media_time is None else time_delta(media_time, self._media_time)
        goes_on = self._media_time is not None and self._goes_on(step, expected)
        self._ticks += step if goes_on else expected
        self._media_time, self._arrived = media_time, now_us
        return goes_on

    def _goes_on(self, step: int, expected: int) -> bool:
        return step * US >= -_BACK * self._clock_rate and abs(step - expected) * US <= JUMP * self._clock_rate

    def locate(self, media_time: int) -> int | None:
        """Where a media time near the last one stands; None if there is no last one."""
        if self._media_time is None:
            return None
        return (self._ticks + time_delta(media_time, self._media_time)) * US // self._clock_rate


def slewed(value: float, target: float, elapsed_us: float, *, pace: float, tolerance: float) -> float:
    """`value` nearer to `target`: by `pace` us a us, by a tenth of the time that passes if it is off by more."""
    error = target - value
    most = elapsed_us * (pace if abs(error) <= tolerance else _QUICK)
    return value + max(-most, min(error, most))


class CameraClock:
    """What the sender reports of all tracks of one producer share: one clock, and its way to ours.

    The way is the least delay with which anything, reports too, has come of late. Tracks share it, so that whatever the
    network does to it moves all of them alike.
    """

    def __init__(self) -> None:
        self._offset: float | None = None
        self._at = 0
        self._delays = WindowedMinimum(DELAY_WINDOW_US)
        self._transit: float | None = None

    def to_ours(self, camera_us: float, now_us: int, begin: float | None) -> float:
        """The time of ours at which that was taken which arrives now and was taken at `camera_us`.

        `begin`: where the track that asks first stands already, if it does.
        """
        self._delays.add(now_us - camera_us, now_us)
        if self._offset is None:
            self._offset = self._delays.least if begin is None else begin - camera_us
        else:
            elapsed = max(0, now_us - self._at)
            self._offset = slewed(self._offset, self._delays.least, elapsed, pace=_CLOCK_PACE, tolerance=US)
        self._at = now_us
        return camera_us + self._offset

    @property
    def offset(self) -> float | None:
        """From the camera's time to ours; None before anything that a report spoke of has arrived."""
        return self._offset

    def reported(self, transit: float, now_us: int) -> None:
        """A report that is believed came so long after the camera's time that it tells, corrections made.

        No encoder delays reports, and they are not sent again: what is replayed from the past is late against them.
        """
        self._transit = transit
        self._delays.add(transit, now_us)

    def was_set(self, transit: float, change: float) -> bool:
        """Whether a report that moved its track by `change` did so because the camera's clock was set by as much.

        Then it also took that much less time to come here, which it does not if media times moved.
        """
        if self._transit is None:
            return False
        late = transit - self._transit
        return abs(late + change) < abs(late)

    def correction(self, transit: float, used: Iterable[float]) -> float:
        """What to add to the clock of a track's first report: what another track needed, or else what makes it fit."""
        usual = self._transit
        if usual is None:
            return 0.0
        best = min(used, key=lambda correction: abs(transit - correction - usual))
        return best if abs(transit - best - usual) < IMPLAUSIBLE else transit - usual


class WallClock:
    """The moment at which our monotonic clock stands."""

    def __init__(self) -> None:
        self._epoch: int | None = None

    def name(self, ours: int, now_us: int, wall_us: int) -> int:
        """A time of the monotonic clock as us of UTC. A clock set forward is followed, one set back never."""
        epoch = wall_us - now_us
        if self._epoch is None or epoch > self._epoch + IMPLAUSIBLE:
            self._epoch = epoch
        return ours + self._epoch
