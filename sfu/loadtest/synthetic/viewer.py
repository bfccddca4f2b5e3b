"""One synthetic viewer: real ICE, DTLS and SRTP, but only a sample of its packets is decrypted.

Owns its socket, which asyncio reads until it is connected and `read` from then on, and the counts of each burst.
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
from sfu.clients.histogram import Histogram
from sfu.clients.outgoing import abs_send_time, latency_us
from sfu.loadtest.measure.counts import Marks, StreamCounter, StreamCounts, sampled
from sfu.loadtest.synthetic.broker_connections import BrokerConnections
from sfu.loadtest.synthetic.datagram_batch import BATCH, DatagramBatch, dropped, prepare
from sfu.loadtest.synthetic.detachable_port import DetachablePort
from sfu.loadtest.synthetic.session import Session
from sfu.media.formats import rtcp, rtp
from sfu.rtc.sdp.description import ABS_SEND_TIME, MID, Description, OfferSection
from sfu.signaling.bodies import Select, Tracks
from sfu.signaling.topics import Leaf

_BUFFER_BYTES = 4 << 20
_SEND_TIME_BYTES = 3
_MID = "0"
_CODECS = (h264(), VP8, VP9)
_SECTION = OfferSection(_MID, "video", "recvonly", _CODECS, {MID: 1, ABS_SEND_TIME: 2})
_SECTION_WITHOUT_SEND_TIME = OfferSection(_MID, "video", "recvonly", _CODECS, {MID: 1})
"""For cameras that are not part of the test: their send times need not be of this machine's clock."""


@dataclass(slots=True)
class ViewerTotals:
    """Measurements of all viewers together. `known`: checksums of the cameras' payloads; None if unknown."""

    known: frozenset[int] | None
    latency: Histogram = field(default_factory=Histogram)
    join: Histogram = field(default_factory=Histogram)
    first_packet: Histogram = field(default_factory=Histogram)
    checked: int = 0
    corrupt: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class SharedByViewers:
    """Objects that all viewers of the process share. `joining` limits the viewers that connect at a time."""

    host: Host
    connections: BrokerConnections
    joining: asyncio.Semaphore
    totals: ViewerTotals


