"""The clocks that a timeline joins: a track's media clock, the camera's wall clock, and our wall clock.

Owns how each of them is followed. Never reads a clock: times come in, `now_us` in microseconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sfu.media.formats.rtcp import NTP_MASK, ntp_delta
from sfu.media.formats.rtp import time_delta
from sfu.media.windowed_minimum import WindowedMinimum

US: Final = 1_000_000
JUMP_US: Final = 5 * US
"""A media time that is this far behind its arrival is a new beginning, not jitter."""
STEP_US: Final = US
"""A media time that skips this much is a new beginning too. A track this far from its place is put there at once."""
IMPLAUSIBLE_US: Final = 2 * US
"""Clocks this far apart were set, they did not drift."""

DELAY_WINDOW_US: Final = 10 * US
"""Window of the least delay; it is taken over up to twice as much."""

_NEAR_US: Final = 10 * US
_BACK_US: Final = US // 5
"""Step back of media times that is a jump."""
REORDERED_BACK_US: Final = US // 2
"""The same where pictures are sent in another order than they are shown in."""
_FAST_PACE_RATIO: Final = 0.1
"""Correction of large errors, in microseconds for each microsecond that passes."""
_CLOCK_PACE_RATIO: Final = 0.001
"""The same for small errors of the camera's clock."""


class MediaAxis:
    """The media times of one track, in microseconds, on an axis that never wraps and never jumps."""

    def __init__(self, clock_rate: int, back_us: int = _BACK_US) -> None:
        """Makes an axis for media times in ticks of `clock_rate`; a step back of more than `back_us` is a jump."""
        self._clock_rate = clock_rate
        self._back_us = back_us
        self._media_time: int | None = None
        self._ticks = 0
        self._arrived: int | None = None
        self._jumped: int | None = None
        """The latest media time, if it jumped and no second one has confirmed it yet."""

    @property
    def position(self) -> int:
        """Returns the position of the last media time, in microseconds."""
        return self._ticks * US // self._clock_rate

    def restart(self) -> None:
        """Begins a new count: the next media time is unrelated to the last one."""
        self._media_time = self._jumped = None

    def advance(self, media_time: int, now_us: int) -> bool:
        """Moves to `media_time`, which arrives now; False if another count begins: with the first one, or after a jump.

        Depacketizers return frames in sending order, so a long step back is a jump. So is a step of a second
        more than passed between arrivals, and one after a silence in which media times may have wrapped. A jump
        moves by the time between arrivals, and a second media time that fits it confirms it: a single one was wrong.
        """
        elapsed = 0 if self._arrived is None else max(0, now_us - self._arrived)
        expected = elapsed * self._clock_rate // US
        before, jumped, self._jumped, self._arrived = self._media_time, self._jumped, None, now_us
        if before is not None and self._goes_on(step := time_delta(media_time, before), expected):
            self._ticks, self._media_time = self._ticks + step, media_time
            return True
        if before is None or (jumped is not None and self._goes_on(time_delta(media_time, jumped), expected)):
            step = expected if jumped is None else time_delta(media_time, jumped)
            self._ticks, self._media_time = self._ticks + step, media_time
            return False
        self._ticks, self._media_time = self._ticks + expected, before + expected & 0xFFFF_FFFF
        self._jumped = media_time
        return True

    def _goes_on(self, step: int, expected: int) -> bool:
        """True unless a step, in ticks, is a jump."""
        if step * US < -self._back_us * self._clock_rate:
            return False
        return -JUMP_US * self._clock_rate <= (step - expected) * US <= STEP_US * self._clock_rate

    def reaches(self, media_time: int, now_us: int) -> bool:
        """True if the track can be at `media_time` at this time: less than 10 s from what its packets say."""
        if self._media_time is None or self._arrived is None:
            return False
        ahead = time_delta(media_time, self._media_time) * US // self._clock_rate
        return abs(ahead - (now_us - self._arrived)) <= _NEAR_US

    def locate(self, media_time: int) -> int | None:
        """Returns the position of a media time near the last one, in microseconds; None if there is no last one."""
        if self._media_time is None:
            return None
        return (self._ticks + time_delta(media_time, self._media_time)) * US // self._clock_rate


