"""A minimum over a sliding window, in constant memory.

Owns that arithmetic. Never reads a clock: times come in, in whatever unit the window has.
"""

from __future__ import annotations

from math import inf


class WindowedMinimum:
    """The least value of at least the last window, mostly up to two, of three if values come rarely.

    Values are kept in two buckets: the present one and the one before it. A bucket begins with a value.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._since = -inf
        self._recent = self._before = inf

    @property
    def least(self) -> float:
        """Returns the least value; infinity before the first `add`."""
        return min(self._recent, self._before)

    def add(self, value: float, now: float) -> None:
        """Counts one value."""
        age = now - self._since
        if age > 2 * self._window:
            self._since, self._before, self._recent = now, inf, value
        elif age > self._window:
            self._since, self._before, self._recent = now, self._recent, value
        else:
            self._recent = min(self._recent, value)
