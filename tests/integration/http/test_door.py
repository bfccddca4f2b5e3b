"""The door to the broker against clients that come and do not speak MQTT."""

from __future__ import annotations

import asyncio

import aiomqtt
import pytest
from aiohttp import ClientSession, WSCloseCode, WSMsgType

from sfu.http.connections import ConnectionLimits
from tests.helpers.http import CONNACK, CONNECT, Raw, Start, upgrade
from tests.helpers.waiting import PATIENCE_S, until


@pytest.mark.parametrize("said", [b"", CONNECT[:1], CONNECT[:-1]])
async def test_a_client_that_does_not_finish_its_connect_is_let_go(
    start: Start, client: ClientSession, said: bytes
) -> None:
    server = await start()
    server.door.silence_timeout_s = 0.3
    async with client.ws_connect(server.url + "mqtt", protocols=("mqtt",)) as door:
        if said:
            await door.send_bytes(said)
        assert (await door.receive(timeout=PATIENCE_S)).type in (WSMsgType.CLOSE, WSMsgType.CLOSED)
    await until(lambda: server.door.connections == 0)
    assert server.counters["silent"] == 1


async def test_a_thousand_silent_clients_keep_nobody_out(start: Start) -> None:
    server = await start()
    server.door.silence_timeout_s = 3600
    silent: list[Raw] = []
    for _ in range(10):
        silent += await asyncio.gather(*(Raw.open(server.port, upgrade(server.port)) for _ in range(100)))
        async with aiomqtt.Client(
            "127.0.0.1", server.port, transport="websockets", websocket_path="/mqtt", timeout=PATIENCE_S
        ) as mqtt:
            await mqtt.publish("sfu/x/view/y", b"in", qos=1)
    await until(lambda: server.door.connections <= 64)
    for raw in silent:
        raw.close()


async def test_one_address_has_few_silent_clients(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfu.http.door.door.counted_address", lambda peer: None if peer == "127.0.0.1" else peer)
    server = await start(limits=ConnectionLimits())
    crowd = [await Raw.open(server.port, upgrade(server.port), source="127.0.0.77") for _ in range(10)]
    answers = [await raw.head() for raw in crowd]
    assert [" 503 " in head for head in answers] == [False] * 8 + [True] * 2
    assert server.counters["silent_address"] == 2
    other = await Raw.open(server.port, upgrade(server.port), source="127.0.0.78")
    assert " 101 " in await other.head()
    for raw in (*crowd, other):
        raw.close()


async def test_a_proxy_on_another_machine_may_have_many(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfu.http.door.door.counted_address", lambda peer: peer)
    server = await start(limits=ConnectionLimits(per_address=0))
    crowd = [await Raw.open(server.port, upgrade(server.port)) for _ in range(40)]
    assert all([" 101 " in await raw.head() for raw in crowd])
    for raw in crowd:
        raw.close()


async def test_what_is_no_connect_ends_at_once(start: Start, client: ClientSession) -> None:
    server = await start()
    for said in (b"GET / HTTP/1.1", b"\x30\x03\x00\x01a", b"\x10\xff\xff\xff\xff\x01", b"\x10\xff\xff\xff\x7f"):
        async with client.ws_connect(server.url + "mqtt", protocols=("mqtt",)) as door:
            await door.send_bytes(said)
            message = await door.receive(timeout=PATIENCE_S)
            assert (message.type, message.data) == (WSMsgType.CLOSE, WSCloseCode.PROTOCOL_ERROR)
    assert server.counters["not_mqtt"] == 4


async def test_a_connect_in_single_bytes_is_a_connect(start: Start, client: ClientSession) -> None:
    server = await start()
    async with client.ws_connect(server.url + "mqtt", protocols=("mqtt",)) as door:
        for octet in CONNECT:
            await door.send_bytes(bytes((octet,)))
        assert await door.receive_bytes(timeout=PATIENCE_S) == CONNACK
