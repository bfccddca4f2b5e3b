"""The trust in the wall clock that deletion by age needs: a clock that leaps must not cost a month of recordings.

Owns the decision (pure) and the reading of the kernel's own opinion. Never changes a clock, never deletes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_DAY_US: Final = 86_400_000_000
_CONTINUOUS_US: Final = _DAY_US
"""A clock that agrees with recordings of this length, without a gap as long, is right."""
_LEAP_US: Final = 60_000_000
"""A change of the wall clock against the monotonic clock that is no correction of drift."""
_STEADY_S: Final = 86_400.0
"""Otherwise the time for which it must run without a leap."""
_STEADY_SYNCHRONIZED_S: Final = 3_600.0
"""The same if the kernel says that the clock follows a time server."""
_TIME_ERROR: Final = 5
"""The answer of adjtimex(2) for a clock that follows no time server."""
_TIMEX_BYTES: Final = 512
_SYNCHRONIZED: Final = Path("/run/systemd/timesync/synchronized")


class ClockTrust:
    """The trust in one machine's clock. `now`: seconds of a clock that never leaps and counts sleep too."""

    def __init__(self) -> None:
        self._epoch_us: float | None = None
        self._steady_since = 0.0

    def doubt(
        self, now: float, wall_us: int, recorded: Iterable[tuple[int, int]], *, synchronized: bool | None
    ) -> str | None:
        """Returns why nothing is to be deleted by age now; None if the clock is to be trusted.

        `recorded`: start and end of every recording on the disk, in microseconds of UTC. `synchronized`: True if the
        clock follows a time server, None if nobody knows. Call it regularly.
        """
        epoch_us = wall_us - now * 1e6
        if self._epoch_us is None or abs(epoch_us - self._epoch_us) > _LEAP_US:
            self._steady_since = now
        self._epoch_us = epoch_us
        wait_s = _STEADY_SYNCHRONIZED_S if synchronized else _STEADY_S
        if now - self._steady_since >= wait_s:
            return None
        gap_us = _latest_gap(recorded, wall_us)
        if gap_us is None:
            return None
        return f"the clock says that nothing was recorded for {gap_us / _DAY_US:.1f} days, and may be wrong"


def _latest_gap(recorded: Iterable[tuple[int, int]], now_us: int) -> int | None:
    """Returns the length of the gap that lies less than a day back; None if there is none, or nothing before it."""
    begin_us = now_us
    for start_us, end_us in sorted(recorded, key=lambda one: one[1], reverse=True):
        if start_us > now_us:
            continue
        if begin_us - end_us > _CONTINUOUS_US:
            return begin_us - end_us
        begin_us = min(begin_us, start_us)
        if now_us - begin_us >= _CONTINUOUS_US:
            return None
    return None


def kernel_synchronized() -> bool | None:
    """Returns True if the kernel's clock follows a time server, False if not; None if the kernel does not tell."""
    if _SYNCHRONIZED.exists():
        return True
    try:
        state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    except (OSError, AttributeError):  # another kernel than Linux
        return None
    return None if state < 0 else state != _TIME_ERROR
