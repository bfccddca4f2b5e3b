"""The server while others write on its topics, and flood it, on a broker without access rules."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from sfu.signaling.bodies import ErrorCode
from sfu.signaling.broker_url import BrokerUrl
from tests.helpers.brokers import Mosquitto, Proxy
from tests.helpers.mqtt_client import mqtt_client, retained_messages
from tests.helpers.offers import offer
from tests.helpers.peers import publishing, watching
from tests.helpers.raw_peer import raw_peer
from tests.helpers.serving import serving
from tests.helpers.waiting import until

Start = Callable[..., Mosquitto]
FORGED = {
    "sfu/bridge/state": b"offline",
    "sfu/bridge/info": b'{"clientid":"rogue","boot":"rogue"}',
    "sfu/yard/state": b'{"v":2,"live":true,"producers":[],"viewers":666,"recording":true}',
    "sfu/yard/availability": b"offline",
    "sfu/yard/viewers": b"666",
    "sfu/yard/recordings/state": b"ON",
    "sfu/yard/snapshot/url": b"http://evil.example/",
    "sfu/nowhere/state": b'{"live":true}',
    "sfu/no/where/availability": b"online",
}


async def as_it_was(url: BrokerUrl, before: dict[str, bytes]) -> None:
    """Returns when the broker retains what it did before; what it no longer has counts as cleared."""
    async with mqtt_client(url) as observer:
        await observer.drained()
        held = observer.latest

        def right() -> bool:
            return all(held.get(topic, b"") == before.get(topic, b"") for topic in (*FORGED, *before))

        await until(right, 5)


@pytest.mark.parametrize("older", [None, "connack"], ids=["mqtt 5", "mqtt 3.1.1"])
async def test_forged_state_is_put_right_and_counted(
    mosquitto: Start, caplog: pytest.LogCaptureFixture, older: str | None
) -> None:
    broker = mosquitto()
    async with (
        Proxy(broker.url, refuse_v5=older) as proxy,
        serving(proxy.url) as service,
        mqtt_client(broker.url) as stranger,
        publishing(broker.url, "yard/pub/cam") as camera,
        watching(broker.url, "yard/view/wall") as (viewer, _),
    ):
        await viewer.receives(camera)
        await until(lambda: stranger.latest.get("sfu/yard/viewers") == b"1")
        await until(lambda: stranger.json("sfu/yard/state").get("live"))
        before = await retained_messages(broker.url)
        for round_ in range(2):
            for topic, payload in FORGED.items():
                stranger.link.set_state(topic, payload + b" " * round_)
            await until(lambda round_=round_: service.link.counters["foreign_state"] >= len(FORGED) * (round_ + 1))
            await as_it_was(broker.url, before)
        assert viewer.sessions == 1
        assert caplog.text.count("a second server (rogue) uses the base sfu") == 1
    assert (await retained_messages(broker.url))["sfu/bridge/state"] == b"offline"


async def test_a_quiet_server_corrects_nothing(mosquitto: Start) -> None:
    broker = mosquitto()
    async with Proxy(broker.url, refuse_v5="connack") as proxy, serving(proxy.url) as service:
        async with mqtt_client(broker.url) as observer:
            for number in range(5):
                async with watching(broker.url, f"yard/view/wall{number}"):
                    await until(lambda: observer.latest.get("sfu/yard/viewers") == b"1")
        await asyncio.sleep(1.0)  # longer than a value may stand before it is corrected
        assert service.link.counters["foreign_state"] == 0


async def test_two_servers_on_a_base_warn_and_neither_takes_the_others_cameras(
    mosquitto: Start, caplog: pytest.LogCaptureFixture
) -> None:
    broker = mosquitto()
    async with (
        serving(broker.url) as first,
        publishing(broker.url, "yard/pub/cam") as camera,
        watching(broker.url, "yard/view/wall") as (viewer, _),
    ):
        await viewer.receives(camera)
        async with serving(broker.url) as second:
            await until(lambda: second.link.counters["foreign_state"] and first.link.counters["foreign_state"])
            await viewer.receives(camera, ahead=300)
            assert not second.server.participants
        await viewer.receives(camera)
        assert (viewer.sessions, viewer.downs) == (1, [])
        await until(lambda: caplog.text.count("a second server") == 2)  # each of them says so
        async with mqtt_client(broker.url) as home:
            await until(lambda: home.latest.get("sfu/bridge/state") == b"online")


async def test_the_connection_is_not_taken_by_whoever_reads_our_topics(mosquitto: Start) -> None:
    """A broker ends the connection of a client when another one comes with the same client id."""
    broker = mosquitto()
    async with serving(broker.url) as service, mqtt_client(broker.url) as observer:
        async with raw_peer(observer, "yard/view/wall", sections=()) as peer:
            peer.send("offer", "nonsense")
            await until(lambda: peer.errors)
        seen = b"".join(message.payload for message in observer.messages or ())
        assert service.clientid.encode() in seen
        assert service.link.client_id.encode() not in seen
        assert len(service.link.client_id) >= 32


OFFERS = 1500


async def test_each_offer_of_a_flood_is_handled_or_counted_as_refused(
    mosquitto: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """A broker drops what a slow client leaves with it, and a full queue what it cannot hold: both without a word."""
    broker = mosquitto()
    text = offer("chromium-view")
    async with serving(broker.url) as service, mqtt_client(broker.url, topics=("sfu/bridge/state",)) as eve:
        for number in range(OFFERS):
            said = {"clientid": f"eve{number}", "session": f"session-{number}", "data": text}
            message = {"command": "signal", "type": "offer", "v": 2} | said
            eve.publish(f"sfu/flood{number % 50}/view/eve{number}", json.dumps(message))
        counters = service.server.counters
        await until(lambda: counters["sessions"] + counters["offers_refused"] == OFFERS, 90)
        assert service.link.counters["intake_full"] == 0
    assert "queue" not in caplog.text


async def test_a_flood_on_one_leaf_is_refused_and_others_hardly_wait(mosquitto: Start) -> None:
    broker = mosquitto()
    async with (
        serving(broker.url) as service,
        mqtt_client(broker.url) as eve,
        raw_peer(eve, "flood/view/eve", sections=()) as flooder,
        publishing(broker.url, "yard/pub/cam") as camera,
    ):
        for _ in range(OFFERS):
            flooder.send("offer", "v=0")
        async with watching(broker.url, "yard/view/wall") as (viewer, _):
            await viewer.receives(camera)
        limit = service.settings.limits.messages
        await until(lambda: service.server.counters["rate_limited"] == OFFERS - limit)
        await until(lambda: flooder.errors.count(ErrorCode.RATE_LIMITED) == 1)
        assert flooder.errors.count(ErrorCode.BAD_REQUEST) == limit


@pytest.mark.parametrize(
    ("topic", "change", "word"),
    [
        ("sfu/yard/view/wall", {"clientid": "somebody"}, "clientid must be the peer id"),
        ("sfu/yard/view/wall", {"command": None}, "command"),
        ("sfu/yard/publish/wall", {}, "pub, view or join"),
        ("sfu/site/yard/subscribe/wall", {}, "pub, view or join"),
        ("sfu/yard/view/wall.1", {}, "a peer's id"),
        ("sfu/bad.yard/view/wall", {}, "a room has"),
    ],
)
async def test_an_offer_that_cannot_be_meant_so_is_told_why(
    mosquitto: Start, topic: str, change: dict[str, object], word: str
) -> None:
    broker = mosquitto()
    async with serving(broker.url), serving(broker.url), mqtt_client(broker.url) as client:
        message = {"command": "signal", "clientid": "wall", "type": "offer", "data": "v=0", "session": "12345678"}
        client.publish(topic, json.dumps(message | change))

        def errors() -> list[dict[str, object]]:
            said = [json.loads(each.payload) for each in client.messages or () if each.topic == topic]
            return [each["data"] for each in said if each.get("type") == "error"]

        await until(lambda: len(errors()) == 2)  # of each of the two servers, which do not answer each other
        await client.drained()
        await asyncio.sleep(0.3)  # time in which they might
        assert len(errors()) == 2
        assert all(error["code"] == "bad_request" and word in str(error["message"]) for error in errors())
