"""All synthetic cameras, in one process. Each sends the same footage on its own clock.

Owns pacing, and the count of sent packets at each mark. Each packet is sent alone and with its send time, as other
cameras do it: batching is the server's task.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from sfu.clients.attempt import Host
from sfu.clients.outgoing import OutgoingStream
from sfu.loadtest.measure.status import CamerasStatus, SentCounts
from sfu.loadtest.setup.footage import Footage
from sfu.loadtest.setup.worker_messages import PlanMarks, Poll, ReadMarks, Reply, Request, WorkerSetup
from sfu.loadtest.synthetic.broker_connections import BrokerConnections
from sfu.loadtest.synthetic.session import MAX_JOINING, Session, SessionError
from sfu.media.formats import rtcp
from sfu.rtc.net.port import UdpPort
from sfu.rtc.sdp.description import ABS_SEND_TIME, MID, Description, OfferSection
from sfu.rtc.transport import Transport
from sfu.signaling.bodies import Tracks
from sfu.signaling.topics import Leaf, Role

_EXTENSIONS = {MID: 1, ABS_SEND_TIME: 2}
_REPORT_INTERVAL_S = 1.0
_MARK_AHEAD_S = 0.15
"""Time from planning a mark to the mark, for the request to the viewers' process."""
_MARK_GAP_S = 0.002
"""Time from a mark to the next frame."""
_SEND_TIME_UNIT_S = 1 / (1 << 18)
"""Unit of abs-send-time."""
_MARKS = 2
_RESTART_S = 1.0
"""A camera that is late by more than this does not catch up, since that would be a burst of packets."""
_SHORTEST_SLEEP_S = 0.0005


class CameraWorker:
    """The `Worker` that runs all cameras."""

    def __init__(self, setup: WorkerSetup) -> None:
        plan = setup.plan
        self._connections = BrokerConnections(
            setup.broker, setup.base, Role.PUB, plan.room, token=setup.token, tls=setup.tls, each=setup.mqtt_each
        )
        self._host = Host.new()
        self._joining = asyncio.Semaphore(MAX_JOINING)
        self._cameras = [] if setup.footage is None else _cameras(plan.cameras(), setup.footage)
        self._ramp = plan.ramp
        self._failed: Counter[str] = Counter()
        self._fault: str | None = None

    async def run(self) -> None:
        """See `Worker`."""
        if not self._cameras:
            await asyncio.Event().wait()
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._connections.open()
            for camera in self._cameras:
                tasks.append(asyncio.create_task(self._run(camera), name=str(camera.leaf)))
                await asyncio.sleep(1 / self._ramp)
            await asyncio.Event().wait()
        except TimeoutError:
            self._fault = "no connection to the broker"
            await asyncio.Event().wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._connections.close()

    async def _run(self, camera: SyntheticCamera) -> None:
        try:
            await camera.run(self._connections, self._host, self._joining)
        except SessionError as error:
            self._failed[str(error)] += 1

    def reply(self, request: Request) -> Reply:
        """See `Worker`."""
        match request:
            case Poll():
                return CamerasStatus(
                    up=sum(camera.up for camera in self._cameras),
                    failed=dict(self._failed),
                    sent=sum(camera.sent for camera in self._cameras),
                    key_frame_requests=sum(camera.key_frame_requests for camera in self._cameras),
                    cpu_seconds=time.process_time(),
                    fault=self._fault,
                )
            case PlanMarks():
                return self._plan_marks()
            case ReadMarks():
                return self._read_marks()
            case _:
                return None

    def _plan_marks(self) -> Mapping[int, float]:
        """Plans a mark for each camera; returns its wall time, in seconds since 1970, by camera number."""
        return {number: camera.plan_mark() for number, camera in enumerate(self._cameras) if camera.up}

    def _read_marks(self) -> SentCounts:
        marks = {number: camera.take_marks() for number, camera in enumerate(self._cameras)}
        return SentCounts({number: sent[1] - sent[0] for number, sent in marks.items() if len(sent) == _MARKS})


def _cameras(leaves: Sequence[Leaf], footage: Footage) -> list[SyntheticCamera]:
    period = footage.seconds / len(footage.pictures)
    return [SyntheticCamera(leaf, footage, phase=period * number / len(leaves)) for number, leaf in enumerate(leaves)]


