"""Histogram of durations in steps of at most 1.6 %, so that memory is bounded however many durations are added. Pure.

PyPI's `hdrhistogram` is not used: it adds a compiled module, pbr and setuptools at run time in place of these lines.
"""

from __future__ import annotations

from collections import Counter

_EXACT_BITS = 6
"""Durations below 64 us are exact; above, the first seven bits count."""


def step(us: int) -> int:
    """Returns the number of the step that holds a duration of `us` microseconds."""
    shift = max(us.bit_length() - _EXACT_BITS - 1, 0)
    return (shift << _EXACT_BITS) + (us >> shift)


def longest_of(number: int) -> int:
    """Returns the longest duration, in microseconds, that step `number` holds."""
    shift = max((number >> _EXACT_BITS) - 1, 0)
    return ((number - (shift << _EXACT_BITS) + 1) << shift) - 1


class Histogram:
    """Durations in microseconds: how many are in each step, and the longest of all."""

    __slots__ = ("_steps", "count", "max_us")

    def __init__(self) -> None:
        self._steps: Counter[int] = Counter()
        self.count = 0
        self.max_us = 0

    def add(self, us: int) -> None:
        """Adds one duration; a negative one, from clocks that disagree, counts as 0."""
        us = max(us, 0)
        self._steps[step(us)] += 1
        self.count += 1
        self.max_us = max(self.max_us, us)

    def merge(self, other: Histogram) -> None:
        """Adds all durations of `other`."""
        self._steps.update(other._steps)
        self.count += other.count
        self.max_us = max(self.max_us, other.max_us)

    def take(self) -> Histogram:
        """Returns a histogram of all durations so far, and empties this one."""
        taken = Histogram()
        taken._steps, taken.count, taken.max_us = self._steps, self.count, self.max_us
        self._steps, self.count, self.max_us = Counter(), 0, 0
        return taken

    def quantile_ms(self, share: float) -> float | None:
        """Returns the duration, in ms, that a `share` (0 to 1) of all durations does not exceed; None if empty."""
        below = 0
        for number in sorted(self._steps):
            below += self._steps[number]
            if below >= share * self.count:
                return min(longest_of(number), self.max_us) / 1000
        return None

    def curve_ms(self, points: int = 100) -> list[tuple[float, float]]:
        """Returns (share in %, duration in ms) at `points` evenly spaced shares, for a plot; [] if empty."""
        if not self.count:
            return []
        shares = [number / points for number in range(1, points + 1)]
        return [(100 * share, self.quantile_ms(share) or 0.0) for share in shares]
