"""Frames from a reading thread to asyncio, in order and bounded. Knows no inputs and no network."""

from __future__ import annotations

import asyncio
import heapq
import threading
from collections.abc import AsyncIterator, Iterator

from sfu.clients.frames import Frame, SourceError

CAPACITY = 64
"""Frames between thread and task: about a second of one camera."""


class FrameQueue:
    """From one thread to one task: the thread blocks when the task falls `CAPACITY` frames behind."""

    def __init__(self, loop: asyncio.AbstractEventLoop, stop: threading.Event) -> None:
        self._loop = loop
        self._stop = stop
        self._room = threading.Semaphore(CAPACITY)
        self._queue: asyncio.Queue[Frame | SourceError | None] = asyncio.Queue()

    def put(self, frame: Frame) -> bool:
        """Called by the thread; False when nobody wants more."""
        while not self._room.acquire(timeout=0.2):
            if self._stop.is_set():
                return False
        return not self._stop.is_set() and self._call(frame)

    def end(self, fault: SourceError | None) -> None:
        """Called by the thread, once, last."""
        self._call(fault)

    def _call(self, item: Frame | SourceError | None) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:  # the event loop is closed: the process is ending
            return False
        return True

    async def __aiter__(self) -> AsyncIterator[Frame]:
        while (item := await self._queue.get()) is not None:
            if isinstance(item, SourceError):
                raise item
            self._room.release()
            yield item


def in_order(frames: Iterator[Frame], window: float) -> Iterator[Frame]:
    """Frames sorted by media time across `window` seconds of disorder between tracks."""
    held: list[tuple[float, int, Frame]] = []
    newest = float("-inf")
    for number, frame in enumerate(frames):
        heapq.heappush(held, (frame.seconds, number, frame))
        newest = max(newest, frame.seconds)
        while held[0][0] <= newest - window:
            yield heapq.heappop(held)[2]
    while held:
        yield heapq.heappop(held)[2]


class PassEnd:
    """Where one pass over an input ends: the last frame of the longer track, plus that track's frame period."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last: dict[int, float] = {}

    def seen(self, frame: Frame) -> None:
        """Each frame of the pass, in order."""
        period = frame.seconds - self._last.get(frame.track, frame.seconds)
        self._last[frame.track] = frame.seconds
        self.seconds = max(self.seconds, frame.seconds + period)
