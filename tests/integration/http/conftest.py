"""Fixtures of the HTTP tests: servers on free ports, and a client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import ClientSession

from sfu.http.server import HttpServer, PageInfo
from tests.helpers.http import Start, silent_door
from tests.helpers.waiting import PATIENCE_S


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts servers on free ports, with harmless callables where a test names none."""
    servers: list[HttpServer] = []

    async def begin(**settings: object) -> HttpServer:
        given: dict[str, object] = {
            "host": "127.0.0.1",
            "port": 0,
            "page": PageInfo(base="sfu", version="1.2.3"),
            "door": silent_door(),
            "ready": lambda: True,
            "metrics": lambda: b"sfu_up 1\n",
            "rooms": lambda: {"rooms": []},
        }
        server = HttpServer(**(given | settings))  # type: ignore[arg-type]
        await server.start()
        servers.append(server)
        return server

    yield begin
    for server in servers:
        await server.stop()


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session:
        yield session
