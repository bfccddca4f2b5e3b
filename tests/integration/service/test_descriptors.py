"""`sfu serve` and its descriptors: many halves of requests cost no recording, and do not hold up its end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from recorder.store.directory import Store
from recorder.store.index import layout_of
from tests.helpers.brokers import Mosquitto
from tests.helpers.file_camera import camera
from tests.helpers.http import CONNECT, Raw, upgrade
from tests.helpers.media import make_file
from tests.helpers.server_process import Process, sfu
from tests.helpers.waiting import until

_MOST_LOST_US = 80_000
"""Two frames: the file that is sent again and again has a seam."""


@pytest.fixture
def many_sockets() -> Iterator[None]:
    """Lets the test itself open 1,100 connections."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], min(4096, before[1])), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextlib.asynccontextmanager
async def half_heads(count: int, port: int) -> AsyncIterator[None]:
    """Opens connections that say half of a request, and holds what the server lets them have."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            with contextlib.suppress(ConnectionError):
                one.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: b")
            await asyncio.sleep(0)
        yield


async def http_port(server: Process) -> int:
    """Returns the port of the page that the server logged."""
    await until(lambda: re.search(r"page http://127\.0\.0\.1:(\d+)/", server.log))
    found = re.search(r"page http://127\.0\.0\.1:(\d+)/", server.log)
    assert found
    return int(found[1])


@pytest.mark.usefixtures("many_sockets")
async def test_half_heads_cost_no_recording(mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> None:
    url = mosquitto().url
    source = make_file(tmp_path / "source.mp4", seconds=30, audio=None, options={"bf": "0", "g": "5"})
    recordings = tmp_path / "recordings"
    options = {"recording.mode": "always", "recording.segment": "1s", "recording.dir": str(recordings)}
    settings = [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    store = Store(recordings)

    def segments() -> int:
        return len(list(store.walk())) if recordings.is_dir() else 0

    async with sfu("--broker", str(url), *settings, descriptors=(1024, 1024)) as server:
        port = await http_port(server)
        async with camera(url, "yard/pub/cam", source):
            await until(lambda: segments() >= 3)
            async with half_heads(1100, port):
                before = segments()
                await until(lambda: segments() >= before + 6)
            assert server.lives
        server.terminate()
        assert await server.ended() == 0
        assert "Too many open files" not in server.log
        assert server.log.count("SFU_HTTP_CONNECTIONS") == 1
    found = sorted(store.walk(), key=lambda segment: segment.start_us)
    ends = [segment.start_us + layout_of(segment.path).duration_us for segment in found]
    lost = [later.start_us - end for end, later in zip(ends, itertools.islice(found, 1, None), strict=False)]
    assert max(lost) <= _MOST_LOST_US, lost


async def test_sigterm_ends_the_server_in_time_whatever_its_connections_do(
    mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    url = mosquitto().url
    async with sfu("--broker", str(url), "--set", f"recording.dir={tmp_path}") as server:
        port = await http_port(server)
        door, unread = await Raw.open(port, upgrade(port)), await Raw.open(port, upgrade(port))
        for raw in (door, unread):
            assert " 101 " in await raw.head()
        unread.send_bytes(b"\x82\x92\0\0\0\0" + CONNECT)
        page = await Raw.open(port, "GET /static/app.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 30)
        async with half_heads(50, port):
            began = asyncio.get_running_loop().time()
            server.terminate()
            assert await server.ended() == 0
            assert asyncio.get_running_loop().time() - began < 5
        for raw in (door, unread, page):
            raw.close()
        assert "Traceback" not in server.log


async def test_the_limit_is_raised_to_what_the_system_allows(mosquitto: Callable[..., Mosquitto]) -> None:
    async with sfu("--broker", str(mosquitto().url), descriptors=(256, 900)) as server:
        await http_port(server)
        (line,) = [it for it in server.limits().splitlines() if it.startswith("Max open files")]
        assert line.split()[3:5] == ["900", "900"]
