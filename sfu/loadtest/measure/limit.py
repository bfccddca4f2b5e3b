"""The search for the most viewers a machine carries: doubling while all is well, then halving the gap. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

DELIVERED = 0.995
P99_MS = 100.0


def carried(delivered: float | None, p99_ms: float | None, failed: int, *, timed: bool = True) -> bool:
    """Whether a step went well: 99.5 % delivered, 99 % of it within 100 ms, and nobody turned away.

    Where nothing is `timed` there is no latency to judge by.
    """
    in_time = not timed or (p99_ms is not None and p99_ms <= P99_MS)
    return failed == 0 and delivered is not None and delivered >= DELIVERED and in_time


@dataclass(slots=True)
class LimitSearch:
    """Ask `next`, try that many viewers, `tell` how it went, until `next` is None; then `best` is the answer.

    `precision` is the share of the answer by which it may be short. `most` ends the doubling.
    """

    start: int = 50
    precision: float = 0.05
    most: int = 100_000
    best: int = 0
    _failed: int | None = field(default=None, init=False)

    @property
    def next(self) -> int | None:
        """How many viewers to try; None when the limit is known well enough."""
        if self._failed is None:
            following = min(self.start if self.best == 0 else 2 * self.best, self.most)
            return following if following > self.best else None
        if self._failed - self.best <= max(1, self.precision * self.best):
            return None
        return (self.best + self._failed) // 2

    def tell(self, viewers: int, well: bool) -> None:
        """How a step with so many viewers went."""
        if well:
            self.best = max(self.best, viewers)
        else:
            self._failed = viewers if self._failed is None else min(self._failed, viewers)
