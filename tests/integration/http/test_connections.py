"""The connections of the HTTP server against clients that open many, say half of something, or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from sfu.http.connections import RESERVED_DESCRIPTORS, ConnectionLimits, counted_address
from sfu.http.server import HttpServer
from tests.helpers.brokers import Mosquitto
from tests.helpers.http import (
    CONNACK,
    CONNECT,
    PINGREQ,
    PINGRESP,
    SUBACK,
    SUBSCRIBE_INFO,
    DoorStage,
    Raw,
    Start,
    framed,
    upgrade,
)
from tests.helpers.junk import junk_request
from tests.helpers.serving import serving
from tests.helpers.waiting import PATIENCE_S, until

HALF = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "
WHOLE = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
SHORT = ConnectionLimits(head_s=0.3, idle_s=0.3)
LONG_S = 3600.0


class Stream:
    """A route whose answer goes on until `enough` is set, in pieces of `size` bytes."""

    def __init__(self, size: int = 1, *, deaf: bool = False) -> None:
        self.enough = asyncio.Event()
        self.began = asyncio.Event()
        self._size = size
        self._deaf = deaf

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        return [web.get("/stream", self._answer), web.get("/broken", self._break)]

    async def close(self) -> None:
        """Does nothing: the server has to end it."""

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        self.began.set()
        while not self.enough.is_set():
            if self._deaf:
                await self.enough.wait()
            await response.write(bytes(self._size))
            await asyncio.sleep(0.01)
        return response

    async def _break(self, _request: web.Request) -> web.StreamResponse:
        raise KeyError("a bug")


@contextlib.asynccontextmanager
async def many(count: int, port: int, text: str) -> AsyncIterator[list[Raw]]:
    """Opens `count` connections that say the same, and closes them."""
    opened = [await Raw.open(port, text) for _ in range(count)]
    try:
        yield opened
    finally:
        for raw in opened:
            raw.close()


@pytest.fixture
def every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets each loopback address but 127.0.0.1 stand for a machine of its own."""
    for module in ("connections", "door.door"):
        monkeypatch.setattr(f"sfu.http.{module}.counted_address", lambda peer: None if peer == "127.0.0.1" else peer)


