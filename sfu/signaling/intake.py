"""The intake: received messages that wait for their handler, in the order in which they came.

Owns the bound of what may wait. The connection is read as fast as the broker sends: a broker drops what a slow client
leaves with it, without a word. Never knows the meaning of a message.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MAX_WAITING: Final = 10_000
MAX_WAITING_BYTES: Final = 32 << 20
_TURN_S: Final = 0.003
"""Time for messages before the rest of the event loop, such as media, has its turn."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One received publish. `retained`: True if it was published before we subscribed."""

    topic: str
    payload: bytes
    retained: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None


class Intake:
    """A queue between the connection and the handler of its messages."""

    def __init__(self, handle: Callable[[Incoming], None], clock: Callable[[], float]) -> None:
        """`handle` takes one message and must not raise."""
        self._handle = handle
        self._clock = clock
        self._waiting: deque[Incoming] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()

    def put(self, message: Incoming) -> bool:
        """Appends a message. Returns False if too much waits already."""
        size = len(message.payload)
        if len(self._waiting) >= MAX_WAITING or self._bytes + size > MAX_WAITING_BYTES:
            return False
        self._waiting.append(message)
        self._bytes += size
        self._arrived.set()
        return True

    async def run(self) -> None:
        """Hands on each message until cancelled."""
        while True:
            await self._arrived.wait()
            turn_ends = self._clock() + _TURN_S
            while self._waiting and self._clock() < turn_ends:
                message = self._waiting.popleft()
                self._bytes -= len(message.payload)
                self._handle(message)
            if not self._waiting:
                self._arrived.clear()
            await asyncio.sleep(0)
