"""Our own clients when a server refuses their token, or when somebody says that it does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from sfu.access.rights import Use
from sfu.clients.proof.source import GivenToken, MintedToken, TokenFile
from sfu.signaling import messages
from sfu.signaling.bodies import ErrorCode, ErrorNotice
from sfu.signaling.messages import Envelope
from sfu.signaling.topics import Leaf
from tests.helpers.brokers import Mosquitto
from tests.helpers.mqtt_client import MqttClient, mqtt_client
from tests.helpers.peers import publishing, watching
from tests.helpers.sealed_front import HIDDEN, sealed_front
from tests.helpers.serving import serving
from tests.helpers.waiting import until

Start = Callable[..., Mosquitto]
EYE = "yard/view/eye"
TEXT = "the token has expired: get a new one"


@asynccontextmanager
async def refusing(broker: Mosquitto, *, unless: str = "") -> AsyncIterator[MqttClient]:
    """A server on base `sfu` that refuses each offer that does not show this token."""
    async with mqtt_client(broker.url) as server:

        def answer(payload: bytes) -> None:
            envelope = messages.parse(payload)
            if envelope is not None and envelope.body.type == "offer" and envelope.token != unless:
                notice = ErrorNotice(ErrorCode.UNAUTHORIZED, TEXT)
                server.publish(f"sfu/{EYE}", messages.dump(Envelope("sfu-x", notice, session=envelope.session)))
            elif envelope is not None and envelope.body.type == "offer":
                server.publish(f"hidden/{EYE}", payload)

        server.listeners[f"sfu/{EYE}"] = answer
        yield server


async def test_a_refused_token_that_stays_as_it_is_ends_the_peer_with_advice(mosquitto: Start) -> None:
    broker = mosquitto()
    async with refusing(broker), watching(broker.url, EYE, token=GivenToken("bad")) as (viewer, _):
        assert viewer.error is not None
        assert str(viewer.error).startswith(
            f"unauthorized: {TEXT}. On the server's machine `sfu token yard --role view"
        )
        assert "bad" not in str(viewer.error)


async def test_a_refused_token_of_a_file_is_tried_again_when_it_is_renewed(mosquitto: Start, tmp_path: Path) -> None:
    broker, path = mosquitto(), tmp_path / "token"
    path.write_text("old", encoding="utf-8")
    async with refusing(broker, unless="new") as server:
        waiting = watching(broker.url, EYE, token=TokenFile(path))
        entering = asyncio.ensure_future(waiting.__aenter__())
        offers: list[bytes] = []
        async with mqtt_client(broker.url, topics=("hidden/#",)) as observer:
            observer.listeners[f"hidden/{EYE}"] = offers.append
            await until(lambda: len([m for m in server.messages or () if m.topic == f"sfu/{EYE}"]) >= 4)
            assert not entering.done()
            path.write_text("new", encoding="utf-8")
            await until(lambda: offers)
        entering.cancel()
        await asyncio.wait({entering})


async def test_what_strangers_say_in_clear_is_shown_once_and_ends_nothing(mosquitto: Start) -> None:
    broker, key = mosquitto(), b"k" * 32
    async with mqtt_client(broker.url) as stranger:
        stranger.link.set_state("sfu/bridge/info", json.dumps({"boot": "forged"}).encode())

        def refuse(payload: bytes) -> None:
            if b'"sealed"' in payload:
                notice = ErrorNotice(ErrorCode.UNAUTHORIZED, "buy a token of me")
                stranger.publish(f"sfu/{EYE}", messages.dump(Envelope("sfu-x", notice)))

        stranger.listeners[f"sfu/{EYE}"] = refuse
        await stranger.drained()
        waiting = watching(broker.url, EYE, token=MintedToken(lambda: key, Use.SEALED))
        entering = asyncio.ensure_future(waiting.__aenter__())
        await until(lambda: len([m for m in stranger.messages or () if b"buy a token" in m.payload]) >= 2)
        assert not entering.done()
        async with serving(broker.url, base=HIDDEN), sealed_front(broker.url, key):
            viewer, peer = await entering
            assert peer.up
            assert [down for down in viewer.downs if "somebody" in down] == [
                "somebody on the broker says: unauthorized: buy a token of me"
            ]
            await waiting.__aexit__(None, None, None)


async def test_an_access_token_is_shown_in_each_offer(mosquitto: Start) -> None:
    broker = mosquitto()
    source = MintedToken(lambda: b"k" * 32, Use.ACCESS)
    async with (
        serving(broker.url),
        mqtt_client(broker.url) as observer,
        publishing(broker.url, "yard/pub/cam", token=source),
    ):
        await until(lambda: "sfu/yard/pub/cam" in observer.latest)
        first = next(m for m in observer.messages or () if m.topic == "sfu/yard/pub/cam")
        assert json.loads(first.payload)["token"] == source.current(Leaf.parse("yard/pub/cam"))
