"""What of a link is told by counts over time: rates, least values of late, and how fast to believe in more.

Pure arithmetic for `bandwidth`. Never reads a clock: times come in, in seconds.
"""

from __future__ import annotations

from collections import deque
from math import inf

_GROWTH_PER_S = 0.08
_MAX_GROWTH_S = 5.0
_UNSEEN = 1.5
"""Beyond this many times what arrives, growth would be a guess."""
_UNSEEN_BPS = 10_000
_FLOOR_LASTS_S = 10.0


class Rate:
    """A bitrate over the last `window` seconds."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._parts: deque[tuple[float, int]] = deque()
        self._total = 0

    def add(self, octets: int, at: float) -> None:
        """Counts bytes; parts of a second that lie close are kept as one."""
        if self._parts and at - self._parts[-1][0] < self._window / 16:
            at, before = self._parts.pop()
            self._parts.append((at, before + octets))
        else:
            self._parts.append((at, octets))
        self._total += octets
        self._expire(at)

    def bitrate(self, now: float) -> float:
        """In bit/s."""
        self._expire(now)
        return self._total * 8 / self._window

    def _expire(self, now: float) -> None:
        while self._parts and self._parts[0][0] <= now - self._window:
            self._total -= self._parts.popleft()[1]


class Floor:
    """The least value of the last ten to twenty seconds."""

    def __init__(self) -> None:
        self.value = inf
        self._recent = inf
        self._since = -inf

    def add(self, value: float, at: float) -> None:
        """Counts one value."""
        if at - self._since > _FLOOR_LASTS_S:
            self.value, self._recent, self._since = self._recent, inf, at
        self._recent = min(self._recent, value)
        self.value = min(self.value, value)


def grown(estimate: float, elapsed: float, seen: float) -> float:
    """At least what is seen to be carried, else more by 8 % a second, but not far beyond what is."""
    growth = 1 + _GROWTH_PER_S * min(max(0.0, elapsed), _MAX_GROWTH_S)
    return max(estimate, seen, min(estimate * growth, _UNSEEN * seen + _UNSEEN_BPS))
