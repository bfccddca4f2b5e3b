"""A participant: one client's session on one leaf, from its offer to its end.

Owns the client's transport and, around it, what the client sends and is sent (`Uplink`, `Downlink`). Knows neither the
broker nor other participants: `server` brings messages in, carries messages out, and says what each slot shows.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sfu.media.adapt.downlink import Downlink
from sfu.media.formats import rtcp
from sfu.media.forward.fanout import Fanout
from sfu.media.ingest.producer import Producer
from sfu.media.ingest.track import IncomingTrack
from sfu.media.ingest.uplink import Uplink
from sfu.rooms.bitrates import RoomBitrates
from sfu.rooms.room import SlotSource, SlotSpec, SlotState, Track
from sfu.rtc.net.receive import Arrived
from sfu.rtc.sdp.description import CNAME, Description, Local, Negotiated, TransportParameters
from sfu.rtc.sdp.negotiate import negotiate
from sfu.rtc.sdp.write import write_answer
from sfu.rtc.transport import Transport, TransportState
from sfu.signaling.bodies import SlotStatus, SourceStatus, Tracks
from sfu.signaling.topics import Leaf

_log = logging.getLogger(__name__)

_REPORT: Final = 1.0  # seconds between reports in both directions (RFC 3550 section 6.2, reduced minimum)
_EARLY_REPORT: Final = 0.2  # the same during the first seconds: browsers raise their bitrate fastest then
_EARLY: Final = 3.0
_SETTLED: Final = 1.0  # seconds after which a client that uses another path has moved: before, it was choosing
_QUIET: Final = 0.25  # seconds without a packet after which a camera's viewers hear something from us instead


@dataclass(frozen=True, slots=True)
class RoomConfig:
    """What all participants of one server have in common."""

    preference: tuple[str, ...]
    bitrates: RoomBitrates
    history_bytes: int
    """Most memory that the latest packets of one producer take."""
    session_id: Callable[[], int]
    ssrc: Callable[[int], int]
    """The SSRC of every participant's n-th slot, 0 for its reports. One for all: equal streams are rewritten once."""
    ice_credentials: Callable[[], tuple[str, str]]
    """A fresh (ufrag, pwd)."""
    clock: Callable[[], float]
    ntp: Callable[[], int]
    """Wall time as 64-bit NTP (RFC 3550 section 4)."""


