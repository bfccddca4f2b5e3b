"""How durations are spread: counted in steps of 1.6 %, so that memory is bounded however many come. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

_EXACT_BITS = 6
"""Durations below 64 us are exact; above, the first seven bits count."""


def step(us: int) -> int:
    """The number of the step that holds a duration of `us` microseconds."""
    shift = max(us.bit_length() - _EXACT_BITS - 1, 0)
    return (shift << _EXACT_BITS) + (us >> shift)


def highest(number: int) -> int:
    """The longest duration, in microseconds, that step `number` holds."""
    shift = max((number >> _EXACT_BITS) - 1, 0)
    return ((number - (shift << _EXACT_BITS) + 1) << shift) - 1


class Spread:
    """Durations in microseconds, forgotten but for their step and the longest of all."""

    __slots__ = ("_steps", "count", "max_us")

    def __init__(self, steps: Mapping[int, int] | None = None, max_us: int = 0) -> None:
        self._steps = Counter(steps or {})
        self.count = self._steps.total()
        self.max_us = max_us

    def add(self, us: int) -> None:
        """One duration; a negative one, from clocks that disagree, counts as 0."""
        us = max(us, 0)
        self._steps[step(us)] += 1
        self.count += 1
        self.max_us = max(self.max_us, us)

    def merge(self, other: Spread) -> None:
        """Adds all of `other`'s."""
        self._steps.update(other._steps)
        self.count += other.count
        self.max_us = max(self.max_us, other.max_us)

    def take(self) -> Spread:
        """All so far; counting begins anew."""
        taken = Spread(self._steps, self.max_us)
        self.__init__()  # type: ignore[misc]
        return taken

    def quantile_ms(self, share: float) -> float | None:
        """What `share` of all durations do not exceed, in ms; None without any."""
        below = 0
        for number in sorted(self._steps):
            below += self._steps[number]
            if below >= share * self.count:
                return min(highest(number), self.max_us) / 1000
        return None

    def curve_ms(self, points: int = 100) -> list[tuple[float, float]]:
        """(share in %, duration in ms) at evenly spaced shares, for a plot."""
        if not self.count:
            return []
        shares = [number / points for number in range(1, points + 1)]
        return [(100 * share, self.quantile_ms(share) or 0.0) for share in shares]
