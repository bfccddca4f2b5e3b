"""Cameras made here whose pictures a test can tell apart: plain colours, key frames when asked, some on their side."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import av

from sfu.clients.attempt import Host
from sfu.clients.encode import VideoEncoder
from sfu.clients.frames import Frame, MediaSource, SourceCounters, h264
from sfu.clients.outgoing import OutgoingStream
from sfu.clients.publish import Camera
from sfu.service import Service
from sfu.signaling.broker_url import BrokerUrl
from sfu.signaling.topics import Leaf, Role

WIDTH, HEIGHT = 320, 176
RATE = 20
# Y, Cb, Cr of full red, green and blue (BT.601, limited range); what a screen shows of them is near these.
YCBCR = {"red": (81, 90, 240), "green": (145, 54, 34), "blue": (41, 240, 110)}


class Painted:
    """A live `MediaSource` of one plain colour; its pictures differ by one step of brightness."""

    live = True

    def __init__(self, colour: str = "red", *, key_interval: float = 3600.0) -> None:
        self.codecs = (h264(),)
        self.counters = SourceCounters()
        self._colour = YCBCR[colour]
        self._encoder = VideoEncoder(WIDTH, HEIGHT, RATE, key_interval=key_interval)

    async def frames(self) -> AsyncIterator[Frame]:
        loop = asyncio.get_running_loop()
        start = loop.time()
        number = 0
        while True:
            for seconds, data, key in self._encoder.encode(self._picture(number), number / RATE):
                yield Frame(0, seconds, data, key)
            number += 1
            await asyncio.sleep(start + number / RATE - loop.time())

    def request_key_frame(self) -> None:
        self._encoder.request_key_frame()

    async def close(self) -> None:
        return

    def _picture(self, number: int) -> av.VideoFrame:
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        y, cb, cr = self._colour
        for plane, value in zip(frame.planes, (y + number % 2, cb, cr), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        return frame


class TurningStream(OutgoingStream):
    """A stream of turned pictures, which their last packet says as phones do (3GPP TS 26.114 section 7.4.5)."""

    turn = 0
    """Quarter turns."""

    def packetize(self, frame: Frame, wall: float) -> list[bytes]:
        return super().packetize(replace(frame, orientation=self.turn), wall)


class Phone(Camera):
    """A camera that can be turned in the hand."""

    def __init__(self, source: MediaSource) -> None:
        super().__init__(source)
        self.stream = TurningStream(source.codecs[0], mid="0", ssrc=0x7E1E, sequence=1, offset=1)
        self._streams = self._by_track = [self.stream]


HOST = Host.new(announce=("127.0.0.1",))


@contextlib.asynccontextmanager
async def on_air(
    service: Service, room: str, peer: str, camera: Camera, *, broker: BrokerUrl | None = None
) -> AsyncIterator[None]:
    """Publishes `camera` as `peer` in `room` over MQTT and WebRTC; it leaves with a bye at the end.

    `broker` has the login of the camera; by default it is the server's.
    """
    stop = asyncio.Event()
    leaf = Leaf(room, Role.PUB, peer)
    publishing = asyncio.create_task(
        camera.publish(leaf, host=HOST, broker=broker or service.broker_url, base=service.settings.base, stop=stop),
        name=str(leaf),
    )
    try:
        yield
    finally:
        stop.set()
        await publishing
