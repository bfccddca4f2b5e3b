"""docs/asyncapi.yaml against a server at work on a real Mosquitto: every topic seen is in it, and all of it is seen."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sfu.signaling.topics import RESERVED, Topics
from tests.helpers.brokers import Mosquitto
from tests.helpers.file_camera import camera
from tests.helpers.media import make_file
from tests.helpers.mqtt_client import MqttClient, mqtt_client
from tests.helpers.peers import PeerCamera, publishing, watching
from tests.helpers.serving import serving
from tests.helpers.waiting import until
from tests.integration.docs.schemas import Document

ASYNCAPI = Document("asyncapi.yaml")
CHANNELS: dict[str, dict[str, Any]] = ASYNCAPI.content["channels"]
OPERATIONS: dict[str, dict[str, Any]] = ASYNCAPI.content["operations"]

_LEVEL = rf"(?!(?:{'|'.join(RESERVED)})(?:/|$))[A-Za-z0-9][A-Za-z0-9_-]*"
_PARTS = {
    "base": "sfu",
    "room": rf"{_LEVEL}(?:/{_LEVEL}){{0,3}}",
    "peer": "[A-Za-z0-9_-]+",
    "command": "[A-Za-z0-9_/-]+",
}


def channel_of(topic: str) -> str | None:
    """Returns the name of the one channel that a topic belongs to."""
    found = [name for name, channel in CHANNELS.items() if re.fullmatch(_pattern(channel["address"]), topic)]
    assert len(found) <= 1, f"{topic} is in {found}"
    return found[0] if found else None


def _pattern(address: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: _PARTS[match[1]], address)


def message_of(channel: str, payload: bytes) -> str:
    """Returns the name of the message that a payload is."""
    messages = CHANNELS[channel]["messages"]
    return str(json.loads(payload)["type"]) if "offer" in messages else next(iter(messages))


def faults(channel: str, name: str, payload: bytes) -> list[str]:
    """Returns what is wrong with a payload for a message of a channel."""
    reference = CHANNELS[channel]["messages"][name]
    pointer = reference.get("$ref", f"#/channels/{channel}/messages/{name}")
    message = ASYNCAPI.at(pointer)
    if message.get("contentType") == "image/jpeg":
        return [] if payload.startswith(b"\xff\xd8") else ["not a JPEG"]
    text = payload.decode("utf-8")
    return ASYNCAPI.faults(
        f"{pointer}/payload", text if message.get("contentType") == "text/plain" else json.loads(text)
    )


def sent() -> set[tuple[str, str]]:
    """Returns (channel, message) of all that the document lets the server publish."""
    pairs = set()
    for operation in OPERATIONS.values():
        channel = operation["channel"]["$ref"].rpartition("/")[2]
        messages = operation.get("messages") or [{"$ref": f"/{name}"} for name in CHANNELS[channel]["messages"]]
        if operation["action"] == "send":
            pairs |= {(channel, message["$ref"].rpartition("/")[2]) for message in messages}
    return pairs


@asynccontextmanager
async def server_at_work(mosquitto: Callable[..., Mosquitto], directory: Path) -> AsyncIterator[MqttClient]:
    """Runs a server through everything that it publishes about; yields all messages, once the server has ended."""
    source = make_file(directory / "source.mp4", options={"bf": "0", "g": "5"})
    url = mosquitto().url
    async with mqtt_client(url, topics=("#",)) as home:
        async with (
            serving(url, recording__dir=directory / "recordings", recording__rooms="lobby=off"),
            camera(url, "site/gate/pub/cam1", source),
            watching(url, "site/view/anna"),
            watching(url, "site/gate/join/ben"),
        ):
            await until(lambda: home.json("sfu/site/state").get("live"))
            home.publish("sfu/site/recordings/set", "ON")
            home.publish("sfu/lobby/recordings/set", "ON")
            await until(lambda: home.latest.get("sfu/site/recordings/state") == b"ON")
            home.publish("sfu/site/snapshot/set", "PRESS")
            await until(lambda: "sfu/site/snapshot/url" in home.latest)
            home.publish("sfu/bridge/request/ping", '{"transaction": 7}')
            await until(lambda: "sfu/bridge/response/ping" in home.latest)
            for leaf in ("site/pub/x", "site/view/x", "site/join/x"):
                offer = {"command": "signal", "clientid": "x", "type": "offer", "data": "v=0", "session": "12345678"}
                home.publish(f"sfu/{leaf}", json.dumps(offer))
            async with publishing(url, "site/gate/pub/cam2", camera=PeerCamera("video", "theora")):
                await until(lambda: len(home.json("sfu/site/state")["producers"]) == 2)
                await until(lambda: b"no_codec" in home.latest["sfu/site/state"])
            home.publish("sfu/site/recordings/set", "OFF")
            await until(lambda: home.latest.get("sfu/site/recordings/state") == b"OFF")
        await until(lambda: home.latest.get("sfu/bridge/state") == b"offline")
        await home.drained()
        yield home


async def test_a_server_at_work_publishes_what_the_document_says(
    mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    async with asyncio.timeout(120), server_at_work(mosquitto, tmp_path) as home:
        heard = [
            message for message in home.messages or () if not message.topic.startswith("drain/") and message.payload
        ]
    seen, events = set(), set()
    for message in heard:
        channel = channel_of(message.topic)
        assert channel is not None, message.topic
        name = message_of(channel, message.payload)
        assert faults(channel, name, message.payload) == [], (message.topic, message.payload)
        seen.add((channel, name))
        if channel == "event":
            events.add(json.loads(message.payload)["type"])
    assert sent() - seen == set(), "in the document, but never published"
    shapes = ASYNCAPI.at("#/components/schemas/Event")["oneOf"]
    known = {word for shape in shapes for word in shape["properties"]["type"].get("enum", [])} | {
        shape["properties"]["type"]["const"] for shape in shapes if "const" in shape["properties"]["type"]
    }
    # files are deleted by age and space: tests/integration/recorder and tests/unit/recorder/upkeep have that
    assert known - events == {"segment_deleted"}


def test_a_field_that_the_document_does_not_name_is_a_fault() -> None:
    state = {"v": 2, "live": False, "producers": [], "viewers": 0, "recording": False}
    assert faults("state", "state", json.dumps(state).encode()) == []
    assert faults("state", "state", json.dumps(state | {"mood": "good"}).encode()) != []
    assert faults("state", "state", json.dumps(state | {"viewers": "none"}).encode()) != []


def test_the_server_subscribes_to_what_the_document_lets_it_receive() -> None:
    received = {op["channel"]["$ref"].rpartition("/")[2] for op in OPERATIONS.values() if op["action"] == "receive"}
    examples = {name: _example(CHANNELS[name]["address"]) for name in CHANNELS}
    filters = [re.escape(topic).replace(r"\+", "[^/]+").replace(r"\#", ".*") for topic in Topics("sfu").subscriptions()]
    heard = {name for name, topic in examples.items() if any(re.fullmatch(each, topic) for each in filters)}
    assert heard == received
    for name in received:
        assert Topics("sfu").parse(examples[name]) is not None


def _example(address: str) -> str:
    values = {"base": "sfu", "room": "site/gate", "peer": "ann", "command": "ping"}
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], address)


@pytest.mark.parametrize("name", ASYNCAPI.content["components"]["schemas"])
def test_every_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(ASYNCAPI.content["components"]["schemas"][name])
