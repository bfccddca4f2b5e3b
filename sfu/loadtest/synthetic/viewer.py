"""One synthetic viewer: real ICE, DTLS and SRTP, but only a sample of its packets is decrypted.

Owns its socket, which asyncio reads until it is connected and `read` from then on, and what it makes of each burst.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
import zlib
from array import array
from dataclasses import dataclass, field

from sfu.clients.attempt import Host
from sfu.clients.frames import VP8, VP9, h264
from sfu.clients.histogram import Spread
from sfu.clients.outgoing import abs_send_time
from sfu.loadtest.measure.counts import Marks, StreamCounter, StreamCounts, latency_us, sampled
from sfu.loadtest.synthetic.broker_connections import BrokerConnections
from sfu.loadtest.synthetic.datagram_batch import BATCH, DatagramBatch, dropped, prepare
from sfu.loadtest.synthetic.detachable_port import DetachablePort
from sfu.loadtest.synthetic.session import Session
from sfu.media.formats import rtcp, rtp
from sfu.rtc.sdp.description import ABS_SEND_TIME, MID, Description, OfferSection
from sfu.signaling.bodies import Select, Tracks
from sfu.signaling.topics import Leaf

_BUFFER_BYTES = 4 << 20
_MID = "0"
_CODECS = (h264(), VP8, VP9)
_SECTION = OfferSection(_MID, "video", "recvonly", _CODECS, {MID: 1, ABS_SEND_TIME: 2})
_UNSTAMPED = OfferSection(_MID, "video", "recvonly", _CODECS, {MID: 1})
"""For somebody else's camera: its clock need not be ours, so that its stamps would say nothing."""


@dataclass(slots=True)
class ViewerTotals:
    """What all viewers together have found out. `known`: check sums of what cameras send, if that is known."""

    known: frozenset[int] | None
    latency: Spread = field(default_factory=Spread)
    join: Spread = field(default_factory=Spread)
    first_packet: Spread = field(default_factory=Spread)
    checked: int = 0
    corrupt: int = 0
    dropped: int = 0


