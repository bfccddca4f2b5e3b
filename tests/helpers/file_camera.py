"""A camera whose picture and sound come from a file."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from sfu.clients.publish import publish
from sfu.signaling.broker_url import BrokerUrl


@contextlib.asynccontextmanager
async def camera(url: BrokerUrl, leaf: str, source: Path) -> AsyncIterator[None]:
    """Publishes the file over and over, as `sfu publish --loop` does."""
    room, _, peer = leaf.rpartition("/pub/")
    stop = asyncio.Event()
    task = asyncio.create_task(
        publish(room, str(source), peer_id=peer, loop=True, broker=url, stop=stop, report=lambda _: None)
    )
    try:
        yield
    finally:
        stop.set()
        await task
