"""Lanes: a few threads for one kind of slow work, shared fairly by those who ask.

Owns whose call runs next: clients take turns, so that many calls of one do not delay the single call of another. Never
knows what a call does.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

_MAX_CLIENTS: Final = 256


class LaneFull(RuntimeError):  # noqa: N818 - it is a state
    """Too many calls wait already."""


class Lane:
    """A few threads, used from the event loop: `threads` calls run at once, `waiting` more of each client may wait."""

    def __init__(self, name: str, *, threads: int, waiting: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threads
        self._waiting = waiting
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        """The calls that wait by client; the first client is next."""

    async def run(self, client: str, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Calls the function in one of the threads and returns its result. Raises LaneFull if too many calls wait."""
        await self._turn(client)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, functools.partial(function, *args, **kwargs))
        finally:
            self._free += 1
            self._start_next()

    def close(self) -> None:
        """Drops the calls that wait; running ones end by themselves."""
        for queue in self._queues.values():
            for turn in queue:
                turn.cancel()
        self._queues.clear()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _turn(self, client: str) -> None:
        """Waits until a thread is free for this client, and takes it."""
        if self._free > 0:
            self._free -= 1
            return
        queue = self._queues.get(client)
        if len(self._queues) >= _MAX_CLIENTS if queue is None else len(queue) >= self._waiting:
            raise LaneFull("too many requests at once: try again in a moment")
        turn = asyncio.get_running_loop().create_future()
        self._queues.setdefault(client, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given a thread that it does not use
                self._free += 1
                self._start_next()
            raise

    def _start_next(self) -> None:
        """Gives free threads to the clients in turn."""
        while self._free > 0 and self._queues:
            client = next(iter(self._queues))
            queue = self._queues.pop(client)
            turn = queue.popleft()
            if queue:
                self._queues[client] = queue  # behind the others
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
