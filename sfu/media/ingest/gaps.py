"""Which packets of a camera's stream are missing, and when to ask for them again (NACK, RFC 4585 section 6.2.1).

Owns the waiting, the back-off and the giving up of one producer. Never sends anything itself and never reads a clock:
`now` comes in, in seconds.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final

_REORDERING: Final = 0.01
_LATER: Final = 3
_LEAST_WAIT: Final = 0.02
_TRIPS: Final = 1.5
_SMOOTHING: Final = 1 / 8
_PAUSE: Final = 0.005
"""Seconds between two looks at all that is missing, however many holes a camera makes."""
_MAX_REQUESTS: Final = 10
_MAX_MISSING: Final = 512
_NEVER: Final = float("inf")


class _Missing:
    """One packet that has not come, though a later one has."""

    __slots__ = ("asked_at", "enough", "found_at", "requests", "wait_until")

    def __init__(self, now: float, enough: int) -> None:
        self.found_at = now
        self.enough = enough
        self.requests = 0
        self.asked_at = now
        self.wait_until = now + _REORDERING


class Gaps:
    """The holes in one stream: each asked for after 10 ms or three later packets, and again while it stays open.

    Between requests pass one and a half round trips, at least 20 ms, then twice as long each time. A packet is given up
    after ten requests or `seconds`; so is the oldest when more than 512 are missing, and all if one hole is larger.
    """

    def __init__(self, *, seconds: float = 1.0) -> None:
        self.nacked = 0
        """Packets asked for, each counted once."""
        self.recovered = 0
        """Those of them that came."""
        self.reordered = 0
        """Packets that came after later ones, before they were asked for."""
        self.abandoned = 0
        """Packets given up."""
        self.late = 0
        """Packets from before the newest that were not missing: given up already, or duplicates."""
        self.round_trip = 0.1
        """Seconds from a request to the packet, as of late; whatever the camera takes to answer is in it."""
        self._seconds = seconds
        self.restart()

    def restart(self) -> None:
        """Forgets all holes: another stream begins, with whichever packet comes next."""
        self._expected: int | None = None
        self._missing: dict[int, _Missing] = {}  # by rising index
        self._new: deque[int] = deque()  # those of them that fewer than three later packets have followed
        self._newer = 0  # packets that came, less those out of order, while any were missing
        self._enough = _NEVER  # that many make the first of the new ones due
        self.due_at = _NEVER
        """When `due` wants to be asked, in seconds; infinity while nothing is missing."""
        self._paused_until = 0.0
        self._key = -1
        self._lost = -1

    def received(self, index: int, now: float, count: int = 1) -> None:
        """Packets came, `count` in a row from this unwrapped sequence number on."""
        if index == self._expected:
            self._expected = index + count
            if self._missing:
                self._newer += count
                if self._newer >= self._enough:
                    self._hurry(now)
        else:
            self._out_of_order(index, now)
            if count > 1:
                self.received(index + 1, now, count - 1)

    def key_frame(self, index: int) -> None:
        """A key frame starts at `index`: an earlier packet that is given up harms nobody any more."""
        self._key = max(self._key, index)

    def due(self, now: float) -> list[int]:
        """Indexes to ask for now, rising; they then count as asked for."""
        if now < self.due_at:
            return []
        wait = max(self.round_trip * _TRIPS, _LEAST_WAIT)
        asked: list[int] = []
        for index, missing in list(self._missing.items()):
            if now >= missing.found_at + self._seconds:
                self._give_up(index)
            elif now < missing.wait_until:
                continue
            elif missing.requests == _MAX_REQUESTS:
                self._give_up(index)
            else:
                self.nacked += not missing.requests
                missing.wait_until = now + wait * 2**missing.requests
                missing.requests += 1
                missing.asked_at = now
                asked.append(index)
        self._paused_until = now + _PAUSE
        earliest = [min(each.wait_until, each.found_at + self._seconds) for each in self._missing.values()]
        self.due_at = max(min(earliest, default=_NEVER), self._paused_until)
        return asked

    def wants_key_frame(self) -> bool:
        """Whether packets that no later key frame made good were given up since the last call."""
        lost, self._lost = self._lost, -1
        return lost > self._key

    def _out_of_order(self, index: int, now: float) -> None:
        if self._expected is None:
            self._expected = index + 1
        elif index > self._expected:
            self._hole(self._expected, index, now)
            self._expected = index + 1
        else:
            self._fill(index, now)

    def _hole(self, first: int, end: int, now: float) -> None:
        size = end - first
        self._newer += 1
        excess = len(self._missing) + size - _MAX_MISSING
        if excess > 0:
            for index in list(islice(self._missing, excess)):
                self._give_up(index)
        if size > _MAX_MISSING:
            self.abandoned += size
            self._lost = end - 1
            self._rest()
        else:
            for index in range(first, end):
                self._missing[index] = _Missing(now, self._newer + _LATER - 1)
                self._new.append(index)
            self._look_by(now + min(_REORDERING, self._seconds))
        self._hurry(now)

    def _hurry(self, now: float) -> None:
        """Makes due what enough later packets have followed."""
        self._enough = _NEVER
        while self._new:
            missing = self._missing.get(self._new[0])
            if missing is not None and not missing.requests:
                if missing.enough > self._newer:
                    self._enough = missing.enough
                    return
                missing.wait_until = now
                self._look_by(now)
            self._new.popleft()

    def _look_by(self, moment: float) -> None:
        self.due_at = min(self.due_at, max(moment, self._paused_until))

    def _fill(self, index: int, now: float) -> None:
        missing = self._missing.pop(index, None)
        if missing is None:
            self.late += 1
            return
        if missing.requests:
            self.recovered += 1
            if missing.requests == 1:  # else nobody knows which request it answers
                self.round_trip += (now - missing.asked_at - self.round_trip) * _SMOOTHING
        else:
            self.reordered += 1
        if not self._missing:
            self._rest()

    def _rest(self) -> None:
        """Nothing is missing."""
        self._new.clear()
        self._enough = self.due_at = _NEVER

    def _give_up(self, index: int) -> None:
        del self._missing[index]
        self.abandoned += 1
        self._lost = max(self._lost, index)