async def test_more_connections_than_allowed_are_closed_at_once(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    server = await start(limits=ConnectionLimits(total=5))
    async with many(8, server.port, HALF) as opened:
        await until(lambda: sum(raw.is_open for raw in opened) == 5)
        assert server.counters["connections"] == 3
        assert caplog.text.count("SFU_HTTP_CONNECTIONS") == 1
        opened[0].close()
        await until(lambda: len(server.connections) == 4)
        late = await Raw.open(server.port, WHOLE)
        assert "200" in await late.head()
        late.close()


@pytest.mark.usefixtures("every_address")
async def test_one_address_has_a_share_and_this_machine_has_none(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start(limits=ConnectionLimits(per_address=3))
    crowd = [await Raw.open(server.port, HALF, source="127.0.0.77") for _ in range(6)]
    await until(lambda: sum(raw.is_open for raw in crowd) == 3)
    assert server.counters["connections_of_address"] == 3
    assert caplog.text.count("SFU_HTTP_PER_ADDRESS") == 1
    others = [await Raw.open(server.port, WHOLE, source=source) for source in ("127.0.0.78", *["127.0.0.1"] * 6)]
    for other in others:
        assert "200" in await other.head()
    for raw in (*crowd, *others):
        raw.close()
    await until(lambda: len(server.connections) == 0)
    again = await Raw.open(server.port, WHOLE, source="127.0.0.77")
    assert "200" in await again.head()


@pytest.mark.usefixtures("every_address")
@pytest.mark.parametrize("limits", [ConnectionLimits(total=3), ConnectionLimits(per_address=3)])
async def test_a_connection_that_only_waits_gives_way_and_one_that_is_busy_does_not(
    start: Start, limits: ConnectionLimits
) -> None:
    server = await start(limits=limits)
    half = await Raw.open(server.port, HALF, source="127.0.0.77")
    crowd = []  # browsers behind one address, whose connections stay open for their next request
    for _ in range(12):
        crowd.append(await Raw.open(server.port, WHOLE, source="127.0.0.77"))
        assert "200" in await crowd[-1].head()
        assert await crowd[-1].reader.readexactly(3) == b"ok\n"
    await until(lambda: sum(raw.is_open for raw in (half, *crowd)) == len(server.connections) == 3)
    assert half.is_open
    assert not server.counters


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        ("127.0.0.1", None),
        ("127.9.9.9", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_proxy_on_this_machine_is_nobody_and_a_network_of_ipv6_one_client(peer: str, counted: str | None) -> None:
    assert counted_address(peer) == counted


@pytest.mark.parametrize("said", ["", "GET", HALF, WHOLE + HALF, WHOLE + "\r\n"])
async def test_half_a_head_ends_in_time(start: Start, said: str) -> None:
    server = await start(limits=ConnectionLimits(head_s=0.3, idle_s=LONG_S if WHOLE not in said else 0.3))
    raw = await Raw.open(server.port, said)
    await raw.ended()
    await until(lambda: len(server.connections) == 0)


async def test_a_second_head_has_its_own_time(start: Start) -> None:
    server = await start(limits=ConnectionLimits(head_s=0.3, idle_s=LONG_S))
    raw = await Raw.open(server.port, WHOLE)
    assert "200" in await raw.head()
    await raw.reader.readexactly(3)
    raw.send(HALF)
    await raw.ended()
    assert server.counters["late_head"] == 1


async def test_an_idle_connection_ends_and_a_prompt_one_stays(start: Start) -> None:
    server = await start(limits=SHORT)
    idle = await Raw.open(server.port, WHOLE)
    await idle.ended()
    assert server.counters["late_head"] == 0


async def test_a_websocket_and_a_long_download_are_not_idle(start: Start, client: ClientSession) -> None:
    stream = Stream()
    server = await start(limits=SHORT, parts=[stream])
    async with client.ws_connect(server.url + "mqtt", protocols=("mqtt",)) as door:
        await door.send_bytes(CONNECT)
        await door.receive_bytes(timeout=PATIENCE_S)
        download = await Raw.open(server.port, "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await download.head()
        for _ in range(3):
            idle = await Raw.open(server.port, WHOLE)
            await idle.ended()
        await door.send_bytes(PINGREQ)
        assert await door.receive_bytes(timeout=PATIENCE_S) == PINGRESP
        stream.enough.set()
        async with asyncio.timeout(PATIENCE_S):
            assert (await download.reader.readuntil(b"0\r\n\r\n")).endswith(b"\r\n0\r\n\r\n")


async def test_pages_with_a_broker_connection_leave_room_for_requests(start: Start, client: ClientSession) -> None:
    server = await start(limits=ConnectionLimits(total=2))
    async with contextlib.AsyncExitStack() as stack:
        for number in range(4):
            door = await stack.enter_async_context(client.ws_connect(server.url + "mqtt", protocols=("mqtt",)))
            await door.send_bytes(CONNECT[:-1] + b"%d" % number)
            await door.receive_bytes(timeout=PATIENCE_S)
        assert (await client.get(server.url + "healthz")).status == 200
    await until(lambda: server.door.connections == 0)
    async with many(4, server.port, HALF) as opened:
        await until(lambda: sum(raw.is_open for raw in opened) == 2 - (len(server.connections) - 2))


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    """Leaves this process 30 descriptors more than it has, and those for the recorder."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    gaps = [os.dup(0)]
    while gaps[-1] < highest:
        gaps.append(os.dup(0))
    most = gaps[-1] + 1 + 30 + RESERVED_DESCRIPTORS
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    yield most
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for descriptor in gaps:
        os.close(descriptor)


async def test_connections_leave_descriptors_for_recordings(
    start: Start, few_descriptors: int, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start()
    async with many(20, server.port, HALF) as opened:
        await until(lambda: server.counters["descriptors"])
        assert "LimitNOFILE" in caplog.text
        await until(lambda: len(server.connections) + server.counters["descriptors"] == 20)
        with contextlib.ExitStack() as stack:
            for _ in range(RESERVED_DESCRIPTORS - len(opened)):  # the test's own ends of the connections
                last = stack.enter_context(Path("/dev/null").open("rb"))
            assert last.fileno() < few_descriptors


HTTP_STATES = ["silent", "half a head", "idle", "half a body", "deaf handler", "unread"]
DOOR_STATES = ["door silent", "door", "door unread"]


@pytest.mark.parametrize("state", [*HTTP_STATES, *DOOR_STATES])
async def test_stop_is_quick_in_every_state(start: Start, state: str) -> None:
    stream = Stream(1 << 20, deaf=state == "deaf handler")
    stage = DoorStage()
    server = await start(door=stage.door, parts=[stream])
    raw = await _in_state(server, state, stream)
    if state == "door unread":
        for _ in range(30):
            stage.board.say("sfu/bridge/info", bytes(1 << 16))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await server.stop()
    assert loop.time() - began < 4
    await raw.ended()


async def _in_state(server: HttpServer, state: str, stream: Stream) -> Raw:
    said = {
        "silent": "",
        "half a head": HALF,
        "idle": WHOLE,
        "half a body": "PUT /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf",
        "deaf handler": "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "unread": "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n",
    }
    raw = await Raw.open(server.port, said.get(state, upgrade(server.port)))
    await until(lambda: len(server.connections) == 1)
    if state in {"idle", "half a body"} or state.startswith("door"):
        await raw.head()
    if state in {"unread", "deaf handler"}:
        async with asyncio.timeout(PATIENCE_S):
            await stream.began.wait()
    if state in {"door", "door unread"}:
        raw.send_bytes(framed(CONNECT + SUBSCRIBE_INFO))
        await raw.reader.readexactly(2 + len(CONNACK + SUBACK))
    return raw


@pytest.mark.parametrize("said", ["\x16\x03\x01 is TLS\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET /\0 HTTP/1.1\r\n\r\n"])
async def test_an_answer_to_no_http_is_sealed_too(start: Start, caplog: pytest.LogCaptureFixture, said: str) -> None:
    server = await start()
    raw = await Raw.open(server.port, said)
    head = await raw.head()
    assert head.startswith("HTTP/1.0 400")
    assert "Server: sfu\r\n" in head
    assert "X-Content-Type-Options: nosniff" in head
    assert "aiohttp" not in head
    assert server.counters["bad_request"] == 1
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_client_that_goes_away_leaves_no_traceback_and_a_bug_does(
    start: Start, client: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Stream(1 << 20)
    server = await start(parts=[stream])
    raw = await Raw.open(server.port, "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await raw.head()
    raw.close()
    await until(lambda: len(server.connections) == 0)
    assert caplog.text == ""
    async with client.get(server.url + "broken") as answer:
        assert answer.status == 500
        assert answer.headers["Server"] == "sfu"
        assert "a bug" not in await answer.text()
    assert "KeyError: 'a bug'" in caplog.text


async def test_junk_is_answered_without_500_and_without_a_traceback(
    mosquitto: Callable[..., Mosquitto], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(7)
    async with serving(mosquitto().url, recording__dir=tmp_path) as service:
        assert service.http is not None
        port = service.http.port
        seen: set[str] = set()
        for _ in range(100):
            seen |= set(await asyncio.gather(*(_answer_to(junk_request(rng), port) for _ in range(50))))
        assert "500" not in seen
        assert {"200", "400", "404", "405", "421"} <= seen, seen
        assert len(await _answer_to(WHOLE.encode(), port)) == 3
    assert not [record for record in caplog.records if record.exc_info or record.levelname == "ERROR"]


async def _answer_to(request: bytes, port: int) -> str:
    """Returns the status of the answer; empty if the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request if b"\r\n\r\n" in request else request + b"X\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                line = await reader.readline()
            return line.decode()[9:12]
        return ""
    finally:
        writer.transport.abort()


async def test_a_used_port_frees_what_was_opened(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="used by another program"):
        await start(port=taken.getsockname()[1])
