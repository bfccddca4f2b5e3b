"""Missing packets of a camera's stream, and when to request them (NACK, RFC 4585 section 6.2.1).

Owns the delays, the back-off and the giving up for one producer. Never sends anything itself and never reads a clock:
`now` comes in, in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set
from itertools import islice
from math import inf
from typing import Final

_REORDERING_S: Final = 0.01
"""A missing packet is requested after this time, or after `_REORDERING_PACKETS` later packets."""
_REORDERING_PACKETS: Final = 3
_MIN_WAIT_S: Final = 0.02
_WAIT_FACTOR: Final = 1.5
"""Round trips between two requests for the same packet; doubles each time."""
_SMOOTHING_FACTOR: Final = 1 / 8
_PAUSE_S: Final = 0.005
"""Time between two passes over all missing packets, which bounds the work that a lossy camera can cause."""
_MAX_REQUESTS: Final = 10
_MAX_MISSING_PACKETS: Final = 512


class _Missing:
    """One packet that has not arrived although a later one has."""

    __slots__ = ("asked_at", "enough", "found_at", "requests", "wait_until")

    def __init__(self, now: float, enough: int) -> None:
        self.found_at = now
        self.enough = enough
        self.requests = 0
        self.asked_at = now
        self.wait_until = now + _REORDERING_S


class Gaps:
    """The gaps in one stream. A missing packet is requested after 10 ms or three later packets, and then repeatedly.

    The time between requests is one and a half round trips, at least 20 ms, and doubles each time. A packet is given up
    after ten requests or `seconds`. The oldest are given up when more than 512 are missing, and all packets of a gap
    that is larger than that.
    """

    def __init__(self, *, seconds: float = 1.0) -> None:
        self.nacked = 0
        """Packets requested, each counted once."""
        self.recovered = 0
        """Requested packets that arrived."""
        self.reordered = 0
        """Packets that arrived after later ones, before they were requested."""
        self.abandoned = 0
        """Packets given up."""
        self.late = 0
        """Packets before the newest one that were not missing: given up already, or duplicates."""
        self.round_trip = 0.1
        """Seconds from a request to the packet, smoothed. Includes the time that the camera takes to answer."""
        self._seconds = seconds
        self.restart()

    def restart(self) -> None:
        """Forgets all gaps: another stream begins with the next packet."""
        self._expected: int | None = None
        self._missing: dict[int, _Missing] = {}  # by rising index
        self._new: deque[int] = deque()  # missing packets that fewer than three later packets have followed
        self._newer = 0  # packets that arrived in order while any were missing
        self._enough = inf  # the value of `_newer` that makes the first of `_new` due
        self.due_at = inf
        """When to call `due` next, in seconds; infinity while no packet is missing."""
        self._paused_until = 0.0
        self._key = -1
        self._lost = -1

    @property
    def missing(self) -> Set[int]:
        """Returns the unwrapped sequence numbers of the packets that are missing now; at most 512."""
        return self._missing.keys()

    @property
    def reordering(self) -> int:
        """Returns the number of packets that are watched for reordering; at most three times the missing ones."""
        return len(self._new)

    def received(self, index: int, now: float, count: int = 1) -> None:
        """Notes `count` consecutive packets from this unwrapped sequence number on."""
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
        """Notes that a key frame starts at `index`. Giving up an earlier packet then needs no new key frame."""
        self._key = max(self._key, index)

    def due(self, now: float) -> list[int]:
        """Returns the rising indexes of packets to request now, and counts them as requested."""
        if now < self.due_at:
            return []
        wait = max(self.round_trip * _WAIT_FACTOR, _MIN_WAIT_S)
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
        self._paused_until = now + _PAUSE_S
        earliest = [min(each.wait_until, each.found_at + self._seconds) for each in self._missing.values()]
        self.due_at = max(min(earliest, default=inf), self._paused_until)
        return asked

    def wants_key_frame(self) -> bool:
        """Returns True if packets were given up since the last call and no later key frame has started."""
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
        excess = len(self._missing) + size - _MAX_MISSING_PACKETS
        if excess > 0:
            for index in list(islice(self._missing, excess)):
                self._give_up(index)
        if size > _MAX_MISSING_PACKETS:
            self.abandoned += size
            self._lost = end - 1
            self._rest()
        else:
            for index in range(first, end):
                self._missing[index] = _Missing(now, self._newer + _REORDERING_PACKETS - 1)
                self._new.append(index)
            self._look_by(now + min(_REORDERING_S, self._seconds))
        self._hurry(now)

    def _hurry(self, now: float) -> None:
        """Makes those missing packets due that enough later packets have followed."""
        self._enough = inf
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
            if missing.requests == 1:  # otherwise it is unknown which request it answers
                self.round_trip += (now - missing.asked_at - self.round_trip) * _SMOOTHING_FACTOR
        else:
            self.reordered += 1
        if not self._missing:
            self._rest()

    def _rest(self) -> None:
        """Stops all timers: no packet is missing."""
        self._new.clear()
        self._enough = self.due_at = inf

    def _give_up(self, index: int) -> None:
        del self._missing[index]
        self.abandoned += 1
        self._lost = max(self._lost, index)
