"""When to ask a producer for a key frame, however many viewers want one, and however often.

Owns the coalescing and the repeating. Never sends anything itself and never reads a clock: `now` comes in, in seconds.
"""

from __future__ import annotations

_INTERVAL = 0.5
_REPEATS = 10
_ANSWER = 0.6  # seconds within which a key frame counts as the answer to a request
_AT_ONCE = 20.0
_LEAST_PAUSE = 0.1
_PER_S = 0.5


class KeyFrameBudget:
    """The key frame requests that one slot of a viewer may cause: each costs the picture of all others.

    One in 0.1 s, 20 of them in a row and then one in 2 s: what that many did not mend, more of them will not.
    """

    def __init__(self) -> None:
        self._left = _AT_ONCE
        self._at = float("-inf")

    def allow(self, now: float) -> bool:
        """Whether a request that comes now is to be heeded."""
        if now < self._at + _LEAST_PAUSE:
            return False
        left = min(_AT_ONCE, self._left + (now - self._at) * _PER_S)
        if left < 1:
            return False
        self._left, self._at = left - 1, now
        return True


class KeyFrameRequests:
    """The key frame requests of one producer: at most one per half second, repeated while they stay unanswered.

    Cameras lose requests, or take a while to start: one that no key frame follows is repeated each interval, ten times.
    """

    def __init__(self) -> None:
        self.heeded = False
        """Whether a key frame came soon after the latest request that had the time: many cameras never heed one."""
        self._sent_at: float | None = None
        self._asked_at: float | None = None
        self._repeats = 0
        self._next_due: float | None = None

    @property
    def next_due(self) -> float | None:
        """When `due` will want to be asked; None while nothing waits."""
        return self._next_due

    def request(self, now: float) -> bool:
        """A consumer needs a key frame. True: send a request now; False: one is on its way, or will be `due`."""
        self._repeats = _REPEATS
        if self._sent_at is not None and now < self._sent_at + _INTERVAL:
            self._next_due = self._sent_at + _INTERVAL
            return False
        self._sent(now)
        return True

    def key_frame(self, now: float) -> None:
        """A key frame starts to arrive: everyone who waits is served by it."""
        self._next_due = None
        if self._asked_at is not None:
            self.heeded = now < self._asked_at + _ANSWER
            self._asked_at = None

    def due(self, now: float) -> bool:
        """Whether a remembered or unanswered request is to be sent now; it then counts as sent."""
        if self._next_due is None or now < self._next_due:
            return False
        self._sent(now)
        return True

    def _sent(self, now: float) -> None:
        self._sent_at = now
        if self._asked_at is None:
            self._asked_at = now
        self._next_due = now + _INTERVAL if self._repeats else None
        self._repeats -= 1
