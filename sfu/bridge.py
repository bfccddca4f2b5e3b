"""The server's own topics: `bridge/...`, and the topic of each thing that its rooms publish.

Owns the JSON of `bridge/info` and `bridge/response`. Decides nothing about rooms and keeps no connection.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

from sfu.http.door.board import Board
from sfu.signaling.link import BrokerLink
from sfu.signaling.topics import BridgeRequest, Topics

_log = logging.getLogger(__name__)

NAME: Final = "mqtt-sfu"
VERSION: Final = version(NAME)
_EXPIRY_S: Final = 30
"""The broker keeps signalling and events so long for a client that is away."""
_MAX_ECHO: Final = 256
"""Characters of a request that its answer repeats."""
_MAX_REQUEST_BYTES: Final = 4096
"""The longest request that is read."""


@dataclass(frozen=True, slots=True)
class MqttPublisher:
    """The publisher of everything the server says, each on its topic: at the broker, and on the board of the door."""

    link: BrokerLink
    topics: Topics
    board: Board
    public: Callable[[str], bool] = lambda _room: True
    """Returns True if everybody at the broker may know what happens in a room."""

    def signal(self, topic: str, payload: bytes) -> None:
        """Publishes one signalling message on the topic of a leaf, at the broker: the door has its own way back."""
        self.link.publish(topic, payload, expiry_s=_EXPIRY_S)

    def event(self, room: str, payload: bytes) -> None:
        """Publishes one event of a room, given as JSON."""
        if self.public(room):
            self.link.publish(self.topics.event(room), payload, expiry_s=_EXPIRY_S)
        self.board.say(self.topics.event(room), payload, room)

    def stray(self, topic: str, payload: bytes) -> None:
        """Publishes a message on a topic that is no leaf."""
        self.link.publish(topic, payload, expiry_s=_EXPIRY_S)

    def response(self, request: BridgeRequest, payload: bytes) -> None:
        """Publishes the answer to a bridge request, whose payload is given."""
        self.link.publish(self.topics.response(request.command), refusal(request, payload))

    def snapshot(self, room: str, picture: bytes, url: str | None) -> None:
        """Publishes a JPEG of the room and, retained, the URL of a larger one if there is one."""
        if self.public(room):
            self.link.publish(self.topics.snapshot(room), picture, expiry_s=_EXPIRY_S)
        self.board.say(self.topics.snapshot(room), picture, room)
        if url is not None:
            self._retain(self.topics.snapshot_url(room), url.encode(), room)

    def room_state(self, room: str, state: Mapping[str, Any] | None) -> None:
        """Retains the state, availability, number of viewers and recording of a room; None clears all of them."""
        topics = self.topics
        state_topics = (topics.state, topics.availability, topics.viewers, topics.recordings)
        payloads: tuple[bytes | None, ...] = (None,) * len(state_topics)
        if state is not None:
            available = b"online" if state["live"] else b"offline"
            recording = b"ON" if state["recording"] else b"OFF"
            payloads = (json.dumps(state).encode(), available, str(state["viewers"]).encode(), recording)
        for topic, payload in zip(state_topics, payloads, strict=True):
            self._retain(topic(room), payload, room)
        if state is None:
            self._retain(topics.snapshot_url(room), None, room)

    def present(self, info: bytes) -> None:
        """Retains the description of the server. The link itself says at the broker that the server is online."""
        self._retain(self.topics.bridge_info, info, None)
        self.board.retain(self.topics.bridge_state, b"online")

    def absent(self) -> None:
        """Tells the door's clients that the server ends. The link does so at the broker."""
        self.board.retain(self.topics.bridge_state, b"offline")

    def _retain(self, topic: str, payload: bytes | None, room: str | None) -> None:
        self.link.set_state(topic, payload if room is None or self.public(room) else None)
        self.board.retain(topic, payload, room)


class OwnTopics:
    """The retained topics of this server, on which others write by mistake or to deceive."""

    def __init__(self, link: BrokerLink, topics: Topics, clientid: str) -> None:
        self._link = link
        self._topics = topics
        self._clientid = clientid
        self._warned = False

    def heard(self, topic: str, payload: bytes) -> None:
        """Learns what somebody has written on one of them: sets our value again, and warns once of a second server."""
        self._link.heard_state(topic, payload)
        if topic == self._topics.bridge_info and not self._warned and (other := _clientid(payload)) != self._clientid:
            self._warned = other is not None
            if other is not None:
                _log.warning(
                    "a second server (%s) uses the base %s on this broker: give each server a base of its own",
                    other[:64],
                    self._topics.base,
                )


def _clientid(info: bytes) -> str | None:
    try:
        clientid = json.loads(info)["clientid"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return clientid if isinstance(clientid, str) else None


@dataclass(frozen=True, slots=True)
class RecordingPublisher:
    """The publisher of recording events. Starts and ends go through the rooms, whose state they change."""

    publisher: MqttPublisher
    note: Callable[..., None]

    def recording(self, room: str, peer: str, on: bool, event: dict[str, Any]) -> None:
        """Notes that the recording of a peer has started or ended."""
        self.note(room, peer, on=on, event=event)

    def event(self, room: str, event: dict[str, Any]) -> None:
        """Publishes any other event of a recording in the room."""
        self.publisher.event(room, json.dumps(event).encode())


def info(
    *,
    clientid: str,
    boot: str,
    access: Mapping[str, str],
    ice_servers: Sequence[Mapping[str, object]],
    limits: Mapping[str, object],
    http: str | None,
) -> bytes:
    """Returns the payload of `bridge/info`.

    `boot` is new with each start: peers see by it that the server has started again. `access`: what it asks for.
    """
    fields = {
        "v": 2,
        "name": NAME,
        "version": VERSION,
        "clientid": clientid,
        "boot": boot,
        "started": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "ice_servers": list(ice_servers),
        "limits": dict(limits),
        "http": http,
        "access": dict(access),
    }
    return json.dumps(fields).encode()


def refusal(request: BridgeRequest, payload: bytes) -> bytes:
    """Returns the error that answers a request, in the form of Zigbee2MQTT. No command exists yet.

    What it repeats of the request is short: an answer must not make a flood of requests larger.
    """
    response: dict[str, Any] = {"status": "error", "error": f"unknown command {request.command[:_MAX_ECHO]}"}
    with contextlib.suppress(ValueError, RecursionError):
        body = json.loads(payload) if len(payload) <= _MAX_REQUEST_BYTES else None
        if isinstance(body, dict) and "transaction" in body:
            transaction = body["transaction"]
            echo = transaction[:_MAX_ECHO] if isinstance(transaction, str) else transaction
            if isinstance(echo, str) or len(json.dumps(echo)) <= _MAX_ECHO:
                response["transaction"] = echo
    return json.dumps(response).encode()
