"""All synthetic cameras, in one process: each sends the same footage on a clock of its own.

Owns pacing and the count of what was sent, up to agreed marks. Each packet goes out alone and stamped, as from any
camera: what is batched is for the server to find.
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
from sfu.loadtest.synthetic.session import AT_ONCE, Session, SessionError
from sfu.media.formats import rtcp
from sfu.rtc.net.port import UdpPort
from sfu.rtc.sdp.description import ABS_SEND_TIME, MID, Description, OfferSection
from sfu.rtc.transport import Transport
from sfu.signaling.bodies import Tracks
from sfu.signaling.topics import Leaf, Role

_EXTENSIONS = {MID: 1, ABS_SEND_TIME: 2}
_REPORT_INTERVAL = 1.0
_MARK_AHEAD = 0.15
"""Seconds in which the viewers' process can be told of a mark."""
_MARK_BEFORE = 0.002
"""Seconds from a mark to the frame behind it."""
_TICK = 1 / (1 << 18)
"""Seconds in the unit of abs-send-time."""
_MARKS = 2
_LATE = 1.0
_SHORTEST_SLEEP = 0.0005


class CameraWorker:
    """The party of the cameras' process."""

    def __init__(self, setup: WorkerSetup) -> None:
        plan = setup.plan
        self._signalling = BrokerConnections(
            setup.broker, setup.base, Role.PUB, plan.room, token=setup.token, each=setup.mqtt_each
        )
        self._host = Host.new()
        self._joining = asyncio.Semaphore(AT_ONCE)
        self._cameras = [] if setup.footage is None else _cameras(plan.cameras(), setup.footage)
        self._ramp = plan.ramp
        self._failed: Counter[str] = Counter()
        self._fault: str | None = None

    async def run(self) -> None:
        """See `Party`."""
        if not self._cameras:
            await asyncio.Event().wait()
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._signalling.open()
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
            await self._signalling.close()

    async def _run(self, camera: SyntheticCamera) -> None:
        try:
            await camera.run(self._signalling, self._host, self._joining)
        except SessionError as error:
            self._failed[str(error)] += 1

    def answer(self, order: Request) -> Reply:
        """See `Party`."""
        match order:
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
        """Wall time, in seconds since 1970, of each camera's next mark."""
        return {number: camera.plan_mark() for number, camera in enumerate(self._cameras) if camera.up}

    def _read_marks(self) -> SentCounts:
        marks = {number: camera.take_marks() for number, camera in enumerate(self._cameras)}
        return SentCounts({number: sent[1] - sent[0] for number, sent in marks.items() if len(sent) == _MARKS})


def _cameras(leaves: Sequence[Leaf], footage: Footage) -> list[SyntheticCamera]:
    period = footage.seconds / len(footage.pictures)
    return [SyntheticCamera(leaf, footage, phase=period * number / len(leaves)) for number, leaf in enumerate(leaves)]


class SyntheticCamera:
    """One camera: a `PeerListener` and the clock it sends by."""

    def __init__(self, leaf: Leaf, footage: Footage, *, phase: float) -> None:
        """`phase`: seconds by which its frames are due later than the first camera's: real cameras are not in step."""
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
        """Whether it is sending."""
        return self._session is not None and self._session.attempt.up

    async def run(self, signalling: BrokerConnections, host: Host, turn: asyncio.Semaphore) -> None:
        """Publishes, once it is its `turn`, until cancelled, or SessionError."""
        port = await UdpPort.open()
        self._session = Session(
            signalling, self.leaf, host=host, port=port, sections=[self._section()], listener=self, turn=turn
        )
        sending = asyncio.create_task(self._send(self._session.attempt.transport), name=f"{self.leaf} frames")
        try:
            await self._session.run()
        finally:
            sending.cancel()
            await asyncio.wait({sending})

    def plan_mark(self) -> float:
        """The wall time of a pause soon to come; what is sent before it will be stamped so, and its number noted."""
        now = asyncio.get_running_loop().time()
        period = self._footage.seconds / len(self._footage.pictures)
        self._mark_due = self._due + max(-(-(now + _MARK_AHEAD - self._due) // period), 1) * period
        self._mark_wall = time.time() + self._mark_due - now - _MARK_BEFORE
        return self._mark_wall

    def take_marks(self) -> list[int]:
        """Packets sent before each of the last marks, which are forgotten."""
        marks, self._marks = self._marks[-_MARKS:], []
        return marks

    async def _send(self, transport: Transport) -> None:
        """Frames at their time, for ever; a key frame when one is asked for, since the footage may go on with any."""
        loop = asyncio.get_running_loop()
        start = self._due = loop.time() + self._phase
        report_due, number = self._due + _REPORT_INTERVAL, 0
        while True:
            if (wait := self._due - loop.time()) > _SHORTEST_SLEEP:
                await asyncio.sleep(wait)
            elif wait < -_LATE:  # never a storm to catch up
                self._due = loop.time()
            self._pass_mark()
            if self._key_wanted:
                self._key_wanted, number = False, self._footage.key_after(number)
            if self.up and self._stream.wanted:
                self._send_picture(transport, number, self._due - start)
                if self._due >= report_due:
                    report_due = self._due + _REPORT_INTERVAL
                    transport.send_rtcp(self._stream.report(self._due - start, time.time(), self.leaf.peer))
            self._due += self._footage.pictures[number].lasts
            number = (number + 1) % len(self._footage.pictures)

    def _pass_mark(self) -> None:
        if self._mark_due is not None and self._due >= self._mark_due - _MARK_BEFORE:
            self._marks.append(self.sent)
            self._mark_due, self._mark_wall = None, math.inf

    def _send_picture(self, transport: Transport, number: int, seconds: float) -> None:
        payloads = self._footage.pictures[number].payloads
        last = len(payloads) - 1
        for index, payload in enumerate(payloads):
            # a camera that is late itself still sends on the right side of its mark
            wall = min(time.time(), self._mark_wall - _TICK)
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
        """See `PeerListener`: the first frame that is sent is a key frame."""
        self._key_wanted = True

    def on_down(self, reason: str) -> None:
        """See `PeerListener`."""

    def on_rtp(self, data: bytes) -> None:
        """See `PeerListener`: nobody sends media to a camera."""

    def on_rtcp(self, data: bytes) -> None:
        """See `PeerListener`: key frame requests."""
        for message in rtcp.parse(data):
            if isinstance(message, rtcp.KeyFrameRequest) and message.media_ssrc == self._stream.ssrc:
                self.key_frame_requests += 1
                self._key_wanted = True

    def on_tracks(self, tracks: Tracks) -> None:
        """See `PeerListener`: a camera has no slots."""