class Participant:
    """One client's session. `on_tracks`: what it produces has changed; `on_closed`: its transport ended, and why."""

    def __init__(
        self, leaf: Leaf, client: tuple[str, str | None], transport: Transport, fanout: Fanout, terms: RoomConfig
    ):
        self.leaf = leaf
        self.clientid, self.session = client
        self.transport = transport
        self.offer_text = ""
        self.answer_text: str | None = None
        self.on_tracks: Callable[[Participant], None] = lambda _: None
        self.on_sparse: Callable[[Participant], None] = lambda _: None
        self.on_connected: Callable[[Participant], None] = lambda _: None
        self.on_closed: Callable[[Participant, str], None] = lambda _, __: None
        self._fanout = fanout
        self._terms = terms
        self._remote: TransportParameters | None = None
        self._remote_ufrag: str | None = None
        self._ssrcs: dict[str, int] = {}
        self._session_id = terms.session_id()
        self._version = 0
        self.connected_after: float | None = None
        """Seconds from the first offer to a connected transport; None until then."""
        self._offered_at = terms.clock()
        self._connected_at = 0.0
        self._report_at = 0.0
        self._drops: Counter[str] = Counter()
        self.uplink = Uplink(
            transport.send_rtcp,
            terms.ssrc(0),
            bitrates=terms.bitrates.of(leaf.room),
            history_bytes=terms.history_bytes,
            on_tracks=lambda: self.on_tracks(self),
        )
        self.downlink = Downlink(transport, fanout, on_sparse=lambda: self.on_sparse(self))
        transport.on_connected = self._on_transport_connected
        transport.agent.on_moved = self._on_moved
        transport.on_route = self.downlink.rerouted
        transport.on_rtp = self._on_rtp
        transport.on_rtcp = self._on_rtcp
        transport.on_closed = lambda reason: self.on_closed(self, reason)

    # --- negotiation

    def negotiate(self, text: str, description: Description) -> Negotiated:
        """Takes in an offer: `text`, and `description` as `parse_description` read it. `answer` follows gathering.

        Raises SdpError.
        """
        negotiated = negotiate(description, self.leaf.role.value, preference=self._terms.preference, ssrc=self._ssrc_of)
        self.offer_text, self.answer_text, self._remote = text, None, description.transport
        now = self._terms.clock()
        self._end(self.uplink.negotiated(negotiated.sections), now)
        self.downlink.negotiated(negotiated.sections, now)
        return negotiated

    def renegotiates(self, client: tuple[str, str | None], description: Description) -> bool:
        """Whether an offer is a re-offer of this session: the same certificate speaks (RFC 8842 section 5.1).

        A v2 peer says so by its session besides, a legacy peer only by its ICE credentials.
        """
        remote = self._remote
        if client != (self.clientid, self.session) or remote is None:
            return False
        same_ice = remote.ufrag == description.ufrag
        return remote.fingerprints == description.fingerprints and (self.session is not None or same_ice)

    async def gather(self, negotiated: Negotiated) -> None:
        """Local candidates for the answer; for an ICE restart new credentials first (RFC 8839 section 4.4.1.1.1)."""
        agent = self.transport.agent
        if self._remote_ufrag not in (None, negotiated.ufrag):
            ufrag, pwd = self._terms.ice_credentials()
            agent.restart(ufrag=ufrag, pwd=pwd)
        await agent.gather()

    def answer(self, negotiated: Negotiated) -> str:
        """The answer's SDP, complete with all candidates; it also starts the transport, or restarts its ICE."""
        agent = self.transport.agent
        local = Local(agent.ufrag, agent.pwd, self.transport.fingerprint, agent.candidates(), agent.lite)
        self._version += 1
        self.answer_text = write_answer(negotiated, local, session_id=self._session_id, version=self._version)
        ufrag, pwd, lite = negotiated.ufrag, negotiated.pwd, negotiated.ice_lite
        if self._remote_ufrag is None:
            fingerprints, repeats = negotiated.fingerprints, negotiated.repeats
            self.transport.start(ufrag=ufrag, pwd=pwd, lite=lite, fingerprints=fingerprints, repeats=repeats)
        elif self._remote_ufrag != ufrag:
            self.transport.restart(ufrag=ufrag, pwd=pwd, lite=lite)
        self._remote_ufrag = ufrag
        for candidate in negotiated.candidates:
            agent.add_candidate(candidate)
        if negotiated.end_of_candidates:
            agent.add_candidate(None)
        return self.answer_text

    def _ssrc_of(self, mid: str) -> int:
        """Stable for each section over re-offers: a slot keeps its SSRC."""
        return self._ssrcs.setdefault(mid, self._terms.ssrc(len(self._ssrcs) + 1))

    def slot_specs(self) -> list[SlotSpec]:
        """This participant's slots, as room state wants them."""
        return [SlotSpec(consumer.mid, consumer.kind, consumer.codecs) for consumer in self.downlink.consumers]

    def tracks(self) -> list[Track]:
        """What this participant produces right now."""
        uplink = self.uplink
        return [Track(mid, track.codec) for mid, track in uplink.tracks.items() if mid in uplink.flowing]

    # --- what the slots show

    def show(self, slots: Sequence[SlotState], find: Callable[[SlotSource], IncomingTrack | None]) -> None:
        """Puts in each slot the track that it shows now; nothing before the transport is connected."""
        if self.transport.state is not TransportState.CONNECTED:
            return
        now = self._terms.clock()
        for slot in slots:
            self.downlink.show(slot.mid, None if slot.source is None else find(slot.source), now)

    def told(self, slots: Sequence[SlotState]) -> Tracks:
        """What the client is told of its slots."""
        sparse = self.downlink.sparse
        return Tracks(tuple(_status(slot, sparse=slot.mid in sparse) for slot in slots))

    # --- media

    def _on_rtp(self, datagrams: Sequence[bytes], arrived: Arrived) -> None:
        try:
            for producer, packets in self.uplink.receive(datagrams, self._terms.clock(), arrived):
                self._fanout.push(producer, packets)
        except Exception:  # noqa: BLE001  # as in `tick`
            self._on_bug()

    def _on_rtcp(self, data: bytes) -> None:
        try:
            self._read_rtcp(data)
        except Exception:  # noqa: BLE001  # as in `tick`
            self._on_bug()

    def _on_bug(self) -> None:
        """In our handling of this participant: it ends this participant, not the server."""
        _log.exception("%s: internal error", self.leaf)
        self.on_closed(self, "internal")

    def _read_rtcp(self, data: bytes) -> None:
        now = self._terms.clock()
        said = rtcp.parse_requests(data, self._drops)
        for message in said:
            if isinstance(message, rtcp.SenderReport):
                self.uplink.on_sender_report(message, self._terms.ntp(), now)
        if self.downlink.windows:
            self.downlink.on_rtcp(data, said, now)

    # --- time

    def tick(self, now: float) -> None:
        """Called some times a second: reports, repeated requests, tracks that fell silent, what the link carries."""
        if self.transport.state is TransportState.CONNECTED:
            try:
                self._tick(now)
            except Exception:  # noqa: BLE001  # the task boundary of a participant's media
                self._on_bug()

    def _tick(self, now: float) -> None:
        due = now >= self._report_at
        if due:
            early = now - self._connected_at < _EARLY
            self._report_at = now + (_EARLY_REPORT if early and self.uplink.tracks else _REPORT)
        for consumer in self.downlink.consumers:
            if due or not consumer.reported:
                report = consumer.sender_report(now)
                if report is not None:
                    self.transport.send_rtcp(report)
        self.downlink.tick(now)
        if self.uplink.tracks:
            self._tick_uplink(now, due=due)

    def _tick_uplink(self, now: float, *, due: bool) -> None:
        self.uplink.tick(now)
        if due:
            self.uplink.report(now)
        for producer in self.uplink.producers:
            for consumer in tuple(producer.waiting):
                self._fanout.start(consumer)  # it may have been late to learn that the camera heeds no request
        if now - self.uplink.heard_at > _QUIET:
            self._reassure_viewers()

    def _reassure_viewers(self) -> None:
        """To whom nothing at all comes for a while, the way to us is dead; not so if only the camera paused."""
        viewers = {c.transport: c.ssrc for producer in self.uplink.producers for c in producer.consumers}
        for transport, ssrc in viewers.items():
            transport.send_rtcp(rtcp.compound(rtcp.receiver_report(ssrc, (), CNAME)))

    def drop_counts(self) -> Counter[str]:
        """Packets dropped so far, by reason, in both directions."""
        total = self._drops + Counter(self.uplink.drops) + Counter(self.downlink.drops) + self.transport.drops
        total["no_path"] += self.transport.agent.drops["no_path"]
        for producer in self.uplink.producers:
            total.update(producer.drops)
        for consumer in self.downlink.consumers:
            total.update({reason.value: count for reason, count in consumer.drops.items()})
        return total

    def repair_counts(self) -> Counter[str]:
        """What became of lost packets so far, by what happened, from cameras (`camera_`) and to viewers (`viewer_`)."""
        total: Counter[str] = Counter()
        for producer in self.uplink.producers:
            gaps = producer.gaps
            total["camera_nacked"] += gaps.nacked
            total["camera_recovered"] += gaps.recovered
            total["camera_reordered"] += gaps.reordered
            total["camera_abandoned"] += gaps.abandoned
            total["camera_restarts"] += producer.restarts
            total["camera_padding"] += producer.padding
        for consumer in self.downlink.consumers:
            repairs = consumer.repairs
            total["viewer_requests"] += repairs.requests
            total["viewer_resent"] += repairs.resent
            total["viewer_repeated"] += repairs.repeated
            total["viewer_over_budget"] += repairs.over_budget
            total["viewer_unknown"] += repairs.unknown
        return total

    # --- ends

    def _on_transport_connected(self) -> None:
        self._connected_at = self._report_at = self._terms.clock()
        self.connected_after = self._connected_at - self._offered_at
        self.on_connected(self)

    def _on_moved(self) -> None:
        now = self._terms.clock()
        if self.connected_after is not None and now - self._connected_at > _SETTLED:
            self.downlink.moved(now)

    def _end(self, producers: Iterable[Producer], now: float) -> None:
        for producer in producers:
            producer.history.clear()  # viewers remember for a while whom they were shown
            for consumer in (*producer.consumers,):
                if consumer.following is producer:
                    consumer.follow(None, now)
                else:
                    consumer.attach(None, now)

    def detach(self) -> None:
        """Takes every producer and consumer out of the fan-out: must come before the transport closes."""
        now = self._terms.clock()
        self._end(self.uplink.negotiated(()), now)
        self.downlink.negotiated((), now)


def _status(slot: SlotState, *, sparse: bool) -> SlotStatus:
    source = slot.source
    status = None if source is None else SourceStatus(source.room, source.peer, source.track, source.codec)
    return SlotStatus(slot.mid, slot.kind, status, slot.reason or ("thin_link" if sparse and source else None))


def slot_ssrcs() -> Callable[[int], int]:
    """Returns a function that draws a random SSRC for each slot number, and gives the same number the same one.

    SSRCs need to differ within one transport only (RFC 3550 section 8), so one series serves all participants.
    """
    drawn: list[int] = []

    def ssrc(number: int) -> int:
        while len(drawn) <= number:
            drawn.extend({secrets.randbelow(0xFFFFFFFE) + 1} - set(drawn))
        return drawn[number]

    return ssrc
