"""The server as its users have it: cameras and viewers over every kind of broker connection, no browser."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from sfu.signaling.broker_url import BrokerUrl, Tls
from tests.helpers.brokers import Mosquitto, Proxy
from tests.helpers.mqtt_client import MqttClient, mqtt_client, retained_messages
from tests.helpers.peers import PeerCamera, PeerViewer, publishing, watching
from tests.helpers.raw_peer import raw_peer
from tests.helpers.serving import serving
from tests.helpers.waiting import until

StartMosquitto = Callable[..., Mosquitto]

# as in docs/deployment.md: a camera's account has its room and leaf, a viewer's account is its peer id
ACL = """
user sfu
topic readwrite sfu/#
user home
topic read sfu/#
topic deny sfu/+/pub/+
topic deny sfu/+/view/+
topic deny sfu/+/join/+
topic readwrite drain/#
user cam1
topic readwrite sfu/front/pub/cam1
pattern readwrite sfu/+/view/%u
pattern read sfu/bridge/+
pattern read sfu/+/state
pattern read sfu/+/availability
"""
PASSWORDS = {name: f"{name}-password" for name in ("sfu", "home", "cam1", "anna")}


@dataclass(frozen=True)
class Lines:
    """How each party reaches the broker."""

    server: BrokerUrl
    camera: BrokerUrl
    viewer: BrokerUrl
    observer: BrokerUrl
    tls: Tls | None = None
    settings: dict[str, Any] | None = None


@contextlib.asynccontextmanager
async def lines(kind: str, mosquitto: StartMosquitto) -> AsyncIterator[Lines]:
    if kind == "mqtt 3.1.1":
        broker = mosquitto()
        async with Proxy(broker.url, refuse_v5="connack") as proxy:
            yield Lines(proxy.url, proxy.url, proxy.url, broker.url)
            assert {4} <= set(proxy.levels)
    elif kind == "websocket":
        broker = mosquitto(websocket=True)
        url = broker.websocket_url
        yield Lines(url, url, url, broker.url)
    elif kind == "tls":
        broker = mosquitto(tls=True)
        files = broker.certificates
        assert files is not None
        settings = {"tls__ca": files.ca, "tls__certificate": files.client, "tls__key": files.client_key}
        yield Lines(broker.url, broker.url, broker.url, broker.url, tls=files.tls, settings=settings)
    elif kind == "acl":
        url = mosquitto(acl=ACL, passwords=PASSWORDS).url
        users = {
            name: replace(url, username=name, password=PASSWORDS[name]) for name in ("sfu", "cam1", "anna", "home")
        }
        yield Lines(users["sfu"], users["cam1"], users["anna"], users["home"])
    else:
        broker = mosquitto()
        yield Lines(broker.url, broker.url, broker.url, broker.url)


@pytest.mark.parametrize("kind", ["mqtt 5", "mqtt 3.1.1", "websocket", "tls", "acl"])
async def test_a_camera_reaches_a_viewer_whole_and_the_room_s_topics_say_so(
    mosquitto: StartMosquitto, kind: str
) -> None:
    async with (
        lines(kind, mosquitto) as line,
        mqtt_client(line.observer, tls=line.tls) as home,
        serving(line.server, **(line.settings or {})),
    ):
        async with (
            publishing(line.camera, "front/pub/cam1", tls=line.tls) as sender,
            watching(line.viewer, "front/view/anna", tls=line.tls) as (screen, _),
        ):
            await screen.missed_nothing(sender, "v0", "a0")
            await screen.shows("cam1", "v0", "a0")
            assert {
                mid: (s.source.room, s.source.peer, s.source.codec) for mid, s in screen.slots.items() if s.source
            } == {
                "v0": ("front", "cam1", "VP8"),
                "a0": ("front", "cam1", "opus"),
            }
            # Who of the two came first is nobody's to say: the last of the messages tells of both.
            await until(
                lambda: home.json("sfu/front/state").get("viewers") == 1 and home.json("sfu/front/state")["live"]
            )
            state = home.json("sfu/front/state")
            assert (state["v"], state["recording"]) == (2, False)
            (producer,) = state["producers"]
            assert producer["peer"] == "cam1"
            assert [(t["kind"], t["codec"]) for t in producer["tracks"]] == [("video", "VP8"), ("audio", "opus")]
            await until(lambda: home.latest.get("sfu/front/availability") == b"online")
            await until(lambda: home.latest.get("sfu/front/viewers") == b"1")
            await until(lambda: home.latest.get("sfu/bridge/state") == b"online")
            await until(lambda: home.json("sfu/bridge/info").get("v") == 2)
        await until(lambda: home.latest.get("sfu/front/availability") == b"offline")
        await until(lambda: home.latest["sfu/front/viewers"] == b"0")
        await until(lambda: home.json("sfu/front/state")["producers"] == [])
        await until(lambda: len(home.events("front")) == 4)
        assert sorted(home.events("front")) == [
            ("producer_joined", "cam1"),
            ("producer_left", "cam1"),
            ("viewer_joined", "anna"),
            ("viewer_left", "anna"),
        ]
    retained = (
        await retained_messages(line.observer, tls=line.tls)
        if kind != "mqtt 3.1.1"
        else {"sfu/bridge/state": b"offline"}
    )
    assert retained["sfu/bridge/state"] == b"offline"
    assert not [topic for topic in retained if "/pub/" in topic or "/view/" in topic or topic.endswith("/event")]


async def test_access_rules_keep_strangers_out_of_other_leaves(mosquitto: StartMosquitto) -> None:
    async with lines("acl", mosquitto) as line, serving(line.server) as service:
        async with (
            mqtt_client(line.viewer) as anna,
            publishing(line.camera, "front/pub/cam1") as sender,
            watching(line.viewer, "front/view/anna") as (screen, _),
        ):
            anna.publish(
                "sfu/front/pub/cam1", json.dumps({"command": "signal", "clientid": "cam1", "type": "bye", "data": {}})
            )
            anna.publish("sfu/front/state", "{}")
            await screen.missed_nothing(sender)
            await until(lambda: service.server.counters["ended_bye"] == 0 and "sfu/front/state" in anna.latest)
        assert not [topic for topic in anna.latest if topic.startswith("sfu/front/pub")]


async def test_a_camera_may_come_after_the_viewer_leave_and_come_back_into_its_slot(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    async with serving(url), watching(url, "front/view/anna", windows=2) as (screen, _):
        await screen.shows(None, "v0", "a0", "v1", "a1")
        async with publishing(url, "front/pub/cam1") as first, publishing(url, "front/pub/cam2"):
            await until(lambda: {screen.source_of("v0"), screen.source_of("v1")} == {"cam1", "cam2"})
            await until(lambda: screen.source_of("a0") == screen.source_of("v0"))
            number = 0 if screen.source_of("v0") == "cam1" else 1
            await screen.missed_nothing(first, f"v{number}", f"a{number}")
        await screen.shows(None, "v0", "a0", "v1", "a1")
        async with publishing(url, "front/pub/cam1", camera=first):
            await screen.shows("cam1", f"v{number}", f"a{number}")
            await screen.receives(first, f"v{number}")
            await screen.receives(first, f"a{number}")
        assert screen.sessions == 1


async def test_a_room_shows_what_its_sub_rooms_have_and_not_the_other_way_round(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    async with (
        serving(url),
        mqtt_client(url) as home,
        publishing(url, "site/gate/pub/gate") as gate,
        publishing(url, "site/yard/north/pub/north") as north,
        watching(url, "site/view/anna", windows=2) as (site, _),
        watching(url, "site/gate/view/bert", windows=2) as (below, _),
    ):
        await until(lambda: {site.source_of("v0"), site.source_of("v1")} == {"gate", "north"})
        for sender, name in ((gate, "gate"), (north, "north")):
            await site.missed_nothing(sender, "v0" if site.source_of("v0") == name else "v1")
        await below.missed_nothing(gate)
        assert below.source_of("v1") is None
        await until(lambda: len(home.json("sfu/site/state").get("producers", ())) == 2)
        rooms = {entry["peer"]: entry.get("room") for entry in home.json("sfu/site/state")["producers"]}
        assert rooms == {"gate": "site/gate", "north": "site/yard/north"}
        await until(lambda: home.latest.get("sfu/site/availability") == b"online")
        await until(lambda: home.json("sfu/site/yard/state").get("live"))
        await until(lambda: home.json("sfu/site/gate/state").get("viewers") == 1)


async def test_members_of_a_room_see_each_other_and_never_themselves(mosquitto: StartMosquitto) -> None:
    """Two `join` leaves as the original app has them: one section both ways for picture, one for sound."""
    url = mosquitto().url
    async with (
        serving(url),
        mqtt_client(url) as home,
        member(home, "anna") as (anna_camera, anna_viewer),
        member(home, "bert") as (bert_camera, bert_viewer),
    ):
        for screen, other, sender in ((anna_viewer, "bert", bert_camera), (bert_viewer, "anna", anna_camera)):
            await screen.missed_nothing(sender, "video", "audio")
            await screen.shows(other, "video", "audio")
            assert {name for name, _ in screen.received["video"]} == {sender.name}


@contextlib.asynccontextmanager
async def member(home: MqttClient, name: str) -> AsyncIterator[tuple[PeerCamera, PeerViewer]]:
    """A `join` peer: it sends and receives over the same two sections."""
    sender, screen = PeerCamera(), PeerViewer()
    sections = [replace(section, direction="sendrecv") for section in sender.sections]
    async with raw_peer(home, f"call/join/{name}", screen, sections=sections) as caller:
        await caller.connect()
        assert screen.answer is not None
        sender.on_answer(screen.answer)
        sending = asyncio.create_task(sender.send_forever(caller))
        try:
            yield sender, screen
        finally:
            sending.cancel()


async def test_select_shows_a_chosen_camera_nothing_or_waits_for_one_that_is_away(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    async with (
        serving(url),
        publishing(url, "front/pub/cam1") as first,
        watching(url, "front/view/anna", windows=1) as (screen, peer),
        publishing(url, "front/pub/cam2") as second,
    ):
        await screen.receives(first)
        peer.select("v0", "cam2")
        await screen.receives(second, "v0")
        await screen.receives(second, "a0")  # a window's sound goes with its picture
        await screen.shows("cam2", "v0", "a0")
        peer.select("v0", None)
        await screen.shows(None, "v0", "a0")
        peer.select("v0", "cam3")
        await until(lambda: screen.slots["v0"].reason == "away")
        async with publishing(url, "front/pub/cam3") as third:
            await screen.receives(third)
        await until(lambda: screen.slots["v0"].reason == "away")
        peer.select("v0", "cam1")
        await screen.receives(first)
        assert {(b - a) & 0xFFFF for a, b in zip(screen.sequences["v0"], screen.sequences["v0"][1:], strict=False)} == {
            1
        }


@pytest.mark.parametrize("same_peer", ["replace", "reject"])
async def test_a_second_session_of_a_camera_replaces_the_first_or_is_refused(
    mosquitto: StartMosquitto, same_peer: str
) -> None:
    url = mosquitto().url
    async with (
        serving(url, same_peer=same_peer) as service,
        watching(url, "front/view/anna") as (screen, _),
        publishing(url, "front/pub/cam1") as first,
    ):
        await screen.receives(first)
        async with publishing(url, "front/pub/cam1") as second:
            if same_peer == "replace":
                await screen.receives(second)
                assert service.server.counters["ended_replaced"] == 1
            else:
                await until(lambda: service.server.counters["refused_producer_exists"] == 1)
                await screen.missed_nothing(first)
            await until(lambda: len(service.server.participants) == 2)
        if same_peer == "replace":
            await until(lambda: len(service.server.participants) == 1)
