"""How often a leaf may speak: a pure sliding count that forgets by itself."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW: Final = 10.0  # seconds


class MessageRates:
    """Messages per leaf in the last `WINDOW` seconds, for at most `leaves` leaves at a time."""

    def __init__(self, limit: int, *, leaves: int = 20_000) -> None:
        self._limit = limit
        self._leaves = leaves
        self._arrivals: dict[object, deque[float]] = {}
        self._told: dict[object, float] = {}

    def allow(self, leaf: object, now: float) -> bool:
        """Counts one message; False when it is one too many."""
        arrivals = self._arrivals.get(leaf)
        if arrivals is None:
            if len(self._arrivals) >= self._leaves:
                self.forget(now)
            arrivals = self._arrivals[leaf] = deque(maxlen=self._limit)
        if len(arrivals) == self._limit and now - arrivals[0] < WINDOW:
            return False
        arrivals.append(now)
        return True

    def tell(self, leaf: object, now: float) -> float | None:
        """Seconds after which a refused leaf may speak again; None when it was told already in this window."""
        if now - self._told.get(leaf, -WINDOW) < WINDOW:
            return None
        self._told[leaf] = now
        arrivals = self._arrivals.get(leaf)
        return WINDOW if not arrivals else max(0.1, arrivals[0] + WINDOW - now)

    def forget(self, now: float) -> None:
        """Drops leaves that have been quiet for a window; all of them when that frees nothing."""
        quiet = [leaf for leaf, arrivals in self._arrivals.items() if not arrivals or now - arrivals[-1] >= WINDOW]
        for leaf in quiet if len(self._arrivals) - len(quiet) < self._leaves else list(self._arrivals):
            self._arrivals.pop(leaf, None)
            self._told.pop(leaf, None)
