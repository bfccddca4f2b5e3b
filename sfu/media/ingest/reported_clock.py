"""The wall clock in one stream's sender reports, on the wall clock of this machine.

Owns the offset between the two, however often the camera's clock is set. Never reads a clock: `now` comes in, in
seconds, and wall times are 64-bit NTP times (RFC 3550 section 4), which wrap in 2036.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Final

from sfu.media.formats.rtcp import NTP_MASK, ntp_delta

_TICKS_PER_S: Final = 1 << 32
_SET_S: Final = 1.0
"""A report this far from those before was late, or the camera's clock was set."""


class ReportedClock:
    """The clock that a stream's sender reports refer to: one for all tracks of a camera, so these share an offset.

    A report that does not fit the one before is not used until a second one agrees with it: then the camera's clock was
    set, and our times go on without a jump.
    """

    def __init__(self) -> None:
        self.offset = 0
        """Added to its times to get ours, in 2^-32 s; modulo 2^64."""
        self._accepted: tuple[int, float] | None = None
        self._candidate: tuple[int, float] | None = None

    def to_ours(self, reported: int, ours: int, now: float, others: Iterable[ReportedClock] = ()) -> int | None:
        """Returns our wall time of a report that says `reported` and came at `ours`; None if it is not to be used.

        `others` are the clocks of the camera's other streams.
        """
        before = self._accepted
        if before is None or _apart_s(before, reported, now) > _SET_S:
            if before is not None and not self._confirmed(reported, now):
                return None
            expected = ours if before is None else before[0] + self.offset + int((now - before[1]) * _TICKS_PER_S)
            known = min(others, key=lambda clock: clock.apart_s(reported, now), default=self)
            fits = known.apart_s(reported, now) <= _SET_S
            self.offset = known.offset if fits else expected - reported
        self._accepted, self._candidate = (reported, now), None
        return reported + self.offset & NTP_MASK

    def apart_s(self, reported: int, now: float) -> float:
        """Returns the seconds between a report that came at `now` and this clock; infinity without a report before."""
        return inf if self._accepted is None else _apart_s(self._accepted, reported, now)

    def _confirmed(self, reported: int, now: float) -> bool:
        """Returns True if the report before did not fit either, and agrees; keeps this one for the next comparison."""
        before, self._candidate = self._candidate, (reported, now)
        return before is not None and _apart_s(before, reported, now) <= _SET_S


def _apart_s(before: tuple[int, float], reported: int, now: float) -> float:
    """Returns the seconds by which the time between two reports differs from what they say."""
    said, came_at = before
    return abs(ntp_delta(reported, said) / _TICKS_PER_S - (now - came_at))
