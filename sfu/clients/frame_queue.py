"""The way of frames from a reading thread to an asyncio task, bounded and in order.

Owns the queue and the sorting of frames by media time. Never knows inputs or the network.
"""

from __future__ import annotations

import asyncio
import heapq
import threading
from collections.abc import AsyncIterator, Iterator

from sfu.clients.frames import Frame, NewTracks, SourceError

CAPACITY = 64
"""Frames that wait between thread and task: about a second of one camera."""
_STOP_CHECK_S = 0.2
"""Interval at which a blocked thread looks if it should stop."""


class FrameQueue:
    """A queue from one thread to one task. The thread blocks while the task is `CAPACITY` frames behind."""

    def __init__(self, loop: asyncio.AbstractEventLoop, stop: threading.Event) -> None:
        self._loop = loop
        self._stop = stop
        self._room = threading.Semaphore(CAPACITY)
        self._queue: asyncio.Queue[Frame | NewTracks | SourceError | None] = asyncio.Queue()

    def put(self, frame: Frame | NewTracks) -> bool:
        """Adds a frame, or news of the tracks; returns False when the reader has stopped. Called by the thread."""
        while not self._room.acquire(timeout=_STOP_CHECK_S):
            if self._stop.is_set():
                return False
        return not self._stop.is_set() and self._call(frame)

    def end(self, fault: SourceError | None) -> None:
        """Ends the iteration, with `fault` if there is one. Called by the thread, once, as its last call."""
        self._call(fault)

    def _call(self, item: Frame | NewTracks | SourceError | None) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:  # the event loop is closed: the process is ending
            return False
        return True

    async def __aiter__(self) -> AsyncIterator[Frame | NewTracks]:
        while (item := await self._queue.get()) is not None:
            if isinstance(item, SourceError):
                raise item
            self._room.release()
            yield item


def in_order(frames: Iterator[Frame], window: float) -> Iterator[Frame]:
    """Yields frames sorted by media time; tracks may be up to `window` seconds apart in the input."""
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
    """The end of one pass over an input: the last frame of the longer track plus that track's frame period."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """Media time of the end."""
        self._last: dict[int, float] = {}

    def seen(self, frame: Frame) -> None:
        """Takes each frame of the pass into account, in order."""
        period = frame.seconds - self._last.get(frame.track, frame.seconds)
        self._last[frame.track] = frame.seconds
        self.seconds = max(self.seconds, frame.seconds + period)
