"""The door of a server that asks who comes: raw MQTT with tokens of different rights, on a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from sfu.access.rights import ROLES, Use
from sfu.http.door import packets
from sfu.service import Service
from tests.helpers.brokers import Mosquitto
from tests.helpers.http import PINGREQ, connect_with, subscribe
from tests.helpers.serving import serving
from tests.helpers.waiting import PATIENCE_S, until

POLICY, LOG_IN_AGAIN = 1008, 4401


@pytest.fixture
async def service(access_on: None, mosquitto: Callable[..., Mosquitto]) -> AsyncIterator[Service]:
    async with serving(mosquitto().url, recording__mode="off") as service:
        yield service


def token(service: Service, role: str, *rooms: str, use: Use = Use.ACCESS) -> str:
    assert service.authority is not None
    return service.authority.mint("ann", rooms, ROLES[role], lasts_s=600, use=use)[0]


@asynccontextmanager
async def guest(
    service: Service, client: ClientSession, password: str | None, answer: bytes = packets.ACCEPTED
) -> AsyncIterator[ClientWebSocketResponse]:
    """Connects a client, and reads the answer to its CONNECT."""
    assert service.http is not None
    async with client.ws_connect(service.http.url + "mqtt", protocols=("mqtt",)) as socket:
        await socket.send_bytes(connect_with(password))
        assert await socket.receive_bytes(timeout=PATIENCE_S) == answer
        yield socket


async def end_of(socket: ClientWebSocketResponse) -> tuple[int | None, str]:
    """Returns the close code and reason; what comes before is dropped."""
    while (message := await socket.receive(timeout=PATIENCE_S)).type is WSMsgType.BINARY:
        pass
    assert message.type is WSMsgType.CLOSE
    return message.data, message.extra or ""


@pytest.mark.parametrize(
    "wanted",
    [
        "#",
        "$SYS/#",
        "sfu/#",
        "homeassistant/#",
        "sfu/hall/view/+",
        "sfu/+/view/ann",
        "sfu/hall/view/bob",
        "sfu/yard/view/ann",
    ],
)
async def test_a_filter_beyond_the_rights_closes_the_connection(
    service: Service, client: ClientSession, wanted: str
) -> None:
    async with guest(service, client, token(service, "view", "hall")) as socket:
        await socket.send_bytes(subscribe(wanted))
        assert (await end_of(socket))[0] == POLICY
    assert service.http is not None
    kind = "foreign_leaf" if wanted.endswith(("/bob", "yard/view/ann")) else "foreign_filter"
    assert service.http.counters[kind] == 1


@pytest.mark.parametrize(
    ("topic", "retain", "kind"),
    [
        ("sfu/hall/view/bob", False, "foreign_leaf"),
        ("sfu/yard/view/ann", False, "foreign_leaf"),
        ("sfu/hall/pub/ann", False, "foreign_leaf"),
        ("sfu/bridge/state", False, "foreign_topic"),
        ("sfu/hall/state", False, "foreign_topic"),
        ("sfu/hall/recordings/state", False, "foreign_topic"),
        ("sfu/hall/recordings/set", False, "no_right_to_record"),
        ("sfu/yard/snapshot/set", False, "no_right_to_view"),
        ("homeassistant/camera/a/config", False, "foreign_topic"),
        ("sfu/hall/view/ann", True, "retained"),
    ],
)
async def test_a_message_beyond_the_rights_closes_the_connection(
    service: Service, client: ClientSession, topic: str, retain: bool, kind: str
) -> None:
    async with guest(service, client, token(service, "view", "hall")) as socket:
        await socket.send_bytes(packets.publish(topic, b"ON", 1, retain=retain))
        assert await end_of(socket) == (POLICY, f"not allowed: {kind}")
    assert service.http is not None
    assert service.http.counters[kind] == 1


async def test_foreign_rooms_are_not_there(service: Service, client: ClientSession) -> None:
    service.publisher.room_state("hall", {"live": True, "recording": False, "viewers": 1})
    service.publisher.room_state("yard", {"live": True, "recording": False, "viewers": 2})
    async with guest(service, client, token(service, "view", "hall")) as socket:
        await socket.send_bytes(subscribe("sfu/+/viewers") + subscribe("sfu/yard/state") + PINGREQ)
        seen = b""
        while not seen.endswith(packets.PINGRESP):
            seen += await socket.receive_bytes(timeout=PATIENCE_S)
    assert b"sfu/hall/viewers" in seen
    assert b"yard" not in seen
    assert packets.suback(1, bytes((packets.REFUSED,))) in seen


async def test_a_leaf_is_answered(service: Service, client: ClientSession) -> None:
    async with guest(service, client, token(service, "view", "hall")) as socket:
        offer = {"command": "signal", "clientid": "ann", "type": "offer", "data": "no SDP", "v": 2, "session": "a" * 16}
        said = packets.publish("sfu/hall/view/ann", json.dumps(offer).encode(), 5)
        await socket.send_bytes(subscribe("sfu/hall/view/ann") + said)
        seen = b""
        async with asyncio.timeout(PATIENCE_S):
            while b'"error"' not in seen:
                seen += await socket.receive_bytes()
    assert packets.puback(5) in seen


@pytest.mark.parametrize(
    ("role", "answer"), [(None, packets.NOT_AUTHORIZED), ("forged", packets.BAD_LOGIN), ("sealed", packets.BAD_LOGIN)]
)
async def test_nobody_comes_in_without_a_good_token(
    service: Service, client: ClientSession, role: str | None, answer: bytes
) -> None:
    password = token(service, "admin", "*", use=Use.SEALED) if role == "sealed" else role
    async with guest(service, client, password, answer) as socket:
        assert (await end_of(socket))[0] == POLICY


async def test_claims_that_end_close_the_connection_with_a_code_of_their_own(
    service: Service, client: ClientSession
) -> None:
    assert service.authority is not None
    shown, claims = service.authority.mint("ann", ["hall"], ROLES["view"], lasts_s=600)
    async with (
        guest(service, client, shown) as socket,
        guest(service, client, token(service, "view", "hall")) as other,
    ):
        service.authority.revoke(claims)
        async with asyncio.timeout(3):
            assert await end_of(socket) == (LOG_IN_AGAIN, "log in again")
        await other.send_bytes(PINGREQ)
        assert await other.receive_bytes(timeout=PATIENCE_S) == packets.PINGRESP


async def test_two_with_one_client_id_live_together(service: Service, client: ClientSession) -> None:
    shown = token(service, "view", "hall")
    async with guest(service, client, shown) as one, guest(service, client, shown) as two:
        for socket in (one, two):
            await socket.send_bytes(PINGREQ)
            assert await socket.receive_bytes(timeout=PATIENCE_S) == packets.PINGRESP
    assert service.http is not None
    door = service.http.door
    await until(lambda: door.connections == 0)
