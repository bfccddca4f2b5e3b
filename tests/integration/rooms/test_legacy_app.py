"""The original Flutter app, unchanged but for its topic, on a real Mosquitto over MQTT 3.1."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aioice.ice
import pytest

from sfu.clients.attempt import Host
from sfu.clients.pattern import Pattern
from sfu.clients.publish import Camera
from sfu.service import Service
from sfu.signaling.broker_url import BrokerUrl
from sfu.signaling.topics import Leaf
from tests.helpers.brokers import Mosquitto
from tests.helpers.legacy_app import AiortcConnection, LegacyApp
from tests.helpers.serving import serving
from tests.helpers.waiting import PATIENCE_S, until

StartMosquitto = Callable[..., Mosquitto]

DARK, BRIGHT = 60, 200


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])


def media(app: LegacyApp) -> AiortcConnection:
    assert isinstance(app.local, AiortcConnection)
    return app.local


async def plays(app: LegacyApp, *, brightness: int | None = None, frames: int = 15) -> None:
    """Waits until `frames` more pictures and sounds have been decoded, the pictures as bright as expected."""
    connection = media(app)
    before = connection.frames.copy()

    def played() -> bool:
        fresh = connection.frames - before
        seen = brightness is None or abs((connection.brightness or 0) - brightness) < 15
        return fresh["video"] >= frames and fresh["audio"] >= frames and connection.loudness > 1000 and seen

    await until(played)
    assert not app.failures


def phone(broker: Mosquitto, topic: str, brightness: int = 128) -> LegacyApp:
    return LegacyApp(broker.url, topic, functools.partial(AiortcConnection, brightness=brightness))


@asynccontextmanager
async def camera(broker: BrokerUrl, leaf: str) -> AsyncIterator[None]:
    stop = asyncio.Event()
    source = await asyncio.to_thread(Pattern, 1, width=320, height=180, rate=15)
    host = Host.new(announce=["127.0.0.1"])
    published = Camera(source).publish(Leaf.parse(leaf), host=host, broker=broker, base="sfu", stop=stop)
    task = asyncio.create_task(published)
    try:
        yield
    finally:
        stop.set()
        await task


def live(service: Service, room: str) -> Callable[[], bool]:
    return lambda: service.rooms.live(room)


async def test_as_viewer_it_sees_the_camera_and_is_not_seen(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    async with (
        serving(broker.url) as service,
        camera(broker.url, "yard/pub/gate"),
        phone(broker, "sfu/yard/view/phone", DARK) as app,
        phone(broker, "sfu/yard/view/other", BRIGHT) as other,
    ):
        await until(live(service, "yard"))
        await app.press()
        await other.press()
        await asyncio.gather(plays(app), plays(other))
        assert [p["peer"] for p in service.rooms.state("yard")["producers"]] == ["gate"]
        assert all("sendrecv" not in answer and "recvonly" not in answer for answer in app.answers())
        viewer = service.server.participants[Leaf.parse("yard/view/phone")]
        assert viewer.uplink.tracks == {}
        assert not any(viewer.uplink.drops.values())  # its camera does not even send


async def test_two_members_see_and_hear_each_other(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    async with (
        serving(broker.url) as service,
        phone(broker, "sfu/lobby/join/one", DARK) as one,
        phone(broker, "sfu/lobby/join/two", BRIGHT) as two,
    ):
        await one.press()
        await two.press()
        await asyncio.gather(plays(one, brightness=BRIGHT), plays(two, brightness=DARK))
        # Candidates come a second late and say not which connection they are for; they change nothing.
        await until(lambda: one.sent["candidate"] and two.sent["candidate"])
        await asyncio.gather(plays(one, brightness=BRIGHT), plays(two, brightness=DARK))
        assert service.server.counters["connected"] == 2
        assert [message["type"] for message in one.received + two.received] == ["answer", "answer"]


async def test_a_flat_topic_is_a_member_beside_a_normal_one(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    async with (
        serving(broker.url, legacy_topics={"webrtcphone": "lobby/join/phone"}) as service,
        phone(broker, "webrtcphone", DARK) as flat,
        phone(broker, "sfu/lobby/join/tablet", BRIGHT) as normal,
    ):
        await flat.press()
        await normal.press()
        await asyncio.gather(plays(flat, brightness=BRIGHT), plays(normal, brightness=DARK))
        await until(lambda: len(service.rooms.state("lobby")["producers"]) == 2)
        assert {p["peer"] for p in service.rooms.state("lobby")["producers"]} == {"phone", "tablet"}


async def test_pressing_call_again_renegotiates_on_the_same_transport(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    async with (
        serving(broker.url) as service,
        phone(broker, "sfu/lobby/join/one", DARK) as one,
        phone(broker, "sfu/lobby/join/two", BRIGHT) as two,
    ):
        await one.press()
        await two.press()
        await asyncio.gather(plays(one), plays(two))
        transport = service.server.participants[Leaf.parse("lobby/join/one")].transport
        for _ in range(3):
            answered = len(one.answers())
            await one.press()
            await until(lambda answered=answered: len(one.answers()) > answered)
            await asyncio.gather(plays(one, brightness=BRIGHT), plays(two, brightness=DARK))
        assert service.server.participants[Leaf.parse("lobby/join/one")].transport is transport
        assert service.server.counters["sessions"] == 2


async def test_after_a_restart_of_the_server_the_call_button_works(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    async with phone(broker, "sfu/lobby/join/one", DARK) as one, phone(broker, "sfu/lobby/join/two", BRIGHT) as two:
        async with serving(broker.url):
            await one.press()
            await two.press()
            await asyncio.gather(plays(one), plays(two))
        async with serving(broker.url):
            for app in (one, two):
                app.replace_local()
                await app.press()
            await asyncio.gather(plays(one, brightness=BRIGHT), plays(two, brightness=DARK))


async def test_the_app_killed_and_started_again_works_at_once(mosquitto: StartMosquitto) -> None:
    """It has a new clientid then and says nothing of the old one; the newest session on a leaf wins."""
    broker = mosquitto()
    async with serving(broker.url) as service, phone(broker, "sfu/lobby/join/two", BRIGHT) as two:
        await two.press()
        async with phone(broker, "sfu/lobby/join/one", DARK) as one:
            await one.press()
            await asyncio.gather(plays(one, brightness=BRIGHT), plays(two, brightness=DARK))
        assert service.server.counters["ended_dtls"] == 0
        async with phone(broker, "sfu/lobby/join/one", DARK + 60) as again:
            await again.press()
            await asyncio.gather(plays(again, brightness=BRIGHT), plays(two, brightness=DARK + 60))
        assert service.server.counters["ended_replaced"] == 1
        assert not two.failures


async def test_bytes_of_latin_1_are_understood_and_ascii_comes_back(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    async with serving(broker.url) as service, phone(broker, "sfu/lobby/join/one") as app:
        offer = (await app.local.offer()).replace("\r\ns=-\r\n", "\r\ns=Büro ÿ\r\n")
        assert "Büro" in offer
        request = {"command": "signal", "clientid": app.clientid, "type": "offer", "data": offer}
        app.publish(json.dumps(request, ensure_ascii=False))
        await until(lambda: service.server.counters["connected"] == 1)
        assert app.answers()
        assert not app.failures


async def test_every_message_to_a_leaf_is_json_that_the_app_survives(mosquitto: StartMosquitto) -> None:
    """Whatever is wrong with what it sent: the app has no catch around `jsonDecode`."""
    broker = mosquitto()
    async with serving(broker.url), phone(broker, "sfu/lobby/join/one") as app:
        wrong: tuple[object, ...] = ("", "v=0", None, {}, 7, "x" * 70_000)
        for data in wrong:
            app.send("offer", data)
        await until(lambda: len(app.received) == 6)
        assert {message["type"] for message in app.received} == {"error"}
        assert not app.failures
        await app.press()
        await until(app.answers)


async def test_it_comes_back_after_the_broker_did(mosquitto: StartMosquitto) -> None:
    """Losing the broker leaves the media alone; its call button works again when it is back."""
    broker = mosquitto()
    async with (
        serving(broker.url) as service,
        camera(broker.url, "yard/pub/gate"),
        phone(broker, "sfu/yard/view/phone") as app,
    ):
        await until(live(service, "yard"))
        await app.press()
        await plays(app)
        broker.kill()
        await plays(app)
        app.subscribed.clear()  # before it can have subscribed again
        broker.restart()
        await service.link.wait_connected(PATIENCE_S)
        await asyncio.wait_for(app.subscribed.wait(), PATIENCE_S)
        await app.press()
        await until(lambda: len(app.answers()) == 2)
        await plays(app)
