"""A front that speaks sealed messages for a server that knows none: it opens what peers seal, and seals the answers.

A test can make it lie, which a real server does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import replace

from sfu.access.sealing import NONCE_BYTES, Seal, SealError, Speaker
from sfu.signaling import messages
from sfu.signaling.bodies import ErrorCode, ErrorNotice
from sfu.signaling.broker_url import BrokerUrl
from sfu.signaling.intake import Incoming
from sfu.signaling.link import BrokerLink
from sfu.signaling.messages import Envelope, SealedFrame
from tests.helpers.waiting import PATIENCE_S

HIDDEN = "hidden"
"""The base of the server behind a front."""


class SealedFront:
    """One front: its key, its boot id, and what it has seen."""

    link: BrokerLink

    def __init__(self, key: bytes, base: str = "sfu") -> None:
        self.key = key
        self.base = base
        self.boot = secrets.token_hex(8)
        self.kids: list[str] = []
        """The kids of the offers that it opened, without repetitions in a row."""
        self.replayed = Counter[str]()
        self.least: dict[str, int] = defaultdict(int)
        """The highest number seen, by topic and kid."""
        self._seals: dict[str, Seal] = {}
        self._numbers = Counter[str]()
        self.server: dict[str, bytes] = {}
        """The latest sealed words to each leaf."""

    def take(self, incoming: Incoming) -> None:
        base, _, leaf = incoming.topic.partition("/")
        if base == self.base:
            self._from_peer(leaf, incoming.payload)
        else:
            self._from_server(leaf, incoming.payload)

    def _from_peer(self, leaf: str, payload: bytes) -> None:
        topic = f"{self.base}/{leaf}"
        frame = messages.parse_sealed(payload)
        if frame is None or frame.clientid == "front":
            return
        seal = Seal.of_kid(frame.kid, self.key)
        try:
            inner = seal.open(frame.data, speaker=Speaker.PEER, topic=topic, boot=self.boot)
        except SealError:
            return
        envelope = messages.parse(inner)
        assert envelope is not None
        assert envelope.n is not None
        self._seals[leaf] = seal
        place = f"{topic} {frame.kid}"
        if envelope.n <= self.least[place]:
            self.replayed[leaf] += 1
            notice = ErrorNotice(ErrorCode.REPLAYED, "too small", last=self.least[place])
            self.say(leaf, Envelope("front", notice, session=envelope.session))
            return
        self.least[place] = envelope.n
        if envelope.body.type == "offer" and self.kids[-1:] != [frame.kid]:
            self.kids.append(frame.kid)
        self.link.publish(f"{HIDDEN}/{leaf}", messages.dump(replace(envelope, n=None)))

    def _from_server(self, leaf: str, payload: bytes) -> None:
        envelope = messages.parse(payload)
        if envelope is not None and envelope.clientid.startswith("sfu-"):
            self.say(leaf, envelope)

    def say(self, leaf: str, envelope: Envelope) -> None:
        """Says something to the peer of a leaf, sealed."""
        seal = self._seals[leaf]
        self._numbers[leaf] += 1
        inner = messages.dump(replace(envelope, n=self._numbers[leaf]))
        topic, nonce = f"{self.base}/{leaf}", secrets.token_bytes(NONCE_BYTES)
        data = seal.close(inner, speaker=Speaker.SERVER, topic=topic, boot=self.boot, nonce=nonce)
        self.server[leaf] = messages.dump_sealed(SealedFrame("front", seal.kid, data))
        self.link.publish(topic, self.server[leaf])


@contextlib.asynccontextmanager
async def sealed_front(url: BrokerUrl, key: bytes) -> AsyncIterator[SealedFront]:
    """Runs a front on base `sfu` for a server on base `hidden`."""
    front = SealedFront(key)
    filters = [
        f"{base}/{depth}/{role}/+" for base in ("sfu", HIDDEN) for depth in ("+", "+/+") for role in ("pub", "view")
    ]
    front.link = BrokerLink(
        url,
        client_id=f"front-{secrets.token_hex(8)}",
        subscriptions=filters,
        own_state=("sfu/bridge/info", "sfu/bridge/state"),
        on_message=lambda message: (
            front.link.heard_state(message.topic, message.payload)
            if message.topic.startswith("sfu/bridge/")
            else front.take(message)
        ),
    )
    front.link.set_state("sfu/bridge/info", json.dumps({"boot": front.boot}).encode())
    front.link.set_state("sfu/bridge/state", b"online")
    task = asyncio.create_task(front.link.run(), name="front")
    try:
        await front.link.wait_connected(PATIENCE_S)
        yield front
    finally:
        await front.link.close()
        await asyncio.wait({task})
