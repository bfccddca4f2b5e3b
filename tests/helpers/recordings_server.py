"""The HTTP server with the recordings of one store, or none, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from recorder.api import RecordingsApi
from recorder.playback.queries import Playback
from recorder.store.directory import Store
from sfu.http.server import HttpServer, PageInfo
from tests.helpers.http import silent_door


@asynccontextmanager
async def recordings_server(store: Store | None, **wishes: Any) -> AsyncIterator[str]:
    """Serves a store, and gives the server's URL; None: a server without recordings. `wishes`: for `RecordingsApi`."""

    server = HttpServer(
        host="127.0.0.1",
        port=0,
        page=PageInfo(base="sfu", version="1"),
        door=silent_door(),
        ready=lambda: True,
        metrics=lambda: b"",
        rooms=dict,
        parts=[] if store is None else [RecordingsApi(Playback(store), **wishes)],
    )
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()
