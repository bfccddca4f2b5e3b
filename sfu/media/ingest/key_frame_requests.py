"""When to ask a producer for a key frame, however many viewers want one and however often.

Owns merging and repeating the requests. Never sends anything and never reads a clock: `now` comes in, in seconds.
"""

from __future__ import annotations

from typing import Final

from sfu.media.token_bucket import TokenBucket

_INTERVAL_S: Final = 0.5
_MAX_REPEATS: Final = 10
_ANSWER_S: Final = 0.6
"""A key frame within this time counts as the answer to a request."""
_BURST_REQUESTS: Final = 20
_REQUESTS_PER_S: Final = 0.5
_MIN_PAUSE_S: Final = 0.1


class KeyFrameBudget:
    """The key frame requests that one slot of a viewer may cause: each costs all other viewers picture quality.

    One in 0.1 s, 20 of them in a row, and then one in 2 s: if that many did not help, more will not.
    """

    def __init__(self) -> None:
        self._requests = TokenBucket(_REQUESTS_PER_S, _BURST_REQUESTS)
        self._allowed_at = float("-inf")

    def allow(self, now: float) -> bool:
        """Returns True if a request that arrives now may be passed on, and counts it."""
        if now < self._allowed_at + _MIN_PAUSE_S:
            return False
        self._requests.fill(now)
        if self._requests.tokens < 1:
            return False
        self._requests.tokens -= 1
        self._allowed_at = now
        return True


class KeyFrameRequests:
    """The key frame requests of one producer: at most one per half second, repeated while they stay unanswered.

    A camera may lose a request, or need time to start. A request is repeated each interval, up to ten times, until a
    key frame arrives.
    """

    def __init__(self) -> None:
        self.heeded = False
        """True if a key frame arrived soon after the latest answered request. Many cameras ignore all requests."""
        self._sent_at: float | None = None
        self._asked_at: float | None = None
        self._repeats = 0
        self._next_due: float | None = None

    @property
    def next_due(self) -> float | None:
        """Returns when to call `due` next, in seconds; None while no request waits."""
        return self._next_due

    def request(self, now: float) -> bool:
        """Notes that a consumer needs a key frame. Returns True if a request must be sent now, else one will be due."""
        self._repeats = _MAX_REPEATS
        if self._sent_at is not None and now < self._sent_at + _INTERVAL_S:
            self._next_due = self._sent_at + _INTERVAL_S
            return False
        self._sent(now)
        return True

    def key_frame(self, now: float) -> None:
        """Notes that a key frame starts to arrive, which serves every consumer that waits."""
        self._next_due = None
        if self._asked_at is not None:
            self.heeded = now < self._asked_at + _ANSWER_S
            self._asked_at = None

    def due(self, now: float) -> bool:
        """Returns True if a delayed or unanswered request must be sent now, and counts it as sent."""
        if self._next_due is None or now < self._next_due:
            return False
        self._sent(now)
        return True

    def _sent(self, now: float) -> None:
        self._sent_at = now
        if self._asked_at is None:
            self._asked_at = now
        self._next_due = now + _INTERVAL_S if self._repeats else None
        self._repeats -= 1
