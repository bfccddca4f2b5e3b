"""Waiting for what must become true, with a deadline."""

import asyncio
from collections.abc import Callable

PATIENCE_S = 30.0
"""Seconds that a busy machine may need for work of a few milliseconds."""


async def until(predicate: Callable[..., object], timeout: float = PATIENCE_S) -> None:
    """Returns once `predicate()` is true; AssertionError after `timeout` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while not predicate():
        assert loop.time() < deadline, f"not true within {timeout} s"
        await asyncio.sleep(0.005)
