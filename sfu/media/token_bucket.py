"""A token bucket, for limits that allow bursts.

Owns that arithmetic. Never reads a clock: `now` comes in, in seconds.
"""

from __future__ import annotations


class TokenBucket:
    """Tokens that come back at `rate` a second, up to `burst`. Full at first.

    Callers `fill` it, then look at `tokens` and subtract what they use, so that several buckets can decide together.
    """

    __slots__ = ("_filled_at", "burst", "rate", "tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self.tokens = burst
        self._filled_at: float | None = None

    def fill(self, now: float) -> None:
        """Adds the tokens that have come back since the last call."""
        if self._filled_at is not None and now > self._filled_at:
            self.tokens = min(self.burst, self.tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
