"""A stand-in for the server: it says what a test wants said, so that each state of the page can be looked at.

Speaks the protocol (docs/protocol.md) through a real door and answers with aiortc, which encodes a moving pattern for
each camera. The page's tests against the real server are elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aioice.ice
from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import AudioStreamTrack
from av import VideoFrame

from tests.helpers.http import DoorStage

# Whole multiples of 64, so that a plane has no padding.
WIDTH, HEIGHT = 512, 288


class Pattern(VideoStreamTrack):
    """A drifting gradient in a colour of the camera's own, ten pictures a second."""

    def __init__(self, hue: int) -> None:
        super().__init__()
        self._colours = bytes([60 + hue * 53 % 140]), bytes([60 + hue * 97 % 140])
        self._count = 0

    async def recv(self) -> VideoFrame:
        await asyncio.sleep(0.1)
        frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        ramp = bytes(40 + abs((x % WIDTH) - WIDTH // 2) * 160 // (WIDTH // 2) for x in range(WIDTH * 2))
        offsets = ((self._count * 4 + y) % WIDTH for y in range(HEIGHT))
        frame.planes[0].update(b"".join(ramp[offset : offset + WIDTH] for offset in offsets))
        for plane, colour in zip(frame.planes[1:], self._colours, strict=True):
            plane.update(colour * (WIDTH * HEIGHT // 4))
        frame.pts, frame.time_base = self._count * 9000, fractions.Fraction(1, 90000)
        self._count += 1
        return frame


@dataclass(frozen=True)
class Camera:
    room: str
    peer: str
    audio: bool = True
    reason: str | None = None
    codec: str = "VP8"

    def source(self, kind: str) -> dict[str, str]:
        codec = self.codec if kind == "video" else "opus"
        return {"room": self.room, "peer": self.peer, "track": kind, "codec": codec}


@dataclass
class StandIn:
    """`cameras` are on air; `refuse` is an error that every offer gets instead of an answer."""

    stage: DoorStage
    base: str = "sfu"
    cameras: list[Camera] = field(default_factory=list)
    refuse: dict[str, Any] | None = None
    offers: list[dict[str, Any]] = field(default_factory=list)
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    connections: dict[tuple[str, str], RTCPeerConnection] = field(default_factory=dict)

    async def announce(self, *cameras: Camera, recording: bool = False) -> None:
        """Makes `cameras` the ones on air: state topics and `tracks` for every viewer."""
        gone = {camera.room for camera in self.cameras} - {camera.room for camera in cameras}
        self.cameras = list(cameras)
        for room in gone | {camera.room for camera in cameras}:
            producers = [
                {"peer": camera.peer, "since": "2026-01-01T00:00:00Z", "tracks": []}
                for camera in cameras
                if camera.room == room
            ]
            state: dict[str, Any] = {"v": 2, "live": bool(producers), "producers": producers, "viewers": 0}
            state["recording"] = recording
            await self.publish(f"{room}/state", json.dumps(state), retain=True)
        for (topic, session), connection in self.connections.items():
            await self._show(topic, session, connection)

    async def online(self, state: str = "online", boot: str = "one") -> None:
        await self.publish("bridge/info", json.dumps({"v": 2, "boot": boot}), retain=True)
        await self.publish("bridge/state", state, retain=True)

    async def fall_silent(self) -> None:
        """Stops to send on every connection and forgets it, without a word, as a killed server does."""
        for connection in self.connections.values():
            await connection.getSenders()[0].transport.transport.stop()
        self.connections.clear()

    async def publish(self, topic: str, payload: str, *, retain: bool = False) -> None:
        topic = f"{self.base}/{topic}"
        if retain:
            self.stage.board.retain(topic, payload.encode())
        else:
            self.stage.board.say(topic, payload.encode())

    async def serve(self) -> None:
        while True:
            topic, payload = await self.stage.next_said()
            envelope = json.loads(payload)
            self.messages.append((topic, envelope))
            if envelope["type"] == "offer":
                self.offers.append(envelope)
                await self._answer(topic, envelope)

    async def send(self, topic: str, session: str, kind: str, data: object) -> None:
        envelope = {"command": "signal", "v": 2, "clientid": "server", "session": session, "type": kind, "data": data}
        self.stage.board.say(topic, json.dumps(envelope).encode())

    async def _answer(self, topic: str, envelope: dict[str, Any]) -> None:
        session = envelope["session"]
        if self.refuse:
            await self.send(topic, session, "error", self.refuse)
            return
        connection = self.connections.setdefault((topic, session), RTCPeerConnection())
        await connection.setRemoteDescription(RTCSessionDescription(sdp=envelope["data"], type="offer"))
        if "/view/" in topic:
            for transceiver in connection.getTransceivers():
                transceiver.direction = "sendonly"
                if transceiver.sender.track is None:
                    track = (
                        Pattern(len(self.offers) * 5 + int(transceiver.mid))
                        if transceiver.kind == "video"
                        else AudioStreamTrack()
                    )
                    transceiver.sender.replaceTrack(track)
        await connection.setLocalDescription(await connection.createAnswer())
        await self.send(topic, session, "answer", connection.localDescription.sdp)
        await self._show(topic, session, connection)

    async def _show(self, topic: str, session: str, connection: RTCPeerConnection) -> None:
        if "/view/" not in topic:
            return
        room = topic.removeprefix(self.base + "/").split("/view/")[0]
        cameras = [camera for camera in self.cameras if camera.room == room or camera.room.startswith(room + "/")]
        slots = []
        for kind in ("video", "audio"):
            sections = [transceiver for transceiver in connection.getTransceivers() if transceiver.kind == kind]
            for index, section in enumerate(sections):
                camera = cameras[index] if index < len(cameras) else None
                if camera and (kind == "video" or camera.audio):
                    slot = {"mid": section.mid, "kind": kind, "source": camera.source(kind)}
                    slots.append(slot | ({"reason": camera.reason} if camera.reason and kind == "video" else {}))
                else:
                    slots.append({"mid": section.mid, "kind": kind, "source": None})
        await self.send(topic, session, "tracks", {"slots": slots})


@contextlib.asynccontextmanager
async def stand_in(stage: DoorStage) -> AsyncIterator[StandIn]:
    """Runs behind this door, online."""
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    server = StandIn(stage)
    serving = asyncio.create_task(server.serve())
    await server.online()
    try:
        yield server
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await asyncio.gather(*(connection.close() for connection in server.connections.values()))
