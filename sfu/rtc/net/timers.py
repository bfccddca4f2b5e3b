"""Callbacks at intervals, for a process that sleeps most of the time.

Owns when callbacks are due. Waking up for a callback costs ten times as much as the callback itself, since caches are
cold by then. So callbacks run when the loop is awake anyway; their own timer is for the case that nothing wakes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

_PATIENCE_SHARE: Final = 0.25
"""The share of its interval for which a callback that is due waits for another event to wake the loop."""


class _Tick:
    __slots__ = ("callback", "due_at", "interval")

    def __init__(self, interval: float, callback: Callable[[], None], now: float) -> None:
        self.interval = interval
        self.callback = callback
        self.due_at = now + interval


class Ticks:
    """Callbacks at intervals, each at most a quarter of its interval late while the loop runs freely."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ticks: list[_Tick] = []
        self._due_at = float("inf")
        self._timer: asyncio.TimerHandle | None = None

    def every(self, interval: float, callback: Callable[[], None]) -> None:
        """Calls `callback` every `interval` seconds until `close`. Its exceptions go to the loop's handler."""
        self._ticks.append(_Tick(interval, callback, self._loop.time()))
        self._rearm()

    def look(self) -> None:
        """Runs the callbacks that are due. To be called when the loop is awake for another reason."""
        if self._loop.time() >= self._due_at:
            self._run()

    def close(self) -> None:
        """Stops all callbacks."""
        self._ticks.clear()
        self._rearm()

    def _run(self) -> None:
        now = self._loop.time()
        for tick in tuple(self._ticks):
            if now < tick.due_at or not self._ticks:  # closed by the one before
                continue
            tick.due_at = now + tick.interval
            try:
                tick.callback()
            except Exception as error:  # noqa: BLE001  # the task boundary of a callback
                message = f"periodic callback {tick.callback!r} failed"
                self._loop.call_exception_handler({"message": message, "exception": error})
        self._rearm()

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due_at = min([tick.due_at for tick in self._ticks], default=float("inf"))
        if self._ticks:
            latest = min([tick.due_at + tick.interval * _PATIENCE_SHARE for tick in self._ticks])
            self._timer = self._loop.call_at(latest, self._run)
