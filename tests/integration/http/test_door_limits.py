"""The door against clients that break MQTT, fall silent, do not read, or say too much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from sfu.access.caller import Caller
from sfu.http.door import packets
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
from tests.helpers.waiting import PATIENCE_S, until


@asynccontextmanager
async def guest(client: ClientSession, url: str, connect: bytes = CONNECT) -> AsyncIterator[ClientWebSocketResponse]:
    async with client.ws_connect(url + "mqtt", protocols=("mqtt",)) as socket:
        await socket.send_bytes(connect)
        yield socket


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (CONNECT, "second_connect"),
        (b"\x34\5\0\1a\0\1", "qos_2"),
        (b"\x80\6\0\1\0\1a\0", "malformed"),
        (b"\x30\xff\xff\xff\xff\1", "malformed"),
        (b"\x30\xff\xff\xff\x7f", "too_large"),
    ],
)
async def test_what_breaks_mqtt_ends_that_connection(
    start: Start, client: ClientSession, said: bytes, kind: str
) -> None:
    server = await start()
    async with guest(client, server.url) as socket, guest(client, server.url) as other:
        assert await socket.receive_bytes(timeout=PATIENCE_S) == CONNACK
        assert await other.receive_bytes(timeout=PATIENCE_S) == CONNACK
        await socket.send_bytes(said)
        message = await socket.receive(timeout=PATIENCE_S)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1002)
        await other.send_bytes(PINGREQ)
        assert await other.receive_bytes(timeout=PATIENCE_S) == PINGRESP
    assert server.counters[kind] == 1


@pytest.mark.parametrize(
    ("connect", "answer"),
    [
        (b"\x10\x11\0\4MQTT\5\2\0\x3c\0\0\4test", b"\x20\3\0\x84\0"),
        (b"\x10\x12\0\6MQIsdp\3\2\0\x3c\0\4test", b"\x20\2\0\1"),
    ],
)
async def test_other_versions_are_answered_in_their_own_form(
    start: Start, client: ClientSession, connect: bytes, answer: bytes
) -> None:
    server = await start()
    async with guest(client, server.url, connect) as socket:
        assert await socket.receive_bytes(timeout=PATIENCE_S) == answer
        assert (await socket.receive(timeout=PATIENCE_S)).type is WSMsgType.CLOSE
    assert server.counters["other_version"] == 1


async def test_a_client_that_is_silent_beyond_its_keep_alive_is_closed(start: Start, client: ClientSession) -> None:
    server = await start()
    async with guest(client, server.url, CONNECT.replace(b"\0\x3c", b"\0\1")) as socket:
        assert await socket.receive_bytes(timeout=PATIENCE_S) == CONNACK
        message = await socket.receive(timeout=PATIENCE_S)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
    assert server.counters["keep_alive"] == 1


async def test_a_client_that_does_not_read_is_closed_and_holds_nobody(start: Start, client: ClientSession) -> None:
    stage = DoorStage()
    server = await start(door=stage.door)
    deaf = await Raw.open(server.port, upgrade(server.port))
    await deaf.head()
    deaf.send_bytes(framed(CONNECT + SUBSCRIBE_INFO))
    await deaf.reader.readexactly(2 + len(CONNACK + SUBACK))
    async with guest(client, server.url, CONNECT) as socket:
        assert await socket.receive_bytes(timeout=PATIENCE_S) == CONNACK
        for _ in range(40):
            stage.board.say("sfu/bridge/info", bytes(64 * 1024))
        await socket.send_bytes(PINGREQ)
        assert await socket.receive_bytes(timeout=PATIENCE_S) == PINGRESP
    await until(lambda: server.counters["slow"] == 1)
    await deaf.ended()
    await until(lambda: server.door.connections == 0)


async def test_a_client_that_takes_nothing_is_closed_in_time(start: Start) -> None:
    stage = DoorStage()
    stage.door.stall_timeout_s = 0.5
    server = await start(door=stage.door)
    deaf = await Raw.open(server.port, upgrade(server.port))
    await deaf.head()
    deaf.send_bytes(framed(CONNECT + SUBSCRIBE_INFO))
    await deaf.reader.readexactly(2 + len(CONNACK + SUBACK))
    while not server.counters["stalled"]:
        if server.counters["slow"]:
            pytest.fail("the client took too much")
        stage.board.say("sfu/bridge/info", bytes(16 * 1024))
        await asyncio.sleep(0.02)
    await until(lambda: server.door.connections == 0)
    deaf.close()


async def test_a_flood_is_slowed_and_holds_nobody(start: Start, client: ClientSession) -> None:
    stage = DoorStage()
    server = await start(door=stage.door)
    loop = asyncio.get_running_loop()
    async with guest(client, server.url) as flood, guest(client, server.url) as other:
        assert await other.receive_bytes(timeout=PATIENCE_S) == CONNACK
        began = loop.time()
        await flood.send_bytes(packets.publish("sfu/hall/view/me", b"{}", 0) * 250)
        await until(lambda: server.counters["slowed"] > 0)
        assert len(stage.said) <= 200 + 10 * (loop.time() - began) + 1
        await other.send_bytes(PINGREQ)
        assert await other.receive_bytes(timeout=PATIENCE_S) == PINGRESP


async def test_a_bug_behind_the_door_ends_no_connection(
    start: Start, client: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    stage = DoorStage()

    def broken(topic: str, _payload: bytes, _caller: Caller) -> None:
        raise KeyError(f"a bug on {topic}")

    stage.door.said = broken
    server = await start(door=stage.door)
    async with guest(client, server.url) as socket:
        assert await socket.receive_bytes(timeout=PATIENCE_S) == CONNACK
        await socket.send_bytes(packets.publish("sfu/hall/view/me", b"{}", 3))
        assert await socket.receive_bytes(timeout=PATIENCE_S) == packets.puback(3)
    assert server.counters["handler_failed"] == 1
    assert "a bug" in caplog.text