def slewed(value: float, target: float, elapsed_us: float, *, pace: float, tolerance: float) -> float:
    """Returns `value` moved towards `target`: by `pace` us a us, at least 0.1 if the error is above `tolerance`."""
    error = target - value
    most = elapsed_us * (pace if abs(error) <= tolerance else max(pace, _FAST_PACE_RATIO))
    return value + max(-most, min(error, most))


class CameraClock:
    """The wall clock of one camera, to which the sender reports of all its tracks refer, and its offset from ours.

    The offset is the least recent delay of all packets and reports. The tracks share it, so that a change of the
    network's delay moves all of them alike.
    """

    def __init__(self) -> None:
        self._offset: float | None = None
        self._at = 0
        self._delays = WindowedMinimum(DELAY_WINDOW_US)
        self._transit: float | None = None
        self._ntp: int | None = None

    def unwrapped_us(self, ntp: int) -> int:
        """Returns a report's 64-bit NTP time in microseconds, on an axis that does not wrap, as NTP does in 2036."""
        self._ntp = ntp if self._ntp is None else self._ntp + ntp_delta(ntp, self._ntp & NTP_MASK)
        return self._ntp * US >> 32

    def to_ours(self, camera_us: float, now_us: int, begin: float | None) -> float:
        """Returns our time of a capture that arrives now and was made at `camera_us`.

        `begin`: our time of it by arrival, if the track has a position already; used for the first offset.
        """
        self._delays.add(now_us - camera_us, now_us)
        if self._offset is None:
            self._offset = self._delays.least if begin is None else begin - camera_us
        else:
            elapsed = max(0, now_us - self._at)
            self._offset = slewed(self._offset, self._delays.least, elapsed, pace=_CLOCK_PACE_RATIO, tolerance=US)
        self._at = now_us
        return camera_us + self._offset

    @property
    def offset(self) -> float | None:
        """Returns our time minus the camera's; None before the first packet that a report covers."""
        return self._offset

    def reported(self, transit: float, now_us: int) -> None:
        """Adds the delay of an accepted report: its arrival minus its corrected camera time.

        Reports are neither encoded nor retransmitted, so they show the least delay; replayed packets are later.
        """
        self._transit = transit
        self._delays.add(transit, now_us)

    def was_set(self, transit: float, change: float) -> bool:
        """True if a report moved its track by `change` because the camera's clock was set by as much.

        Then the report's delay fell by as much; it stays the same if the media times moved.
        """
        if self._transit is None:
            return False
        late = transit - self._transit
        return abs(late + change) < abs(late)

    def correction(self, transit: float, used: Iterable[float]) -> float:
        """Returns the correction of a track's first report: that of another track (`used`) if it fits, or a new one."""
        usual = self._transit
        if usual is None:
            return 0.0
        best = min(used, key=lambda correction: abs(transit - correction - usual))
        return best if abs(transit - best - usual) < IMPLAUSIBLE_US else transit - usual


class WallClock:
    """The wall time of our monotonic clock, which stands still while the machine sleeps.

    A wall clock that was set, forward or back, is followed at once; a small error slowly, so that times stay in order.
    """

    def __init__(self) -> None:
        self.sets = 0
        """Times that the wall clock was set, the first one included."""
        self._epoch: float | None = None
        self._at = 0

    def wall_time(self, ours: int, now_us: int, wall_us: int) -> int:
        """Returns monotonic time `ours` as microseconds of UTC. Now it is `now_us` on our clock, `wall_us` in UTC."""
        epoch = wall_us - now_us
        if self._epoch is None or abs(epoch - self._epoch) > IMPLAUSIBLE_US:
            self._epoch = epoch
            self.sets += 1
        else:
            elapsed = max(0, now_us - self._at)
            self._epoch = slewed(self._epoch, epoch, elapsed, pace=_CLOCK_PACE_RATIO, tolerance=IMPLAUSIBLE_US)
        self._at = now_us
        return ours + int(self._epoch)
