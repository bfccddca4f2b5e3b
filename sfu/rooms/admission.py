"""Limits for peers that are not connected: messages per time, early candidates, sessions that have not connected yet.

Owns counting and keeping them. Pure: `now` comes in, in seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from sfu.media.token_bucket import TokenBucket
from sfu.signaling.bodies import Candidate
from sfu.signaling.topics import Leaf

RATE_WINDOW_S: Final = 10.0
_MIN_RETRY_AFTER_S: Final = 0.1
_ANSWERS_PER_S: Final = 100.0
"""Refusals in words of all leaves together: anybody can invent leaves, and a flood needs no answers."""
_HALF_OPEN: Final = ((False, 200, 3.0), (True, 1000, 5.0))
"""For rooms without and with media: the most sessions that have not connected, and the seconds each has at least."""


@dataclass(frozen=True, slots=True)
class _HalfOpenSide:
    since: dict[Leaf, float]
    most: int
    least_s: float


class MessageRates:
    """The messages of each leaf in the last `RATE_WINDOW_S`, for at most `leaves` leaves at a time.

    Keeps each arrival, so that a refusal can state when the next message is allowed.
    """

    def __init__(self, limit: int, *, leaves: int = 20_000) -> None:
        self._limit = limit
        self._leaves = leaves
        self._arrivals: dict[Leaf, deque[float]] = {}
        self._refused_at: dict[Leaf, float] = {}
        self._answers = TokenBucket(_ANSWERS_PER_S, _ANSWERS_PER_S)

    @property
    def known(self) -> int:
        """Returns the number of leaves whose messages or refusals are remembered."""
        return len(self._arrivals.keys() | self._refused_at.keys())

    def allow(self, leaf: Leaf, now: float) -> bool:
        """Counts one message. Returns False if it exceeds the limit."""
        arrivals = self._arrivals.get(leaf)
        if arrivals is None:
            if len(self._arrivals) >= self._leaves:
                self.forget(now)
            arrivals = self._arrivals[leaf] = deque(maxlen=self._limit)
        if len(arrivals) == self._limit and now - arrivals[0] < RATE_WINDOW_S:
            return False
        arrivals.append(now)
        return True

    def retry_after(self, leaf: Leaf, now: float) -> float | None:
        """Returns the seconds after which a refused leaf may send again; None if it gets no answer now.

        One error message per window is enough.
        """
        self._answers.fill(now)
        if self._answers.tokens < 1 or now - self._refused_at.get(leaf, -RATE_WINDOW_S) < RATE_WINDOW_S:
            return None
        self._answers.tokens -= 1
        self._refused_at[leaf] = now
        arrivals = self._arrivals.get(leaf)
        return RATE_WINDOW_S if not arrivals else max(_MIN_RETRY_AFTER_S, arrivals[0] + RATE_WINDOW_S - now)

    def forget(self, now: float) -> None:
        """Forgets leaves that were quiet for a window. Forgets all leaves if that does not free enough."""
        quiet = [
            leaf for leaf, arrivals in self._arrivals.items() if not arrivals or now - arrivals[-1] >= RATE_WINDOW_S
        ]
        for leaf in quiet if len(self._arrivals) - len(quiet) < self._leaves else list(self._arrivals):
            self._arrivals.pop(leaf, None)
            self._refused_at.pop(leaf, None)
        self._refused_at = {leaf: at for leaf, at in self._refused_at.items() if now - at < RATE_WINDOW_S}


class HalfOpen:
    """The leaves whose sessions have not connected yet, in order of their beginning.

    A peer that means to connect needs less than a second; one that only offers would keep its session until the ICE
    agent gives up. So beyond a number of them the oldest must end sooner. Those in rooms where media flows are counted
    apart: anybody can invent rooms.
    """

    def __init__(self) -> None:
        self._sides = {live: _HalfOpenSide({}, most, least_s) for live, most, least_s in _HALF_OPEN}

    def add(self, leaf: Leaf, now: float, *, live: bool) -> None:
        """Adds a leaf; `live` if media flows in its room."""
        self.remove(leaf)
        self._sides[live].since[leaf] = now

    def remove(self, leaf: Leaf) -> None:
        """Removes a leaf whose session has connected or ended."""
        for side in self._sides.values():
            side.since.pop(leaf, None)

    def surplus(self, now: float) -> list[Leaf]:
        """Returns the leaves whose sessions must end, the oldest first."""
        found: list[Leaf] = []
        for side in self._sides.values():
            oldest = list(side.since)[: max(0, len(side.since) - side.most)]
            found += [leaf for leaf in oldest if now - side.since[leaf] >= side.least_s]
        return found


class EarlyCandidates:
    """Candidates that arrived before their offer. Brokers reorder messages, and some clients send them early."""

    def __init__(self, *, leaves: int = 1000, each: int = 64, age: float = 30.0) -> None:
        """Keeps at most `each` candidates of at most `leaves` leaves, for `age` seconds."""
        self._leaves = leaves
        self._each = each
        self._age = age
        self._kept: dict[Leaf, tuple[float, deque[Candidate]]] = {}

    @property
    def known(self) -> int:
        """Returns the number of leaves with candidates."""
        return len(self._kept)

    def keep(self, leaf: Leaf, candidate: Candidate, now: float) -> None:
        """Keeps one candidate. The oldest one of the leaf is dropped first; beyond the bound new leaves are ignored."""
        if leaf not in self._kept and len(self._kept) >= self._leaves:
            self.forget(now)
            if len(self._kept) >= self._leaves:
                return
        self._kept.setdefault(leaf, (now, deque(maxlen=self._each)))[1].append(candidate)

    def forget(self, now: float) -> None:
        """Drops the candidates whose offer has not arrived in time."""
        self._kept = {leaf: kept for leaf, kept in self._kept.items() if now - kept[0] < self._age}

    def take(self, leaf: Leaf, now: float) -> list[Candidate]:
        """Removes and returns the candidates of a leaf whose offer has arrived."""
        at, candidates = self._kept.pop(leaf, (now, ()))
        return list(candidates) if now - at < self._age else []
