"""Who gets in on a leaf of a real broker: nobody by accident, and nobody else is disturbed."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable

import jwt
import pytest

from sfu.access.rights import Claims, Right, Use
from sfu.access.sealing import NONCE_BYTES, Seal, Speaker
from sfu.access.tokens import mint
from sfu.clients.proof.source import GivenToken, MintedToken
from sfu.service import Service
from sfu.signaling import messages
from sfu.signaling.bodies import Bye, ErrorCode, ErrorNotice, Offer
from sfu.signaling.messages import Envelope, SealedFrame
from sfu.signaling.topics import Leaf
from tests.helpers.brokers import Mosquitto
from tests.helpers.mqtt_client import mqtt_client
from tests.helpers.peers import PeerViewer, publishing, watching
from tests.helpers.raw_peer import raw_peer
from tests.helpers.serving import serving
from tests.helpers.waiting import until

Start = Callable[..., Mosquitto]
CAMERA, EYE = "site/pub/cam", "site/view/eye"
TOKENS = {"access__mode": "on", "access__broker": "tokens"}
pytestmark = pytest.mark.usefixtures("access_on")


def token(service: Service, room: str = "site", sub: str = "eye", can: Right = Right.VIEW, **options: object) -> str:
    assert service.authority is not None
    return service.authority.mint(sub, (room,), (can,), **({"lasts_s": 600.0} | options))[0]  # type: ignore[arg-type]


def key_of(service: Service) -> bytes:
    assert service.authority is not None
    return service.authority.keys.current


def bad_tokens(service: Service) -> dict[str, str]:
    claims = Claims("eye", ("site",), frozenset({Right.VIEW}), time.time() + 600, "a-b")
    fields = jwt.decode(token(service), options={"verify_signature": False})
    unsigned = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "none", "typ": "JWT"}, fields)
    ]
    rs256 = base64.urlsafe_b64encode(b'{"alg":"RS256","typ":"JWT"}').rstrip(b"=").decode()
    return {
        "none": "",
        "large": "x" * 4000,
        "alg none": ".".join([*unsigned, ""]),
        "rs256": ".".join([rs256, *token(service).split(".")[1:]]),
        "other key": mint(secrets.token_bytes(32), claims),
        "sub-room": token(service, "site/gate"),
        "other room": token(service, "sit"),
        "other name": token(service, sub="ear"),
        "other verb": token(service, can=Right.PUBLISH),
        "expired": mint(key_of(service), Claims("eye", ("site",), frozenset({Right.VIEW}), time.time() - 1, "a-c")),
        "sealed": token(service, use=Use.SEALED),
    }


async def test_a_bad_token_begins_no_session_and_replaces_nobody(mosquitto: Start) -> None:
    broker = mosquitto()
    async with serving(broker.url, **TOKENS) as service, mqtt_client(broker.url) as wire:
        good = token(service)
        async with watching(broker.url, EYE, token=GivenToken(good)):
            await until(lambda: service.server.counters["connected"])
            for name, bad in bad_tokens(service).items():
                async with raw_peer(wire, EYE, PeerViewer()) as peer:
                    peer.send("offer", await peer.make_offer(), **({"token": bad} if bad else {}))
                    await until(lambda peer=peer: peer.errors)
                    assert peer.errors == [ErrorCode.UNAUTHORIZED], name
                    text = next(body.message for body in peer.messages if isinstance(body, ErrorNotice))
                    assert not bad or bad not in text
            assert service.server.counters["sessions"] == 1
            assert Leaf.parse(EYE) in service.server.participants


async def test_a_revoked_token_ends_its_session(mosquitto: Start) -> None:
    broker = mosquitto()
    async with serving(broker.url, **TOKENS) as service, mqtt_client(broker.url) as wire:
        good = token(service)
        async with raw_peer(wire, EYE, PeerViewer()) as peer:
            peer.send("offer", await peer.make_offer(), token=good)
            await until(lambda: peer.answers)
            assert service.authority is not None
            service.authority.revoke(service.authority.read(good))
            await until(lambda: any(isinstance(body, Bye) for body in peer.messages), 5.0)
            assert peer.errors == [ErrorCode.UNAUTHORIZED]
            assert not service.server.participants


async def test_sealed_by_default_where_anybody_writes(mosquitto: Start) -> None:
    """Camera and viewer meet; the broker sees no address and no room's state; clear offers and words do nothing."""
    broker = mosquitto()
    async with serving(broker.url) as service, mqtt_client(broker.url) as stranger:
        seal = MintedToken(lambda: key_of(service), Use.SEALED)
        async with (
            publishing(broker.url, CAMERA, token=seal) as camera,
            watching(broker.url, EYE, token=seal) as (viewer, _),
        ):
            await viewer.receives(camera, "v0")
            session = service.server.participants[Leaf.parse(EYE)].session
            stranger.publish(f"sfu/{EYE}", messages.dump(Envelope("eye", Bye(), session=session)))
            stranger.publish("sfu/site/recordings/set", b"ON")
            async with raw_peer(stranger, "site/view/eve", PeerViewer()) as peer:
                peer.send("offer", await peer.make_offer(), token=token(service, sub="eve"))
                await until(lambda: peer.errors)
                assert peer.errors == [ErrorCode.UNAUTHORIZED]
            await until(lambda: service.gate.counters["refused_command"])
            await viewer.missed_nothing(camera)
            assert service.server.counters["sessions"] == 2
            info = stranger.json("sfu/bridge/info")
            assert (info["access"], info["http"]) == ({"mode": "on", "leaves": "sealed"}, None)
            seen = b"".join(message.payload for message in stranger.messages or () if b'"eve"' not in message.payload)
            for secret in (b"ice-ufrag", b"127.0.0.1", b'"joined"'):
                assert secret not in seen
            assert not [
                message
                for message in stranger.messages or ()
                if message.payload and message.topic.startswith("sfu/site/state")
            ]


