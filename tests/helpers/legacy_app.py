"""The original Flutter app as a test peer: bipark/webrtc_mqtt_flutter_phone, unchanged but for its topic.

Owns its half of MQTT (3.1, both ways on one topic) and what it does with each message, its faults included. The
peer connections are a test's choice: aiortc's here, a real browser's in `tests/browser`.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import itertools
import json
import math
import re
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Protocol, Self

import paho.mqtt.client as paho
from aiortc import (
    AudioStreamTrack,
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
    VideoStreamTrack,
)
from aiortc.sdp import candidate_from_sdp
from av import AudioFrame, VideoFrame
from paho.mqtt.enums import CallbackAPIVersion

from sfu.signaling.broker_url import BrokerUrl
from tests.helpers.waiting import PATIENCE_S

CANDIDATE_DELAY_S = 1.0
WIDTH, HEIGHT = 192, 128  # multiples of 64: a plane has no padding

_CANDIDATES = re.compile(r"a=(?:candidate:.*|end-of-candidates)\r\n")
_ORIGIN = re.compile(r"(?<=o=- )\d+ \d+")

Candidate = dict[str, Any]


class Connection(Protocol):
    """The part of `RTCPeerConnection` that the app uses, with its camera and microphone added."""

    async def offer(self) -> str:
        """Calls createOffer and setLocalDescription; returns the SDP as the former gave it."""

    async def answer(self, offer: str) -> str:
        """Calls setRemoteDescription, createAnswer and setLocalDescription; returns the SDP."""

    async def accept(self, answer: str) -> None:
        """Calls setRemoteDescription; raises when it does not fit."""

    async def add_candidate(self, candidate: Candidate) -> None:
        """Calls addCandidate."""

    async def kill(self) -> None:
        """Ends as a killed process does: sends nothing more."""


MakeConnection = Callable[[Callable[[Candidate], None]], Connection]
"""Takes the `onIceCandidate` handler."""


class LegacyApp:
    """`async with LegacyApp(url, topic) as app`: started; `press()` is the call button; the end is a killed process."""

    def __init__(self, broker: BrokerUrl, topic: str, make: MakeConnection | None = None) -> None:
        self.clientid = str(uuid.uuid1())
        self.failures: list[str] = []
        """Exceptions that the app would have thrown."""
        self.received: list[dict[str, Any]] = []
        """Every message of others, in order."""
        self.sent: Counter[str] = Counter()
        self.local: Connection
        self.remote: Connection | None = None
        self._broker = broker
        self._topic = topic
        self._make: MakeConnection = make or AiortcConnection
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._mqtt = paho.Client(CallbackAPIVersion.VERSION2, client_id=self.clientid, protocol=paho.MQTTv31)
        self.subscribed = asyncio.Event()
        self._mqtt.on_connect = self._on_connect
        self._mqtt.on_subscribe = self._on_subscribe
        self._mqtt.on_message = self._on_publish

    async def __aenter__(self) -> Self:
        self._mqtt.connect_async(self._broker.host, self._broker.port, keepalive=20)
        self._mqtt.loop_start()
        async with asyncio.timeout(PATIENCE_S):
            await self.subscribed.wait()
        self.local = self._make(self._on_candidate)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        sock = self._mqtt.socket()
        self._mqtt.loop_stop()
        if sock is not None:
            sock.close()  # without DISCONNECT, as the system does for a killed process
        for task in self._tasks:
            task.cancel()
        for connection in (self.local, self.remote):
            if connection is not None:
                await connection.kill()

    async def press(self) -> None:
        """Presses the call button."""
        self.send("offer", await self.local.offer())

    def replace_local(self) -> None:
        """Makes a fresh `_localPc`.

        Stands for what libwebrtc does inside the old one when an answer brings another fingerprint (new DTLS, new ICE
        parameters): aiortc knows only one association per connection.
        """
        self._spawn(self.local.kill())
        self.local = self._make(self._on_candidate)

    def answers(self) -> list[str]:
        """Returns the SDP of every answer received."""
        return [message["data"] for message in self.received if message.get("type") == "answer"]

    def publish(self, payload: str) -> None:
        """Publishes as `MqttClientPayloadBuilder.addString` does: one byte per character."""
        self._mqtt.publish(self._topic, payload.encode("latin-1"), qos=1)

    def send(self, event: str, data: object) -> None:
        self.sent[event] += 1
        request = {"command": "signal", "clientid": self.clientid, "type": event, "data": data}
        self.publish(json.dumps(request, ensure_ascii=False, separators=(",", ":")))

    def _on_candidate(self, candidate: Candidate) -> None:
        self._loop.call_later(CANDIDATE_DELAY_S, self.send, "candidate", candidate)

    def _on_connect(self, *_: object) -> None:
        self._mqtt.subscribe(self._topic, qos=0)

    def _on_subscribe(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self.subscribed.set)

    def _on_publish(self, _: object, __: object, message: paho.MQTTMessage) -> None:
        self._loop.call_soon_threadsafe(self._on_payload, bytes(message.payload))

    def _on_payload(self, payload: bytes) -> None:
        try:
            message = json.loads(payload.decode("latin-1"))
            if message["command"] != "signal" or message["clientid"] == self.clientid:
                return
        except (ValueError, TypeError, KeyError) as error:
            self.failures.append(f"jsonDecode of {payload[:80]!r}: {error!r}")
            return
        if not payload.isascii():
            self.failures.append(f"not ASCII: {payload[:80]!r}")
        self.received.append(message)
        self._spawn(self._handle(message))

    async def _handle(self, message: dict[str, Any]) -> None:
        try:
            match message["type"]:
                case "offer":
                    if self.remote is None:
                        self.remote = self._make(self._on_candidate)
                    self.send("answer", await self.remote.answer(message["data"]))
                case "answer":
                    await self.local.accept(message["data"])
                case "candidate":
                    await self.local.add_candidate(message["data"])
        except Exception as error:
            self.failures.append(f"{message['type']}: {error!r}")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class AiortcConnection:
    """A `Connection` of aiortc's with a camera of one brightness and a microphone that hums; counts what it receives.

    Its SDP is made to look like libwebrtc's where the server could tell: the first offer has no candidates, later ones
    have them all, the origin's version grows.
    """

    def __init__(self, on_candidate: Callable[[Candidate], None], *, brightness: int = 128) -> None:
        self.frames: Counter[str] = Counter()
        self.brightness: int | None = None
        """Median brightness of the last picture received."""
        self.loudness = 0
        """Peak of the last sound received."""
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.pc.addTrack(Hum())
        self.pc.addTrack(Grey(brightness))
        self.pc.on("track", self._on_track)
        self._on_candidate = on_candidate
        self._versions = itertools.count(2)
        self._gathered = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def offer(self) -> str:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return self._described()

    async def answer(self, offer: str) -> str:
        await self.pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self.pc.setLocalDescription(await self.pc.createAnswer())
        return self._described()

    async def accept(self, answer: str) -> None:
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def add_candidate(self, candidate: Candidate) -> None:
        parsed = candidate_from_sdp(candidate["candidate"].removeprefix("candidate:"))
        parsed.sdpMid, parsed.sdpMLineIndex = candidate["sdpMid"], candidate["sdpMLineIndex"]
        await self.pc.addIceCandidate(parsed)

    async def kill(self) -> None:
        for task in self._tasks:
            task.cancel()
        for transceiver in self.pc.getTransceivers():
            await transceiver.sender.transport.transport.stop()  # first, so that DTLS and RTCP cannot say goodbye
        await self.pc.close()

    def _described(self) -> str:
        sdp = self.pc.localDescription.sdp
        sdp = _ORIGIN.sub(f"4611731400430051336 {next(self._versions)}", sdp)
        if self._gathered:
            return sdp
        self._gathered = True
        for index, section in enumerate(sdp.split("\r\nm=")[1:]):
            mid = re.findall(r"a=mid:(\S+)", section)[0]
            ufrag = re.findall(r"a=ice-ufrag:(\S+)", section)[0]
            for line in re.findall(r"a=(candidate:.*)\r\n", section):
                candidate = f"{line} generation 0 ufrag {ufrag} network-id 1"
                self._on_candidate({"sdpMLineIndex": index, "sdpMid": mid, "candidate": candidate})
        return _CANDIDATES.sub("", sdp)

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._tasks.add(asyncio.create_task(self._play(track)))

    async def _play(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(Exception):  # the track has ended
            while True:
                frame = await track.recv()
                self.frames[track.kind] += 1
                if isinstance(frame, VideoFrame):
                    column = bytes(frame.planes[0])[:: frame.planes[0].line_size]
                    self.brightness = sorted(column)[len(column) // 2]
                elif isinstance(frame, AudioFrame):
                    self.loudness = max(map(abs, array.array("h", bytes(frame.planes[0]))))


class Grey(VideoStreamTrack):
    """A small picture of one brightness, 30 times a second, with a stripe that wanders."""

    def __init__(self, brightness: int) -> None:
        super().__init__()
        self._brightness = brightness
        self._count = 0

    async def recv(self) -> VideoFrame:
        pts, time_base = await self.next_timestamp()
        frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        luma = bytearray([self._brightness]) * (WIDTH * HEIGHT)
        row = self._count % HEIGHT * WIDTH
        luma[row : row + WIDTH] = bytes(WIDTH)
        frame.planes[0].update(bytes(luma))
        for plane in frame.planes[1:]:
            plane.update(b"\x80" * (WIDTH * HEIGHT // 4))
        frame.pts, frame.time_base = pts, time_base
        self._count += 1
        return frame


class Hum(AudioStreamTrack):
    """400 Hz at half of full scale."""

    _SAMPLES = array.array("h", (round(16384 * math.sin(math.tau * n / 20)) for n in range(160))).tobytes()

    async def recv(self) -> AudioFrame:
        frame = await super().recv()
        assert isinstance(frame, AudioFrame)
        frame.planes[0].update(self._SAMPLES)
        return frame