class SyntheticCamera:
    """One camera: a `PeerListener` that sends the footage."""

    def __init__(self, leaf: Leaf, footage: Footage, *, phase: float) -> None:
        """`phase`: seconds by which its frames are later than the first camera's: real cameras are not in step."""
        self.leaf = leaf
        self.sent = 0
        self.key_frame_requests = 0
        self._footage = footage
        self._phase = phase
        self._stream = OutgoingStream(
            footage.codec,
            mid="0",
            ssrc=secrets.randbelow(0xFFFF_FFFE) + 1,
            sequence=secrets.randbits(15),
            offset=secrets.randbits(32),
        )
        self._session: Session | None = None
        self._key_wanted = True
        self._due = 0.0
        self._mark_due: float | None = None
        self._mark_wall = math.inf
        self._marks: list[int] = []

    @property
    def up(self) -> bool:
        """Returns True if it is connected."""
        return self._session is not None and self._session.attempt.up

    async def run(self, connections: BrokerConnections, host: Host, joining: asyncio.Semaphore) -> None:
        """Publishes until cancelled. Raises SessionError. Holds `joining` while it connects."""
        port = await UdpPort.open()
        self._session = Session(
            connections, self.leaf, host=host, port=port, sections=[self._section()], listener=self, joining=joining
        )
        sending = asyncio.create_task(self._send(self._session.attempt.transport), name=f"{self.leaf} frames")
        try:
            await self._session.run()
        finally:
            sending.cancel()
            await asyncio.wait({sending})

    def plan_mark(self) -> float:
        """Plans a mark in a coming pause between frames; returns its wall time in seconds since 1970.

        Packets sent before the mark get an earlier send time, and their number is noted.
        """
        now = asyncio.get_running_loop().time()
        period = self._footage.seconds / len(self._footage.pictures)
        self._mark_due = self._due + max(-(-(now + _MARK_AHEAD_S - self._due) // period), 1) * period
        self._mark_wall = time.time() + self._mark_due - now - _MARK_GAP_S
        return self._mark_wall

    def take_marks(self) -> list[int]:
        """Returns the packets sent before each of the latest marks, and clears all marks."""
        marks, self._marks = self._marks[-_MARKS:], []
        return marks

    async def _send(self, transport: Transport) -> None:
        """Sends frames at their time. If a key frame is requested, goes on at the next one of the footage."""
        loop = asyncio.get_running_loop()
        start = self._due = loop.time() + self._phase
        report_due, number = self._due + _REPORT_INTERVAL_S, 0
        while True:
            if (wait := self._due - loop.time()) > _SHORTEST_SLEEP_S:
                await asyncio.sleep(wait)
            elif wait < -_RESTART_S:
                self._due = loop.time()
            self._pass_mark()
            if self._key_wanted:
                self._key_wanted, number = False, self._footage.key_after(number)
            if self.up and self._stream.wanted:
                self._send_picture(transport, number, self._due - start)
                if self._due >= report_due:
                    report_due = self._due + _REPORT_INTERVAL_S
                    transport.send_rtcp(self._stream.report(self._due - start, time.time(), self.leaf.peer))
            self._due += self._footage.pictures[number].lasts
            number = (number + 1) % len(self._footage.pictures)

    def _pass_mark(self) -> None:
        if self._mark_due is not None and self._due >= self._mark_due - _MARK_GAP_S:
            self._marks.append(self.sent)
            self._mark_due, self._mark_wall = None, math.inf

    def _send_picture(self, transport: Transport, number: int, seconds: float) -> None:
        payloads = self._footage.pictures[number].payloads
        last = len(payloads) - 1
        for index, payload in enumerate(payloads):
            # a camera that is late still gives its packets a send time before the mark
            wall = min(time.time(), self._mark_wall - _SEND_TIME_UNIT_S)
            transport.send_rtp(self._stream.packet(payload, seconds, wall, marker=index == last))
        self.sent += len(payloads)

    def _section(self) -> OfferSection:
        peer = self.leaf.peer
        return OfferSection(
            mid="0",
            kind="video",
            direction="sendonly",
            codecs=(self._footage.codec,),
            extensions=_EXTENSIONS,
            ssrc=self._stream.ssrc,
            stream=peer,
            track=f"{peer}-video",
            cname=peer,
        )

    def on_answer(self, answer: Description) -> None:
        """See `PeerListener`."""
        section = answer.sections[0]
        if section.rejected or not section.codecs:
            self._stream.refuse()
        else:
            self._stream.agree(section.codecs[0].payload_type, section.extensions)

    def on_up(self) -> None:
        """See `PeerListener`: makes the first frame a key frame."""
        self._key_wanted = True

    def on_down(self, reason: str) -> None:
        """See `PeerListener`."""

    def on_rtp(self, data: bytes) -> None:
        """See `PeerListener`: the server sends no media to a camera."""

    def on_rtcp(self, data: bytes) -> None:
        """See `PeerListener`: key frame requests."""
        for message in rtcp.parse(data):
            if isinstance(message, rtcp.KeyFrameRequest) and message.media_ssrc == self._stream.ssrc:
                self.key_frame_requests += 1
                self._key_wanted = True

    def on_tracks(self, tracks: Tracks) -> None:
        """See `PeerListener`: a camera has no slots."""