async def test_nothing_but_the_sealed_words_of_a_token_is_heard(mosquitto: Start) -> None:
    broker = mosquitto()
    async with serving(broker.url) as service, mqtt_client(broker.url) as wire:
        seal, topic, session = Seal.of_token(token(service, use=Use.SEALED)), f"sfu/{EYE}", secrets.token_hex(8)
        heard: list[bytes] = []
        wire.listeners[topic] = heard.append

        def closed(number: int, *, at: str = topic, boot: str = service.boot, speaker: Speaker = Speaker.PEER) -> str:
            inner = messages.dump(Envelope("eye", Offer("v=0"), session=session, n=number))
            return seal.close(inner, speaker=speaker, topic=at, boot=boot, nonce=secrets.token_bytes(NONCE_BYTES))

        good = closed(5)
        octets = base64.urlsafe_b64decode(good + "=" * (-len(good) % 4))
        bad = [
            closed(5, at="sfu/site/view/ear"),
            closed(5, boot="other"),
            closed(5, speaker=Speaker.SERVER),
            good[:30],
        ]
        for place in range(0, len(octets), 16):
            flipped = bytes((*octets[:place], octets[place] ^ 1, *octets[place + 1 :]))
            bad.append(base64.urlsafe_b64encode(flipped).rstrip(b"=").decode())
        bad = bad[:15]
        for data in bad:
            wire.publish(topic, messages.dump_sealed(SealedFrame("eye", seal.kid, data)))
        await until(lambda: service.gate.counters["bad_seal"] == len(bad))

        long = {"command": "signal", "clientid": "eye", "type": "sealed", "v": 2, "kid": "k" * 10_000, "data": good}
        wire.publish(topic, json.dumps(long))
        await until(lambda: service.server.counters["refused_bad_request"] == 1)

        def answers() -> list[ErrorNotice]:
            frames = [messages.parse_sealed(payload) for payload in heard if b'"kkk' not in payload]
            opened = [
                messages.parse(seal.open(frame.data, speaker=Speaker.SERVER, topic=topic, boot=service.boot))
                for frame in frames
                if frame is not None and frame.clientid != "eye"
            ]
            return [each.body for each in opened if each is not None and isinstance(each.body, ErrorNotice)]

        assert not answers()
        assert all(messages.parse_sealed(payload) for payload in heard if b'"kkk' not in payload)
        for _ in range(2):  # the second one is a replay
            wire.publish(topic, messages.dump_sealed(SealedFrame("eye", seal.kid, good)))
        await until(lambda: len(answers()) == 2)
        assert [(notice.code, notice.last) for notice in answers()] == [
            (ErrorCode.BAD_REQUEST, None),
            (ErrorCode.REPLAYED, 5),
        ]
        assert not service.server.participants


async def test_a_legacy_room_lets_everybody_in(mosquitto: Start) -> None:
    broker = mosquitto()
    async with (
        serving(broker.url, access__legacy="site") as service,
        publishing(broker.url, "site/gate/pub/cam") as camera,
        watching(broker.url, "site/gate/view/eye") as (viewer, _),
    ):
        await viewer.receives(camera, "v0")
        assert service.server.counters["sessions"] == 2
