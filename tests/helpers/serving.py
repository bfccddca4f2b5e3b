"""A real server on a real broker, on free ports of 127.0.0.1, inside the test's event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sfu import settings
from sfu.service import Service
from sfu.signaling.broker_url import BrokerUrl
from tests.helpers.waiting import PATIENCE_S


@asynccontextmanager
async def serving(broker: BrokerUrl, **changes: Any) -> AsyncIterator[Service]:
    """Runs a server; `changes` are settings with `__` for the dot (`media__codecs="vp8"`); yields once connected."""
    user = "" if broker.username is None else f"{broker.username}:{broker.password or ''}@"
    chosen = {
        "broker": f"{broker.scheme}://{user}{broker.host}:{broker.port}{broker.path}",
        "http": "127.0.0.1:0",
        "media.port": 0,
        "media.bind": "127.0.0.1",
        "media.announce": "127.0.0.1",
        **{name.replace("__", "."): value for name, value in changes.items()},
    }
    async with Service(settings.load(command_line=chosen, secrets=Path("/nonexistent"))) as service:
        await service.link.wait_connected(PATIENCE_S)
        yield service
