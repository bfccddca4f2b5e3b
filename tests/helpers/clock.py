"""A clock that the test sets, with the timers of an event loop."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class FakeTime:
    """A clock, and the callbacks of an event loop that are due on it."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now
        self._soon: list[Callable[[], None]] = []
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def __call__(self) -> float:
        return self.now

    @property
    def waiting(self) -> list[float]:
        """Returns the seconds until each timer."""
        return [at - self.now for at, _, _ in self._later]

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        entry = (self.now + delay, next(self._count), callback)
        heapq.heappush(self._later, entry)

        def cancel() -> None:
            self._later.remove(entry)
            heapq.heapify(self._later)

        return SimpleNamespace(cancel=cancel)

    def turn(self) -> None:
        """Ends a turn of the loop."""
        callbacks, self._soon = self._soon, []
        for callback in callbacks:
            callback()

    def advance(self, seconds: float) -> None:
        """Lets time pass, with the timers that are due."""
        end = self.now + seconds
        self.turn()
        while self._later and self._later[0][0] <= end:
            self.now, _, callback = heapq.heappop(self._later)
            callback()
            self.turn()
        self.now = end
