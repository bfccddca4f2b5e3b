"""The search for the most viewers that a machine serves well: doubles the viewers, then bisects. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

DELIVERED_SHARE = 0.995
P99_MS = 100.0


def served_well(delivered: float | None, p99_ms: float | None, failed: int, *, timed: bool = True) -> bool:
    """Returns True if 99.5 % of packets were delivered, 99 % of them within 100 ms, and no viewer failed.

    `timed`: False if latency cannot be measured; then it is not judged.
    """
    in_time = not timed or (p99_ms is not None and p99_ms <= P99_MS)
    return failed == 0 and delivered is not None and delivered >= DELIVERED_SHARE and in_time


@dataclass(slots=True)
class LimitSearch:
    """One search. Try `next` viewers and `report` the outcome until `next` is None; then `best` is the limit.

    The limit may be higher than `best` by `precision`, a share of `best`. `most` ends the doubling.
    """

    start: int = 50
    precision: float = 0.05
    most: int = 100_000
    best: int = 0
    """Most viewers served well so far."""
    _failed: int | None = field(default=None, init=False)

    @property
    def next(self) -> int | None:
        """Returns the number of viewers to try; None when the limit is known."""
        if self._failed is None:
            following = min(self.start if self.best == 0 else 2 * self.best, self.most)
            return following if following > self.best else None
        if self._failed - self.best <= max(1, self.precision * self.best):
            return None
        return (self.best + self._failed) // 2

    def report(self, viewers: int, well: bool) -> None:
        """Notes the outcome of a step with `viewers` viewers."""
        if well:
            self.best = max(self.best, viewers)
        else:
            self._failed = viewers if self._failed is None else min(self._failed, viewers)
