"""A participant: one client's session on one leaf, from its offer to its end.

Owns the client's transport, the producers it feeds and the consumers that feed it. Knows neither the broker nor other
participants: `server` brings messages in, carries messages out, and says which producer each slot shows.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sfu.media import rtcp, rtp
from sfu.media.consumer import Consumer
from sfu.media.demux import Demux, Route
from sfu.media.fanout import Fanout
from sfu.media.feedback import BitrateCeiling
from sfu.media.producer import Producer
from sfu.rooms.room import SlotSpec, SlotState, Source, Track
from sfu.rtc import sdp
from sfu.rtc.description import CNAME, Description, Local, Negotiated, TransportParameters
from sfu.rtc.negotiation import negotiate
from sfu.rtc.transport import Transport, TransportState
from sfu.signaling.topics import Leaf

_log = logging.getLogger(__name__)

_STALLED: Final = 10.0  # seconds without a packet until a track counts as gone (Opus DTX still sends each 0.4 s)
_REPORT: Final = 1.0  # seconds between reports in both directions (RFC 3550 section 6.2, reduced minimum)
_EARLY_REPORT: Final = 0.2  # the same during the first seconds: browsers raise their bitrate fastest then
_EARLY: Final = 3.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What all participants of one server have in common."""

    preference: tuple[str, ...]
    max_bitrate: int
    """bit/s that one camera is asked to stay below, all its video tracks together."""
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

    def __init__(self, leaf: Leaf, client: tuple[str, str | None], transport: Transport, fanout: Fanout, terms: Terms):
        self.leaf = leaf
        self.clientid, self.session = client
        self.transport = transport
        self.producers: dict[str, Producer] = {}
        self.consumers: dict[str, Consumer] = {}
        self.offer_text = ""
        self.answer_text: str | None = None
        self.drops = {"malformed_rtp": 0, "no_section": 0, "rtx": 0}
        self.on_tracks: Callable[[Participant], None] = lambda _: None
        self.on_connected: Callable[[Participant], None] = lambda _: None
        self.on_closed: Callable[[Participant, str], None] = lambda _, __: None
        self._fanout = fanout
        self._terms = terms
        self._remote: TransportParameters | None = None
        self._remote_ufrag: str | None = None
        self._demux = Demux()
        self._flowing: set[str] = set()
        self._heard: dict[str, float] = {}
        self._ssrcs: dict[str, int] = {}
        self._own_ssrc = terms.ssrc(0)
        self._session_id = terms.session_id()
        self._version = 0
        self._ceiling = BitrateCeiling(terms.max_bitrate)
        self._clock_offset: int | None = None
        self._connected_at = 0.0
        self._report_at = 0.0
        self._firs = 0
        transport.on_connected = self._on_transport_connected
        transport.on_rtp = self._guarded(self._on_rtp)
        transport.on_rtcp = self._guarded(self._on_rtcp)
        transport.on_closed = lambda reason: self.on_closed(self, reason)

    # --- negotiation

    def negotiate(self, text: str, description: Description) -> Negotiated:
        """Takes in an offer, `text` as read by `sdp.parse`; `answer` follows once local candidates are gathered.

        Raises SdpError.
        """
        negotiated = negotiate(description, self.leaf.role.value, preference=self._terms.preference, ssrc=self._ssrc_of)
        self.offer_text, self.answer_text, self._remote = text, None, description.transport
        self._apply_receiving(negotiated)
        self._apply_sending(negotiated)
        return negotiated

    def continues(self, description: Description) -> bool:
        """Whether an offer can be a re-offer of this session: the same certificate speaks (RFC 8842 section 5.1)."""
        return self._remote is not None and self._remote.fingerprints == description.fingerprints

    def same_ice(self, description: Description) -> bool:
        """Whether an offer has this session's ICE credentials, the only sign of a legacy peer's re-offer."""
        return self._remote is not None and self._remote.ufrag == description.ufrag

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
        self.answer_text = sdp.write_answer(negotiated, local, session_id=self._session_id, version=self._version)
        ufrag, pwd, lite = negotiated.ufrag, negotiated.pwd, negotiated.ice_lite
        if self._remote_ufrag is None:
            self.transport.start(ufrag=ufrag, pwd=pwd, lite=lite, fingerprints=negotiated.fingerprints)
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

    def _apply_receiving(self, negotiated: Negotiated) -> None:
        routes = []
        kept: dict[str, Producer] = {}
        for section in negotiated.sections:
            receive = section.receive
            if receive is None:
                continue
            producer = self.producers.pop(section.mid, None)
            if producer is None:
                producer = Producer(
                    section.mid,
                    receive.codecs,
                    receive.extensions,
                    ask_key_frame=self._ask_key_frame,
                    on_codec=lambda _: self.on_tracks(self),
                )
            else:
                producer.negotiated(receive.codecs, receive.extensions)
            kept[section.mid] = producer
            routes.append(Route.of(section.mid, receive))
        for producer in self.producers.values():
            self._end_producer(producer)
        self.producers = kept
        self._demux.configure(routes)

    def _apply_sending(self, negotiated: Negotiated) -> None:
        kept: dict[str, Consumer] = {}
        for section in negotiated.sections:
            if section.send is None:
                continue
            consumer = self.consumers.pop(section.mid, None)
            if consumer is None:
                consumer = Consumer(section.mid, section.send, self.transport)
            else:
                consumer.negotiated(section.send)
            kept[section.mid] = consumer
        for consumer in self.consumers.values():
            consumer.attach(None, self._terms.clock())
        self.consumers = kept

    def slot_specs(self) -> list[SlotSpec]:
        """This participant's slots, as room state wants them."""
        return [SlotSpec(consumer.mid, consumer.kind, consumer.codecs) for consumer in self.consumers.values()]

    def tracks(self) -> list[Track]:
        """What this participant produces right now."""
        return [Track(mid, producer.codec) for mid, producer in self.producers.items() if mid in self._flowing]

    # --- what the slots show

    def show(self, slots: Sequence[SlotState], find: Callable[[Source], Producer | None]) -> None:
        """Attaches each slot's consumer to the producer it shows now; nothing before the transport is connected."""
        if self.transport.state is not TransportState.CONNECTED:
            return
        now = self._terms.clock()
        for slot in slots:
            consumer = self.consumers.get(slot.mid)
            if consumer is not None:
                consumer.attach(None if slot.source is None else find(slot.source), now)

    # --- media, called for each packet

    def _guarded(self, handle: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """A bug in our handling of this participant's packets ends this participant, not the server."""

        def guarded(data: bytes) -> None:
            try:
                handle(data)
            except Exception:  # noqa: BLE001  # the task boundary of a participant's media
                _log.exception("%s: internal error", self.leaf)
                self.on_closed(self, "internal")

        return guarded

    def _on_rtp(self, data: bytes) -> None:
        packet = rtp.parse(data)
        if packet is None:
            self.drops["malformed_rtp"] += 1
            return
        routed = self._demux.route(packet)
        producer = None if routed is None else self.producers.get(routed.mid)
        if producer is None or routed is None:
            self.drops["no_section"] += 1
            return
        if routed.repairs:
            self.drops["rtx"] += 1
            return
        mid = routed.mid
        now = self._terms.clock()
        if producer.receive(packet, now):
            self._fanout.push(producer, packet)
            self._heard[mid] = now
            if mid not in self._flowing:
                self._flowing.add(mid)
                self.on_tracks(self)

    def _on_rtcp(self, data: bytes) -> None:
        now = self._terms.clock()
        for message in rtcp.parse(data, reports=False):
            if isinstance(message, rtcp.SenderReport):
                self._on_sender_report(message, now)
            elif isinstance(message, rtcp.KeyFrameRequest):
                for consumer in self.consumers.values():
                    if consumer.ssrc == message.media_ssrc and consumer.producer is not None:
                        consumer.producer.request_key_frame(now)

    def _on_sender_report(self, report: rtcp.SenderReport, now: float) -> None:
        """Audio and video of one client share its NTP clock; one offset puts both on ours without parting them."""
        producer = next((p for p in self.producers.values() if p.ssrc == report.ssrc), None)
        if producer is None:
            return
        producer.reception.sender_report(report.ntp, now)
        if self._clock_offset is None:
            self._clock_offset = self._terms.ntp() - report.ntp
        producer.clock_told(report.ntp + self._clock_offset, report.media_time, now)

    def _ask_key_frame(self, producer: Producer) -> None:
        if producer.ssrc is None:
            return
        if "nack pli" in producer.codec.feedback:
            request = rtcp.pli(self._own_ssrc, producer.ssrc)
        else:
            self._firs = (self._firs + 1) & 0xFF
            request = rtcp.fir(self._own_ssrc, producer.ssrc, self._firs)
        self.transport.send_rtcp(rtcp.compound(rtcp.receiver_report(self._own_ssrc, (), CNAME), request))

    # --- time

    def tick(self, now: float) -> None:
        """Called some ten times a second: reports, repeated key frame requests, tracks that fell silent."""
        if self.transport.state is not TransportState.CONNECTED:
            return
        due = now >= self._report_at
        if due:
            early = now - self._connected_at < _EARLY
            self._report_at = now + (_EARLY_REPORT if early and self.producers else _REPORT)
        for consumer in self.consumers.values():
            if due or not consumer.reported:
                report = consumer.sender_report(now)
                if report is not None:
                    self.transport.send_rtcp(report)
        if self.producers:
            self._tick_producers(now, due=due)

    def _tick_producers(self, now: float, *, due: bool) -> None:
        for producer in self.producers.values():
            producer.tick(now)
        stalled = {mid for mid in self._flowing if now - self._heard[mid] > _STALLED}
        if stalled:
            self._flowing -= stalled
            self.on_tracks(self)
        if due:
            self._report_reception(now)

    def _report_reception(self, now: float) -> None:
        """RFC 3550 section 6.4.2 for every track, and how much video may come (REMB, draft-alvestrand-rmcat-remb)."""
        received = [(p.ssrc, p) for p in self.producers.values() if p.ssrc is not None]
        blocks = [producer.reception.report(ssrc, now) for ssrc, producer in received]
        parts = [rtcp.receiver_report(self._own_ssrc, blocks, CNAME)]
        video = [ssrc for ssrc, producer in received if "goog-remb" in producer.codec.feedback]
        if video:
            worst = max((block.fraction_lost / 256 for block in blocks if block.ssrc in video), default=0.0)
            parts.append(rtcp.remb(self._own_ssrc, self._ceiling.update(worst, now), video))
        self.transport.send_rtcp(rtcp.compound(*parts))

    def drop_counts(self) -> Counter[str]:
        """Packets dropped so far, by reason, in both directions."""
        total = Counter(self.drops) + Counter(self.transport.drops)
        total["no_path"] += self.transport.agent.drops["no_path"]
        for producer in self.producers.values():
            total.update(producer.drops)
        for consumer in self.consumers.values():
            total.update({reason.value: count for reason, count in consumer.drops.items()})
        return total

    # --- ends

    def _on_transport_connected(self) -> None:
        self._connected_at = self._report_at = self._terms.clock()
        self.on_connected(self)

    def _end_producer(self, producer: Producer) -> None:
        self._flowing.discard(producer.track)
        for consumer in list(producer.consumers):
            consumer.attach(None, self._terms.clock())

    def detach(self) -> None:
        """Takes every producer and consumer out of the fan-out: must come before the transport closes."""
        for producer in self.producers.values():
            self._end_producer(producer)
        for consumer in self.consumers.values():
            consumer.attach(None, self._terms.clock())
        self.producers, self.consumers = {}, {}