class SyntheticViewer:
    """A `PeerListener` with one slot. Viewer `number` 0 decrypts every packet, the others a sample."""

    def __init__(
        self,
        leaf: Leaf,
        *,
        number: int,
        camera: int | None,
        choice: str | None,
        shared: SharedByViewers,
        port: DetachablePort,
    ) -> None:
        """`camera`: number of the camera it watches, None if that is not part of the test.

        `choice`: id of the camera to select, None if the server chooses. `port`: its own, which it closes.
        """
        self.camera = camera
        self.marks = Marks()
        self.detached = False
        """True while `read` must be called, because asyncio does not read the socket."""
        self.dropped = 0
        """Datagrams that the kernel dropped because its socket was full, as of the latest report."""
        self._leaf = leaf
        self._number = number
        self._choice = choice
        self._totals = shared.totals
        self._port = port
        self._counter = StreamCounter()
        self._reported = StreamCounts()
        self._ssrc = 0
        self._ssrc_bytes = b""
        self._own_ssrc = secrets.randbits(32) or 1
        self._send_time_id = 0
        self._received_ns: int | None = None
        self._waiting = True
        self._socket: socket.socket
        self._session = Session(
            shared.connections,
            leaf,
            host=shared.host,
            port=port,
            sections=[_SECTION_WITHOUT_SEND_TIME if camera is None else _SECTION],
            listener=self,
            joining=shared.joining,
        )

    async def run(self) -> None:
        """Joins and stays until cancelled. Raises SessionError."""
        try:
            await self._session.run()
        finally:
            self.detached = False

    @property
    def up(self) -> bool:
        """Returns True if it is connected."""
        return self._session.attempt.up

    @property
    def undecrypted(self) -> int:
        """Returns the sampled packets that libsrtp rejected."""
        return self._session.attempt.transport.drops["srtp"]

    def counts(self) -> StreamCounts:
        """Returns the counts so far."""
        return self._counter.counts()

    def report(self) -> None:
        """Sends a receiver report."""
        if self.detached and self._ssrc:
            self.dropped = dropped(self._socket)
            block = self._counter.report(self._ssrc, self._reported)
            self._reported = self.counts()
            self._session.attempt.transport.send_rtcp(rtcp.receiver_report(self._own_ssrc, [block], self._leaf.peer))

    def read(self, batch: DatagramBatch) -> None:
        """Reads and counts all datagrams that wait in its socket."""
        while count := batch.read(self._socket):
            if batch.words(2, count) == self._ssrc_bytes * count:
                self._media(batch, 0, count)
            else:
                self._mixed(batch, count)
            if count < BATCH or not self.detached:
                break

    def _mixed(self, batch: DatagramBatch, count: int) -> None:
        """Handles a burst with other datagrams than media: STUN, DTLS, sender reports."""
        words = batch.words(2, count)
        for number in range(count):
            if words[4 * number : 4 * number + 4] == self._ssrc_bytes:
                self._media(batch, number, number + 1)
            else:
                self._deliver(batch, number)

    def _media(self, batch: DatagramBatch, start: int, end: int) -> None:
        """Counts media datagrams `start` to `end`: those up to the next mark first, then the others."""
        cut = self.marks.cut(start, end, lambda number: self._sent_at(batch, number)) if self.marks.pending else end
        if cut > start:
            self._count(batch, start, cut)
        if cut < end:
            self.marks.pass_one(self.counts())
            self._media(batch, cut, end)

    def _count(self, batch: DatagramBatch, start: int, end: int) -> None:
        sequences = batch.halves(1, end)[start:]
        self._counter.add(sequences, sum(batch.lengths(end)[start:]))
        if self._waiting:
            self._first_packet(batch.received_at(start))
        everything = self._number == 0
        for offset in range(end - start) if everything else sampled(sequences[0], end - start, self._number):
            self._sample(batch, start + offset)

    def _sample(self, batch: DatagramBatch, number: int) -> None:
        """Has the transport authenticate and decrypt a datagram, which then calls `on_rtp`."""
        self._received_ns = batch.received_at(number)
        self._port.deliver_media(batch.datagram(number))
        self._received_ns = None

    def _sent_at(self, batch: DatagramBatch, number: int) -> int:
        """Returns the abs-send-time in a datagram's unencrypted header; if it has none, its arrival time as one."""
        packet = rtp.parse(batch.datagram(number))
        sent = None if packet is None else packet.extensions.get(self._send_time_id)
        return int.from_bytes(sent, "big") if sent else abs_send_time(batch.received_at(number) / 1e9)

    def _deliver(self, batch: DatagramBatch, number: int) -> None:
        self._port.deliver(batch.datagram(number), self._socket, batch.source(number))

    def _first_packet(self, received_ns: int) -> None:
        self._waiting = False
        self._totals.first_packet.add((received_ns - self._session.offered_ns) // 1000)

    def on_answer(self, answer: Description) -> None:
        """See `PeerListener`: learns the SSRC and the id of the send time."""
        section = answer.sections[0]
        if not section.rejected and section.ssrcs:
            self._ssrc = section.ssrcs[0]
            self._ssrc_bytes = self._ssrc.to_bytes(4, "big")
        self._send_time_id = section.extensions.get(ABS_SEND_TIME, 0)
        if self._choice is not None:
            self._session.send(Select(_MID, self._choice, self._leaf.room))

    def on_up(self) -> None:
        """See `PeerListener`: from now on, `read` reads the socket."""
        self._totals.join.add((time.time_ns() - self._session.offered_ns) // 1000)
        path = self._session.attempt.transport.agent.path
        if path is not None:
            self._socket = path.socket
            prepare(self._socket, _BUFFER_BYTES)
            self._port.detach()
            self.detached = True

    def on_down(self, reason: str) -> None:
        """See `PeerListener`."""

    def on_rtp(self, data: bytes) -> None:
        """See `PeerListener`: a packet of the sample, or one that asyncio read before `on_up`."""
        packet = rtp.parse(data)
        if packet is None:
            self._totals.corrupt += 1
            return
        received_ns = self._received_ns
        if received_ns is None:
            received_ns = time.time_ns()
            self._counter.add(array("H", [packet.sequence]), len(data))
            if self._waiting:
                self._first_packet(received_ns)
        if not packet.payload:
            return
        self._totals.checked += 1
        if self._totals.known is not None:
            self._totals.corrupt += zlib.crc32(packet.payload) not in self._totals.known
        if (sent := packet.extensions.get(self._send_time_id)) is not None and len(sent) == _SEND_TIME_BYTES:
            self._totals.latency.add(latency_us(int.from_bytes(sent, "big"), received_ns / 1e9))

    def on_rtcp(self, data: bytes) -> None:
        """See `PeerListener`: sender reports are not needed, since nothing is played."""

    def on_tracks(self, tracks: Tracks) -> None:
        """See `PeerListener`."""
