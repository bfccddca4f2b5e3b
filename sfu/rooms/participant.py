"""A participant: one client's session on one leaf, from its offer to its end.

Owns the client's transport, the tracks that the client sends (`Uplink`) and the slots that it is sent (`Downlink`).
RTP packets do not pass here: the transport gives them to the uplink. Never knows the broker or other participants:
`server` brings messages in, carries messages out, and decides what each slot shows.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from sfu.media.adapt.downlink import Downlink
from sfu.media.formats import rtcp
from sfu.media.forward.fanout import Fanout
from sfu.media.ingest.producer import Producer
from sfu.media.ingest.track import IncomingTrack
from sfu.media.ingest.uplink import Uplink
from sfu.rooms.bitrates import RoomBitrates
from sfu.rooms.gate import Heard
from sfu.rooms.senders import SlotSource, Track
from sfu.rooms.slots import SlotSpec, SlotState
from sfu.rtc.sdp.description import CNAME, Description, Local, Negotiated, TransportParameters
from sfu.rtc.sdp.negotiate import negotiate
from sfu.rtc.sdp.write import write_answer
from sfu.rtc.transport import MediaReceiver, Transport, TransportListener, TransportState
from sfu.signaling.bodies import SlotStatus, SourceStatus, Tracks
from sfu.signaling.topics import Leaf

_log = logging.getLogger(__name__)

_REPORT_S: Final = 1.0
"""Time between reports in both directions (RFC 3550 section 6.2, reduced minimum)."""
_EARLY_REPORT_S: Final = 0.2
"""Time between reports during the first seconds, when browsers raise their bitrate fastest."""
_EARLY_S: Final = 3.0
_SETTLED_S: Final = 1.0
"""Time after which a client that uses another path has moved to another network: before, it was choosing a path."""
_QUIET_S: Final = 0.25
"""Time without a packet from a camera after which its viewers are sent an empty report instead."""


@dataclass(frozen=True, slots=True)
class RoomConfig:
    """Values that all participants of one server share."""

    preference: tuple[str, ...]
    bitrates: RoomBitrates
    history_bytes: int
    """Memory for the latest packets of one producer."""
    session_id: Callable[[], int]
    ssrc: Callable[[int], int]
    """Returns the SSRC of the n-th slot (0: of reports), equal for all participants so that streams share a rewrite."""
    ice_credentials: Callable[[], tuple[str, str]]
    """Returns a fresh (ufrag, pwd)."""
    clock: Callable[[], float]
    ntp: Callable[[], int]
    """Returns the wall time as 64-bit NTP (RFC 3550 section 4)."""


class NewTransport(Protocol):
    """Makes the transports of new sessions."""

    def __call__(self, listener: TransportListener, media: MediaReceiver, *, fresh_certificate: bool) -> Transport:
        """Returns a transport that shows a certificate of its own, or the one that all share."""
        ...


class ParticipantListener(Protocol):
    """The server of rooms, as its participants see it."""

    def on_tracks(self, participant: Participant) -> None:
        """Notes that other tracks flow from a participant, or other codecs."""

    def on_sparse(self, participant: Participant) -> None:
        """Notes that one of its slots has become a slide show, or is none any more."""

    def on_connected(self, participant: Participant) -> None:
        """Notes that media can flow."""

    def on_closed(self, participant: Participant, reason: str) -> None:
        """Notes that its transport has ended, or that the handling of its media failed ("internal")."""


class Participant:
    """One client's session; the listener of its transport and its uplink."""

    def __init__(
        self,
        leaf: Leaf,
        heard: Heard,
        new_transport: NewTransport,
        fanout: Fanout,
        config: RoomConfig,
        *,
        listener: ParticipantListener,
    ) -> None:
        """`heard` is its first offer; a legacy peer has no session."""
        self.leaf = leaf
        self.clientid, self.session = heard.envelope.clientid, heard.envelope.session
        self.caller, self.claims = heard.caller, heard.claims
        """Those of its latest offer."""
        self.offer_text = ""
        self.answer_text: str | None = None
        self._fanout = fanout
        self._config = config
        self._listener = listener
        self._remote: TransportParameters | None = None
        self._remote_ufrag: str | None = None
        self._setup: Literal["passive", "active"] | None = None
        self._ssrcs: dict[str, int] = {}
        self._session_id = config.session_id()
        self._version = 0
        self.connected_after: float | None = None
        """Seconds from the first offer to a connected transport; None before."""
        self._offered_at = config.clock()
        self._connected_at = 0.0
        self._report_at = 0.0
        self.drops: Counter[str] = Counter()
        """Malformed RTCP, by reason; see `status.drop_counts` for all drops."""
        self.uplink = Uplink(
            self._send_rtcp,
            config.ssrc(0),
            bitrates=config.bitrates.of(leaf.room),
            history_bytes=config.history_bytes,
            listener=self,
            open_output=fanout.open,
            forget=self._forget_ssrc,
        )
        # A legacy peer calls again with its old connection, long after its session here was lost, and libwebrtc starts
        # DTLS anew in that connection only if it is shown another certificate than before.
        self.transport = new_transport(self, self.uplink, fresh_certificate=self.session is None)
        self.downlink = Downlink(self.transport, fanout, listener=self)

    # --- negotiation

    def negotiate(self, text: str, description: Description) -> Negotiated:
        """Takes in an offer, parsed from `text`; `answer` follows once local candidates are gathered.

        Raises SdpError.
        """
        negotiated = negotiate(
            description, self.leaf.role.value, preference=self._config.preference, ssrc=self._ssrc_of
        )
        if self._setup is not None:  # one DTLS association keeps its roles (RFC 8842 section 5.3)
            negotiated = replace(negotiated, setup=self._setup)
        self.offer_text, self.answer_text, self._remote = text, None, description.transport
        now = self._config.clock()
        self._end(self.uplink.negotiated(negotiated.sections), now)
        self.downlink.negotiated(negotiated.sections, now)
        return negotiated

    def renegotiates(self, client: tuple[str, str | None], description: Description) -> bool:
        """True if an offer is a re-offer of this session: it has the same certificate (RFC 8842 section 5.1).

        A v2 peer also sends the same session; a legacy peer only the same ICE credentials.
        """
        remote = self._remote
        if client != (self.clientid, self.session) or remote is None:
            return False
        same_ice = remote.ufrag == description.ufrag
        return remote.fingerprints == description.fingerprints and (self.session is not None or same_ice)

    async def gather(self, negotiated: Negotiated) -> None:
        """Gathers local candidates; for an ICE restart with new credentials (RFC 8839 section 4.4.1.1.1)."""
        agent = self.transport.agent
        if self._remote_ufrag not in (None, negotiated.ufrag):
            ufrag, pwd = self._config.ice_credentials()
            agent.restart(ufrag=ufrag, pwd=pwd)
        await agent.gather()

    def answer(self, negotiated: Negotiated) -> str:
        """Returns the answer's SDP with all candidates; also starts the transport, or restarts its ICE."""
        agent = self.transport.agent
        local = Local(agent.ufrag, agent.pwd, self.transport.fingerprint, agent.candidates(), agent.lite)
        self._version += 1
        self.answer_text = write_answer(negotiated, local, session_id=self._session_id, version=self._version)
        ufrag, pwd, lite = negotiated.ufrag, negotiated.pwd, negotiated.ice_lite
        if self._remote_ufrag is None:
            self._setup = negotiated.setup
            role: Literal["client", "server"] = "client" if negotiated.setup == "active" else "server"
            prints, repeats = negotiated.fingerprints, negotiated.repeats
            self.transport.start(ufrag=ufrag, pwd=pwd, lite=lite, fingerprints=prints, repeats=repeats, role=role)
        elif self._remote_ufrag != ufrag:
            self.transport.restart(ufrag=ufrag, pwd=pwd, lite=lite)
        self._remote_ufrag = ufrag
        for candidate in negotiated.candidates:
            agent.add_candidate(candidate)
        if negotiated.end_of_candidates:
            agent.add_candidate(None)
        return self.answer_text

    def _ssrc_of(self, mid: str) -> int:
        """Returns the SSRC of a section, which stays the same over re-offers."""
        return self._ssrcs.setdefault(mid, self._config.ssrc(len(self._ssrcs) + 1))

    def slot_specs(self) -> list[SlotSpec]:
        """Returns the slots for the room state."""
        return [SlotSpec(consumer.mid, consumer.kind, consumer.codecs) for consumer in self.downlink.consumers]

    def tracks(self) -> list[Track]:
        """Returns the tracks that flow from this participant."""
        uplink = self.uplink
        return [Track(mid, track.codec) for mid, track in uplink.tracks.items() if mid in uplink.flowing]

    # --- what the slots show

    def show(self, slots: Sequence[SlotState], find: Callable[[SlotSource], IncomingTrack | None]) -> None:
        """Makes each slot show its track; does nothing before the transport is connected."""
        if self.transport.state is not TransportState.CONNECTED:
            return
        now = self._config.clock()
        for slot in slots:
            self.downlink.show(slot.mid, None if slot.source is None else find(slot.source), now)

    def tracks_message(self, slots: Sequence[SlotState]) -> Tracks:
        """Returns the message that tells the client what its slots show."""
        sparse = self.downlink.sparse
        return Tracks(tuple(_status(slot, sparse=slot.mid in sparse) for slot in slots))

    # --- what the transport and the tracks tell

    def on_rtcp(self, data: bytes) -> None:
        """See `TransportListener`."""
        now = self._config.clock()
        self.uplink.on_rtcp(rtcp.sender(data), now)
        requests = rtcp.parse_requests(data, self.drops)
        for message in requests:
            if isinstance(message, rtcp.SenderReport):
                self.uplink.on_sender_report(message, self._config.ntp(), now)
        if self.downlink.slots:
            self.downlink.on_rtcp(data, requests, now)

    def on_bug(self) -> None:
        """See `TransportListener` and `UplinkListener`: ends this participant, not the server."""
        _log.exception("%s: internal error, the session ends", self.leaf)
        self._listener.on_closed(self, "internal")

    def on_route(self) -> None:
        """See `TransportListener`."""
        self.downlink.rerouted()

    def on_closed(self, reason: str) -> None:
        """See `TransportListener`."""
        self._listener.on_closed(self, reason)

    def on_connected(self) -> None:
        """See `TransportListener`."""
        self._connected_at = self._report_at = self._config.clock()
        self.connected_after = self._connected_at - self._offered_at
        self._listener.on_connected(self)

    def on_moved(self) -> None:
        """See `TransportListener`."""
        now = self._config.clock()
        if self.connected_after is not None and now - self._connected_at > _SETTLED_S:
            self.downlink.moved(now)

    def on_flowing(self) -> None:
        """See `UplinkListener`."""
        self._listener.on_tracks(self)

    def on_sparse(self) -> None:
        """See `DownlinkListener`."""
        self._listener.on_sparse(self)

    def _forget_ssrc(self, ssrc: int) -> None:
        if self.transport.receiver is not None:
            self.transport.receiver.forget(ssrc)

    def _send_rtcp(self, compound: bytes) -> None:
        self.transport.send_rtcp(compound)

    # --- time

    def tick(self, now: float) -> None:
        """Sends reports and repeated requests, finds silent tracks, adapts layers; called some times a second."""
        if self.transport.state is TransportState.CONNECTED:
            try:
                self._tick(now)
            except Exception:  # noqa: BLE001  # the task boundary of a participant's media
                self.on_bug()

    def _tick(self, now: float) -> None:
        abuse = self.uplink.abuse(now)
        if abuse is not None:
            self._listener.on_closed(self, abuse)
            return
        due = now >= self._report_at
        if due:
            early = now - self._connected_at < _EARLY_S
            self._report_at = now + (_EARLY_REPORT_S if early and self.uplink.tracks else _REPORT_S)
        for report in self.downlink.reports(now, due=due):
            self.transport.send_rtcp(report)
        self.downlink.tick(now)
        if self.uplink.tracks:
            self._tick_uplink(now, due=due)

    def _tick_uplink(self, now: float, *, due: bool) -> None:
        self.uplink.tick(now)
        if due:
            self.uplink.report(now)
        for producer in self.uplink.producers:
            self._fanout.start_waiting(producer)  # by now it may be known that the camera heeds no requests
        if now - self.uplink.heard_at > _QUIET_S:
            self._reassure_viewers()

    def _reassure_viewers(self) -> None:
        """Sends viewers an empty receiver report.

        A viewer that gets no packet at all assumes that its link is dead, also if only the camera is silent.
        """
        branches = [self._fanout.branch(producer) for producer in self.uplink.producers]
        viewers = {consumer.transport: consumer.ssrc for branch in branches for consumer in branch.consumers}
        for transport, ssrc in viewers.items():
            transport.send_rtcp(rtcp.compound(rtcp.receiver_report(ssrc, (), CNAME)))

    # --- ends

    def _end(self, producers: Iterable[Producer], now: float) -> None:
        for producer in producers:
            self._fanout.close(producer, now)

    def detach(self) -> None:
        """Takes all producers and consumers out of the fan-out; must be called before the transport closes."""
        now = self._config.clock()
        self._end(self.uplink.negotiated(()), now)
        self.downlink.negotiated((), now)


def _status(slot: SlotState, *, sparse: bool) -> SlotStatus:
    source = slot.source
    status = None if source is None else SourceStatus(source.room, source.peer, source.track, source.codec)
    return SlotStatus(slot.mid, slot.kind, status, slot.reason or ("thin_link" if sparse and source else None))
