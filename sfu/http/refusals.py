"""Refusals of the HTTP server: counted for `/metrics`, and logged without filling the log.

Owns the counters, and how often a refusal is logged. Never decides what is refused.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

_log = logging.getLogger(__name__)

MAX_NAMES = 32
"""Names that are logged for one event. Further ones are only counted: a stranger can invent any number of them."""
_INTERVAL_S = 60.0


class Refusals:
    """The refusals of one server, by event. `clock` returns the time in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.counters: Counter[str] = Counter()
        self._clock = clock
        self._names: dict[str, set[str]] = {}
        self._logged_at: dict[str, float] = {}

    def count(self, event: str) -> None:
        """Counts an event that nobody has to know of."""
        self.counters[event] += 1

    def once(self, event: str, name: str, text: str, *arguments: object) -> None:
        """Counts an event, and logs the text the first time that `name` causes it."""
        self.counters[event] += 1
        names = self._names.setdefault(event, set())
        if name not in names and len(names) < MAX_NAMES:
            names.add(name)
            _log.warning(text, *arguments)

    def each_minute(self, event: str, text: str, *arguments: object) -> None:
        """Counts an event, and logs the text if it logged none for this event in the last minute."""
        self.counters[event] += 1
        now = self._clock()
        if now - self._logged_at.get(event, -_INTERVAL_S) >= _INTERVAL_S:
            self._logged_at[event] = now
            _log.warning(text, *arguments)
