"""The guard of retained state: what another client wrote on a topic of ours, and when to say our value again.

Anybody whom the broker lets write can overwrite the state of a room or of the server. Pure: `now` comes in, in seconds.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

_SETTLE_S: Final = 0.5
"""Wait before a correction: with MQTT 3.1.1 it may be our own value before the last that has come back."""
_INTERVAL_S: Final = 1.0
"""Between two corrections of a topic."""
_BURST: Final = 30
"""Corrections of a topic at this interval. After them only `_SLOW_S` counts: two servers would go on for ever."""
_SLOW_S: Final = 10.0
_MAX_TOPICS: Final = 2000
"""Topics that are remembered: any client can invent rooms."""
_MAX_PER_SECOND: Final = 100


class StateGuard:
    """The topics of ours that others write on."""

    def __init__(self) -> None:
        self._foreign: dict[str, bytes] = {}
        """Digests of the values."""
        self._corrections: dict[str, tuple[float, float]] = {}
        """Time of the latest correction, and how many more are left at the short interval."""
        self._second = 0.0
        self._in_second = 0

    def heard(self, topic: str, payload: bytes, own: bytes, now: float) -> float | None:
        """Notes a value that the broker has now; `own` is ours. Returns the wait in seconds before `due`, if any."""
        if payload == own:
            self._foreign.pop(topic, None)
            return None
        waits_already = topic in self._foreign
        if waits_already or len(self._foreign) < _MAX_TOPICS:
            self._foreign[topic] = _digest(payload)
        return None if waits_already or topic not in self._foreign else self._wait(topic, now)

    def due(self, topic: str, own: bytes, now: float) -> bool:
        """Returns True if our value should be said again now, and counts that as done."""
        if self._foreign.get(topic) in {None, _digest(own)}:
            self._foreign.pop(topic, None)
            return False
        if now - self._second >= 1.0:
            self._second, self._in_second = now, 0
        self._in_second += 1
        if self._in_second > _MAX_PER_SECOND:
            return False
        del self._foreign[topic]
        self._forget(now)
        _, left = self._left(topic, now)
        self._corrections[topic] = now, max(0.0, left - 1)
        return True

    def restart(self) -> None:
        """Begins a new connection, on which all our values are sent again anyway."""
        self._foreign.clear()

    def waiting(self, topic: str) -> bool:
        """Returns True while another value than ours stands on the topic."""
        return topic in self._foreign

    def _wait(self, topic: str, now: float) -> float:
        at, left = self._left(topic, now)
        return max(_SETTLE_S, at + (_INTERVAL_S if left >= 1 else _SLOW_S) - now)

    def _left(self, topic: str, now: float) -> tuple[float, float]:
        """Returns the time of the latest correction, and how many are left now; one more for each `_SLOW_S`."""
        at, left = self._corrections.get(topic, (-_SLOW_S, float(_BURST)))
        return at, min(_BURST, left + (now - at) / _SLOW_S)

    def _forget(self, now: float) -> None:
        if len(self._corrections) >= _MAX_TOPICS:
            ages = _SLOW_S * _BURST
            self._corrections = {topic: kept for topic, kept in self._corrections.items() if now - kept[0] < ages}
        if len(self._corrections) >= _MAX_TOPICS:
            self._corrections.clear()


def _digest(payload: bytes) -> bytes:
    """Returns what is kept of a value: those of thousands of topics would fill the memory."""
    return blake2b(payload, digest_size=16).digest()
