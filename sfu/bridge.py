"""What the server says on the broker: of itself (`bridge/...`), and on whose topic its rooms' words go.

Owns the JSON of `bridge/info` and `bridge/response`. Decides nothing about rooms and keeps no connection.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

from sfu.signaling.link import BrokerLink
from sfu.signaling.topics import BridgeRequest, Leaf, Topics

NAME: Final = "mqtt-sfu"
VERSION: Final = version(NAME)
_EXPIRY: Final = 30  # seconds that a broker keeps signalling and events for somebody who is away


@dataclass(frozen=True, slots=True)
class MqttPublisher:
    """The room server's words on their topics."""

    link: BrokerLink
    topics: Topics

    def signal(self, leaf: Leaf, payload: bytes) -> None:
        """One signalling message to a leaf."""
        self.link.publish(self.topics.leaf(leaf), payload, expiry_s=_EXPIRY)

    def event(self, room: str, payload: bytes) -> None:
        """One event of a room."""
        self.link.publish(self.topics.event(room), payload, expiry_s=_EXPIRY)

    def tell(self, room: str, event: Mapping[str, Any]) -> None:
        """The same, as JSON."""
        self.event(room, json.dumps(event).encode())

    def snapshot(self, room: str, picture: bytes, url: str | None) -> None:
        """A picture of the room, and where there is a larger one."""
        self.link.publish(self.topics.snapshot(room), picture, expiry_s=_EXPIRY)
        if url is not None:
            self.link.set_state(self.topics.snapshot_url(room), url.encode())

    def room_state(self, room: str, state: Mapping[str, Any] | None) -> None:
        """State, availability, viewers and recording of a room, retained; None clears all that is."""
        topics = self.topics
        places = (topics.state, topics.availability, topics.viewers, topics.recordings)
        words: tuple[bytes | None, ...] = (None,) * len(places)
        if state is not None:
            available = b"online" if state["live"] else b"offline"
            recording = b"ON" if state["recording"] else b"OFF"
            words = (json.dumps(state).encode(), available, str(state["viewers"]).encode(), recording)
        for topic, word in zip(places, words, strict=True):
            self.link.set_state(topic(room), word)
        if state is None:
            self.link.set_state(topics.snapshot_url(room), None)


@dataclass(frozen=True, slots=True)
class Chronicle:
    """The recorder's words: what changes a room's state goes through the rooms, which also tell of it."""

    outbox: MqttPublisher
    note: Callable[..., None]

    def recording(self, room: str, peer: str, on: bool, event: dict[str, Any]) -> None:
        """A peer is being recorded from now on, or not any more."""
        self.note(room, peer, on=on, event=event)

    def event(self, room: str, event: dict[str, Any]) -> None:
        """Something else happened to a recording of the room."""
        self.outbox.tell(room, event)


def info(
    *, clientid: str, ice_servers: Sequence[Mapping[str, object]], limits: Mapping[str, object], http: str | None
) -> bytes:
    """The payload of `bridge/info`; `boot` is new with each call, which tells peers that the server started anew."""
    words = {
        "v": 2,
        "name": NAME,
        "version": VERSION,
        "clientid": clientid,
        "boot": secrets.token_hex(8),
        "started": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "ice_servers": list(ice_servers),
        "limits": dict(limits),
        "http": http,
    }
    return json.dumps(words).encode()


def refusal(request: BridgeRequest, payload: bytes) -> bytes:
    """The answer to a request: no command exists yet, and whoever sends one is told so, as Zigbee2MQTT would."""
    response: dict[str, Any] = {"status": "error", "error": f"unknown command {request.command}"}
    try:
        body = json.loads(payload)
    except ValueError:
        body = None
    if isinstance(body, dict) and "transaction" in body:
        response["transaction"] = body["transaction"]
    return json.dumps(response).encode()
