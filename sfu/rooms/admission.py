"""What a leaf may cost before and besides its session: messages in a window, candidates that come before the offer."""

from __future__ import annotations

from collections import deque
from typing import Final

from sfu.signaling.bodies import Candidate
from sfu.signaling.topics import Leaf

WINDOW: Final = 10.0  # seconds


class MessageRates:
    """Messages per leaf in the last `WINDOW` seconds, for at most `leaves` leaves at a time."""

    def __init__(self, limit: int, *, leaves: int = 20_000) -> None:
        self._limit = limit
        self._leaves = leaves
        self._arrivals: dict[Leaf, deque[float]] = {}
        self._told: dict[Leaf, float] = {}

    def allow(self, leaf: Leaf, now: float) -> bool:
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

    def tell(self, leaf: Leaf, now: float) -> float | None:
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


class EarlyCandidates:
    """Candidates that overtook their offer, which brokers and impatient clients bring about."""

    def __init__(self, *, leaves: int = 1000, each: int = 64, age: float = 30.0) -> None:
        """At most `each` of at most `leaves` leaves, for `age` seconds."""
        self._leaves = leaves
        self._each = each
        self._age = age
        self._kept: dict[Leaf, tuple[float, deque[Candidate]]] = {}

    def keep(self, leaf: Leaf, candidate: Candidate, now: float) -> None:
        """Remembers one; the oldest of the leaf goes first, a new leaf beyond the bound is not remembered."""
        if leaf not in self._kept and len(self._kept) >= self._leaves:
            self.forget(now)
            if len(self._kept) >= self._leaves:
                return
        self._kept.setdefault(leaf, (now, deque(maxlen=self._each)))[1].append(candidate)

    def forget(self, now: float) -> None:
        """Drops those whose offer did not come."""
        self._kept = {leaf: kept for leaf, kept in self._kept.items() if now - kept[0] < self._age}

    def take(self, leaf: Leaf, now: float) -> list[Candidate]:
        """Those of a leaf whose offer has come."""
        at, candidates = self._kept.pop(leaf, (now, ()))
        return list(candidates) if now - at < self._age else []
