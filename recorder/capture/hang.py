"""The watch over a disk that does not answer: a thread that waits for it can say nothing itself.

Owns when a wait is so long that people must know of it (pure). Never ends the wait: only the disk can.
"""

from __future__ import annotations

from typing import Final

HANG_S: Final = 2.5
"""A wait of this length is reported; a busy disk answers sooner."""
_CHECKS: Final = 2
"""Checks that must agree: if the whole process stood still, the thread is on its way already."""


class HangWatch:
    """The watch over one thread that writes."""

    def __init__(self) -> None:
        self.count = 0
        """Number of hangs that began."""
        self._long = 0
        self._reported = False

    def check(self, busy_s: float) -> bool | None:
        """Returns True if a hang begins and False if it ends; None otherwise. Call it several times a second or so.

        `busy_s`: the seconds for which the thread has been at its present piece of work, 0 if it waits for work.
        """
        self._long = self._long + 1 if busy_s >= HANG_S else 0
        hangs = self._long >= _CHECKS or (self._reported and self._long > 0)
        if hangs is self._reported:
            return None
        self._reported = hangs
        self.count += hangs
        return hangs
