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
from tests.helpers.cast import Lens, Screen, Wire, calling, filming, kept, watching, wire
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
            yield Lines(*[proxy.url] * 3, observer=broker.url)
            assert {4} <= set(proxy.levels)
    elif kind == "websocket":
        broker = mosquitto(websocket=True)
        yield Lines(*[broker.websocket_url] * 3, observer=broker.url)
    elif kind == "tls":
        broker = mosquitto(tls=True)
        files = broker.certificates
        assert files is not None
        settings = {"tls__ca": files.ca, "tls__certificate": files.client, "tls__key": files.client_key}
        yield Lines(*[broker.url] * 4, tls=files.tls, settings=settings)
    elif kind == "acl":
        url = mosquitto(acl=ACL, passwords=PASSWORDS).url
        users = [replace(url, username=name, password=PASSWORDS[name]) for name in ("sfu", "cam1", "anna", "home")]
        yield Lines(*users)
    else:
        broker = mosquitto()
        yield Lines(*[broker.url] * 4)


@pytest.mark.parametrize("kind", ["mqtt 5", "mqtt 3.1.1", "websocket", "tls", "acl"])
async def test_a_camera_reaches_a_viewer_whole_and_the_room_s_topics_say_so(
    mosquitto: StartMosquitto, kind: str
) -> None:
    async with (
        lines(kind, mosquitto) as line,
        wire(line.observer, tls=line.tls) as home,
        serving(line.server, **(line.settings or {})),
    ):
        async with (
            filming(line.camera, "front/pub/cam1", tls=line.tls) as lens,
            watching(line.viewer, "front/view/anna", tls=line.tls) as (screen, _),
        ):
            await screen.missed_nothing(lens, "v0", "a0")
            await screen.told("cam1", "v0", "a0")
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
    retained = await kept(line.observer, tls=line.tls) if kind != "mqtt 3.1.1" else {"sfu/bridge/state": b"offline"}
    assert retained["sfu/bridge/state"] == b"offline"
    assert not [topic for topic in retained if "/pub/" in topic or "/view/" in topic or topic.endswith("/event")]


async def test_access_rules_keep_strangers_out_of_other_leaves(mosquitto: StartMosquitto) -> None:
    async with lines("acl", mosquitto) as line, serving(line.server) as service:
        async with (
            wire(line.viewer) as anna,
            filming(line.camera, "front/pub/cam1") as lens,
            watching(line.viewer, "front/view/anna") as (screen, _),
        ):
            anna.publish(
                "sfu/front/pub/cam1", json.dumps({"command": "signal", "clientid": "cam1", "type": "bye", "data": {}})
            )
            anna.publish("sfu/front/state", "{}")
            await screen.missed_nothing(lens)
            await until(lambda: service.server.counters["ended_bye"] == 0 and "sfu/front/state" in anna.latest)
        assert not [topic for topic in anna.latest if topic.startswith("sfu/front/pub")]


async def test_a_camera_may_come_after_the_viewer_leave_and_come_back_into_its_slot(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    async with serving(url), watching(url, "front/view/anna", windows=2) as (screen, _):
        await screen.told(None, "v0", "a0", "v1", "a1")
        async with filming(url, "front/pub/cam1") as first, filming(url, "front/pub/cam2"):
            await until(lambda: {screen.showing("v0"), screen.showing("v1")} == {"cam1", "cam2"})
            await until(lambda: screen.showing("a0") == screen.showing("v0"))
            number = 0 if screen.showing("v0") == "cam1" else 1
            await screen.missed_nothing(first, f"v{number}", f"a{number}")
        await screen.told(None, "v0", "a0", "v1", "a1")
        async with filming(url, "front/pub/cam1", lens=first):
            await screen.told("cam1", f"v{number}", f"a{number}")
            await screen.sees(first, f"v{number}")
            await screen.sees(first, f"a{number}")
        assert screen.sessions == 1


async def test_a_room_shows_what_its_sub_rooms_have_and_not_the_other_way_round(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    async with (
        serving(url),
        wire(url) as home,
        filming(url, "site/gate/pub/gate") as gate,
        filming(url, "site/yard/north/pub/north") as north,
        watching(url, "site/view/anna", windows=2) as (site, _),
        watching(url, "site/gate/view/bert", windows=2) as (below, _),
    ):
        await until(lambda: {site.showing("v0"), site.showing("v1")} == {"gate", "north"})
        for lens, name in ((gate, "gate"), (north, "north")):
            await site.missed_nothing(lens, "v0" if site.showing("v0") == name else "v1")
        await below.missed_nothing(gate)
        assert below.showing("v1") is None
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
        wire(url) as home,
        member(home, "anna") as (anna_lens, anna_screen),
        member(home, "bert") as (bert_lens, bert_screen),
    ):
        for screen, other, lens in ((anna_screen, "bert", bert_lens), (bert_screen, "anna", anna_lens)):
            await screen.missed_nothing(lens, "video", "audio")
            await screen.told(other, "video", "audio")
            assert {name for name, _ in screen.received["video"]} == {lens.name}


@contextlib.asynccontextmanager
async def member(home: Wire, name: str) -> AsyncIterator[tuple[Lens, Screen]]:
    """A `join` peer: what its lens sends and its screen shows goes over the same two sections."""
    lens, screen = Lens(), Screen()
    sections = [replace(section, direction="sendrecv") for section in lens.sections]
    async with calling(home, f"call/join/{name}", screen, sections=sections) as caller:
        await caller.call()
        assert screen.answer is not None
        lens.on_answer(screen.answer)
        film = asyncio.create_task(lens.film(caller))
        try:
            yield lens, screen
        finally:
            film.cancel()


async def test_select_shows_a_chosen_camera_nothing_or_waits_for_one_that_is_away(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    async with (
        serving(url),
        filming(url, "front/pub/cam1") as first,
        watching(url, "front/view/anna", windows=1) as (screen, peer),
        filming(url, "front/pub/cam2") as second,
    ):
        await screen.sees(first)
        peer.select("v0", "cam2")
        await screen.sees(second, "v0")
        await screen.sees(second, "a0")  # a window's sound goes with its picture
        await screen.told("cam2", "v0", "a0")
        peer.select("v0", None)
        await screen.told(None, "v0", "a0")
        peer.select("v0", "cam3")
        await until(lambda: screen.slots["v0"].reason == "away")
        async with filming(url, "front/pub/cam3") as third:
            await screen.sees(third)
        await until(lambda: screen.slots["v0"].reason == "away")
        peer.select("v0", "cam1")
        await screen.sees(first)
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
        filming(url, "front/pub/cam1") as first,
    ):
        await screen.sees(first)
        async with filming(url, "front/pub/cam1") as second:
            if same_peer == "replace":
                await screen.sees(second)
                assert service.server.counters["ended_replaced"] == 1
            else:
                await until(lambda: service.server.counters["refused_producer_exists"] == 1)
                await screen.missed_nothing(first)
            await until(lambda: len(service.server.participants) == 2)
        if same_peer == "replace":
            await until(lambda: len(service.server.participants) == 1)
