"""Recordings as users have them: switched over MQTT, real cameras, files that FFmpeg decodes to the last frame."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from recorder.store import Segment, Store
from recorder.walltime import rfc3339
from sfu.peers.publish import publish
from sfu.signaling.mqtt import BrokerUrl
from tests.brokers import Mosquitto
from tests.cast import Wire, wire
from tests.media import make_file
from tests.recorded import complaints, probed
from tests.serving import serving
from tests.waiting import until

StartMosquitto = Callable[..., Mosquitto]


@contextlib.asynccontextmanager
async def camera(url: BrokerUrl, leaf: str, source: Path) -> AsyncIterator[None]:
    """`sfu publish` of a file, for ever."""
    room, _, peer = leaf.rpartition("/pub/")
    stop = asyncio.Event()
    task = asyncio.create_task(
        publish(room, str(source), peer_id=peer, loop=True, broker=url, stop=stop, report=lambda _: None)
    )
    try:
        yield
    finally:
        stop.set()
        await task


def events(home: Wire, room: str) -> list[dict[str, Any]]:
    topic = f"sfu/{room}/event"
    told = [json.loads(message.payload) for message in home.heard or () if message.topic == topic]
    return [event for event in told if event["type"].startswith(("recording", "segment"))]


def segments(directory: Path) -> list[Segment]:
    return sorted(Store(directory).walk(), key=lambda segment: segment.start_us)


async def test_on_and_off_over_mqtt(mosquitto: StartMosquitto, tmp_path: Path) -> None:
    url = mosquitto().url
    source = make_file(tmp_path / "source.mp4", options={"bf": "0"})
    directory = tmp_path / "recordings"
    async with wire(url) as home, serving(url, recording__dir=directory), camera(url, "front/pub/cam1", source):
        await until(lambda: home.json("sfu/front/state").get("live"))
        await until(lambda: home.latest.get("sfu/front/recordings/state") == b"OFF")
        home.publish("sfu/front/recordings/set", "ON")
        await until(lambda: home.latest["sfu/front/recordings/state"] == b"ON")
        assert home.json("sfu/front/state")["recording"]
        await asyncio.sleep(1)
        home.publish("sfu/front/recordings/set", "OFF")
        await until(lambda: home.latest["sfu/front/recordings/state"] == b"OFF")
        await until(lambda: len(events(home, "front")) == 3)
        started, told, stopped = events(home, "front")
        (segment,) = segments(directory)
        assert complaints(segment.path) == ""
        seen = probed(segment.path)
        assert {kind: stream.codec for kind, stream in seen.items()} == {"video": "h264", "audio": "opus"}
        assert [event["type"] for event in (started, told, stopped)] == [
            "recording_started",
            "segment",
            "recording_stopped",
        ]
        assert told["start"] == started["start"] == rfc3339(segment.start_us)
        assert told["bytes"] == segment.path.stat().st_size
        assert directory / told["file"] == segment.path
        assert stopped["reason"] == "stopped"
