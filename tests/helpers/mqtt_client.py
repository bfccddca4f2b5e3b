"""An MQTT client that receives everything and publishes anything."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from sfu.signaling.broker_url import BrokerUrl, Tls
from sfu.signaling.intake import Incoming
from sfu.signaling.link import BrokerLink
from tests.helpers.waiting import PATIENCE_S, until


class MqttClient:
    """One MQTT client that keeps every message it receives and publishes on any topic."""

    link: BrokerLink

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}
        """Retained messages that came on subscribing, by topic."""
        self.latest: dict[str, bytes] = {}
        self.messages: list[Incoming] | None = []
        """All messages in order; None to keep none."""
        self.listeners: dict[str, Callable[[bytes], None]] = {}

    def take(self, incoming: Incoming) -> None:
        if incoming.retained:
            self.retained[incoming.topic] = incoming.payload
        self.latest[incoming.topic] = incoming.payload
        if self.messages is not None:
            self.messages.append(incoming)
        if listener := self.listeners.get(incoming.topic):
            listener(incoming.payload)

    def publish(self, topic: str, payload: bytes | str) -> None:
        assert self.link.publish(topic, payload.encode() if isinstance(payload, str) else payload)

    def json(self, topic: str) -> Any:
        """Returns the latest message on a topic; {} for none."""
        return json.loads(self.latest.get(topic, b"{}"))

    def events(self, room: str, base: str = "sfu") -> list[tuple[str, str]]:
        """Returns (type, peer) of a room's events so far."""
        topic = f"{base}/{room}/event"
        events = [json.loads(message.payload) for message in self.messages or () if message.topic == topic]
        return [(event["type"], event["peer"]) for event in events]

    async def drained(self) -> None:
        """Returns when every message that the broker had for us before now has arrived."""
        topic, token = f"drain/{self.link.client_id}", secrets.token_bytes(8)
        self.publish(topic, token)
        await until(lambda: self.latest.get(topic) == token)


@contextlib.asynccontextmanager
async def mqtt_client(
    url: BrokerUrl, *, topics: Sequence[str] = ("sfu/#",), tls: Tls | None = None
) -> AsyncIterator[MqttClient]:
    client_id = f"test-{secrets.token_hex(4)}"
    made = MqttClient()
    made.link = link = BrokerLink(
        url,
        client_id=client_id,
        subscriptions=(),
        watch=(*topics, f"drain/{client_id}"),
        on_message=made.take,
        tls=tls,
        max_payload=1 << 20,
        backoff=(0.05, 0.2),
    )
    task = asyncio.create_task(link.run(), name=client_id)
    try:
        await link.wait_connected(PATIENCE_S)
        yield made
    finally:
        await link.close()
        await asyncio.wait({task})


async def retained_messages(url: BrokerUrl, *, tls: Tls | None = None) -> dict[str, bytes]:
    """Returns the messages that the broker retains now, by topic."""
    async with mqtt_client(url, tls=tls) as observer:
        await observer.drained()
        return observer.retained