class SyntheticViewer:
    """A `PeerListener` with one slot. `number` 0 decrypts every packet, the others a sample."""

    def __init__(
        self,
        leaf: Leaf,
        *,
        number: int,
        camera: int | None,
        choice: str | None,
        findings: ViewerTotals,
        port: DetachablePort,
    ) -> None:
        """`camera` is the number of the one that is watched, None for somebody else's; `choice` its id if it has to be
        selected.
        """
        self.camera = camera
        self.marks = Marks()
        self.lazy = False
        """Whether `read` has to be called."""
        self.dropped = 0
        """Datagrams that its own socket had no room for, as of the last report."""
        self._leaf = leaf
        self._number = number
        self._choice = choice
        self._findings = findings
        self._port = port
        self._tally = StreamCounter()
        self._reported = StreamCounts()
        self._ssrc = 0
        self._ssrc_bytes = b""
        self._own_ssrc = secrets.randbits(32) or 1
        self._send_time_id = 0
        self._received_ns: int | None = None
        self._waiting = True
        self._session: Session
        self._socket: socket.socket

    @classmethod
    async def open(
        cls,
        leaf: Leaf,
        *,
        number: int,
        camera: int | None,
        choice: str | None,
        findings: ViewerTotals,
        host: Host,
        signalling: BrokerConnections,
        turn: asyncio.Semaphore,
    ) -> SyntheticViewer:
        """With a port of its own, joining when it is its `turn`. OSError when there is no port."""
        port = await DetachablePort.open()
        viewer = cls(leaf, number=number, camera=camera, choice=choice, findings=findings, port=port)
        section = _UNSTAMPED if camera is None else _SECTION
        viewer._session = Session(
            signalling, leaf, host=host, port=port, sections=[section], listener=viewer, turn=turn
        )
        return viewer

    async def run(self) -> None:
        """Joins and stays until cancelled, or SessionError."""
        try:
            await self._session.run()
        finally:
            self.lazy = False

    @property
    def up(self) -> bool:
        """Whether it is connected."""
        return self._session.attempt.up

    @property
    def undecrypted(self) -> int:
        """Sampled packets that libsrtp refused."""
        return self._session.attempt.transport.drops["srtp"]

    def counts(self) -> StreamCounts:
        """What came so far."""
        return self._tally.counts()

    def report(self) -> None:
        """Sends a receiver report."""
        if self.lazy and self._ssrc:
            self.dropped = dropped(self._socket)
            block = self._tally.report(self._ssrc, self._reported)
            self._reported = self.counts()
            self._session.attempt.transport.send_rtcp(rtcp.receiver_report(self._own_ssrc, [block], self._leaf.peer))

    def read(self, intake: DatagramBatch) -> None:
        """Reads and counts all that its socket holds."""
        while count := intake.read(self._socket):
            if intake.words(2, count) == self._ssrc_bytes * count:
                self._media(intake, 0, count)
            else:
                self._mixed(intake, count)
            if count < BATCH or not self.lazy:
                break

    def _mixed(self, intake: DatagramBatch, count: int) -> None:
        """A burst with something in it that is not our stream: STUN, DTLS, sender reports."""
        words = intake.words(2, count)
        for number in range(count):
            if words[4 * number : 4 * number + 4] == self._ssrc_bytes:
                self._media(intake, number, number + 1)
            else:
                self._hand_on(intake, number)

    def _media(self, intake: DatagramBatch, start: int, end: int) -> None:
        """Datagrams `start` to `end` of our stream, counted up to the next mark and on from there."""
        cut = self.marks.cut(start, end, lambda number: self._sent_at(intake, number)) if self.marks.pending else end
        if cut > start:
            self._count(intake, start, cut)
        if cut < end:
            self.marks.pass_one(self.counts())
            self._media(intake, cut, end)

    def _count(self, intake: DatagramBatch, start: int, end: int) -> None:
        sequences = intake.halves(1, end)[start:]
        self._tally.add(sequences, sum(intake.lengths(end)[start:]))
        if self._waiting:
            self._first_packet(intake.received_at(start))
        everything = self._number == 0
        for offset in range(end - start) if everything else sampled(sequences[0], end - start, self._number):
            self._sample(intake, start + offset)

    def _sample(self, intake: DatagramBatch, number: int) -> None:
        """To the transport, which decrypts it and comes back with `on_rtp`; only the server can have encrypted it."""
        self._received_ns = intake.received_at(number)
        self._port.hand_on_media(intake.datagram(number))
        self._received_ns = None

    def _sent_at(self, intake: DatagramBatch, number: int) -> int:
        """The abs-send-time that a datagram carries in its clear header, or else that of its arrival."""
        packet = rtp.parse(intake.datagram(number))
        sent = None if packet is None else packet.extensions.get(self._send_time_id)
        return int.from_bytes(sent, "big") if sent else abs_send_time(intake.received_at(number) / 1e9)

    def _hand_on(self, intake: DatagramBatch, number: int) -> None:
        """To whoever waits for it."""
        self._port.hand_on(intake.datagram(number), self._socket, intake.source(number))

    def _first_packet(self, received_ns: int) -> None:
        self._waiting = False
        self._findings.first_packet.add((received_ns - self._session.offered_ns) // 1000)

    def on_answer(self, answer: Description) -> None:
        """See `PeerListener`: what our stream looks like."""
        section = answer.sections[0]
        if not section.rejected and section.ssrcs:
            self._ssrc = section.ssrcs[0]
            self._ssrc_bytes = self._ssrc.to_bytes(4, "big")
        self._send_time_id = section.extensions.get(ABS_SEND_TIME, 0)
        if self._choice is not None:
            self._session.say(Select(_MID, self._choice, self._leaf.room))

    def on_up(self) -> None:
        """See `PeerListener`: from here on the socket is read lazily."""
        self._findings.join.add((time.time_ns() - self._session.offered_ns) // 1000)
        path = self._session.attempt.transport.agent.path
        if path is not None:
            self._socket = path.socket
            prepare(self._socket, _BUFFER_BYTES)
            self._port.take_away()
            self.lazy = True

    def on_down(self, reason: str) -> None:
        """See `PeerListener`."""

    def on_rtp(self, data: bytes) -> None:
        """See `PeerListener`: of the sample, or from before the socket was read lazily."""
        packet = rtp.parse(data)
        if packet is None:
            self._findings.corrupt += 1
            return
        received_ns = self._received_ns
        if received_ns is None:
            received_ns = time.time_ns()
            self._tally.add(array("H", [packet.sequence]), len(data))
            if self._waiting:
                self._first_packet(received_ns)
        if not packet.payload:
            return
        self._findings.checked += 1
        if self._findings.known is not None:
            self._findings.corrupt += zlib.crc32(packet.payload) not in self._findings.known
        if (sent := packet.extensions.get(self._send_time_id)) is not None and len(sent) == 3:
            self._findings.latency.add(latency_us(int.from_bytes(sent, "big"), received_ns))

    def on_rtcp(self, data: bytes) -> None:
        """See `PeerListener`: sender reports time picture and sound, of which a load test shows none."""

    def on_tracks(self, tracks: Tracks) -> None:
        """See `PeerListener`."""
