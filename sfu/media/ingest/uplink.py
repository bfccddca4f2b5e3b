"""The uplink: the tracks that one client sends, and the feedback that the client gets.

Owns the way of each incoming packet to its producer, the repair of lost packets, and the feedback that lets a camera
send as well as its link allows. Never knows who watches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from typing import Final, Protocol

from sfu.media.formats import rtcp, rtp, rtx
from sfu.media.formats.rtp import Packet
from sfu.media.ingest.allowance import Allowance, SsrcAllowance, bound_bps
from sfu.media.ingest.arrivals import Arrivals
from sfu.media.ingest.demux import Demux, Route
from sfu.media.ingest.output import NoOutput, Output
from sfu.media.ingest.producer import Producer
from sfu.media.ingest.reception import BitrateBounds, BitrateCeiling
from sfu.media.ingest.starts import Problem, Trouble
from sfu.media.ingest.track import IncomingTrack
from sfu.rtc.net.receive import Arrived, unknown_arrival
from sfu.rtc.sdp.codec import Kind
from sfu.rtc.sdp.description import CNAME, TRANSPORT_CC, Agreed, Receive

_STALLED_S: Final = 10.0
"""Time without a packet after which a track counts as gone (Opus DTX still sends each 0.4 s)."""
_FEEDBACK_S: Final = 0.05
"""Shortest time between two transport-wide feedbacks, as in libwebrtc."""


class UplinkListener(Protocol):
    """The owner of an uplink: a participant, or a recorder's view of a remote room."""

    def on_flowing(self) -> None:
        """Notes that other tracks flow than before, that a codec has changed, or that `problems` have."""

    def on_bug(self) -> None:
        """Ends the client after an exception in the handling of its media, which is the present exception."""


class Uplink:
    """One client's tracks; the `MediaReceiver` of its transport."""

    def __init__(
        self,
        send: Callable[[bytes], None],
        ssrc: int,
        *,
        bitrates: BitrateBounds,
        history_bytes: int,
        listener: UplinkListener,
        open_output: Callable[[Producer], Output] = NoOutput,
        forget: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`send` takes RTCP compounds, which come from `ssrc`; `open_output` is as in `Producer`.

        `forget` frees what the transport keeps for a SSRC.
        """
        self.tracks: dict[str, IncomingTrack] = {}
        self.flowing: set[str] = set()
        """The mids of tracks that packets come from."""
        self.problems: Mapping[str, Trouble] = {}
        """The tracks that can be neither shown nor recorded, by mid."""
        self._refused: dict[str, Trouble] = {}
        self.drops = {
            "malformed_rtp": 0,
            "no_section": 0,
            "unknown_rid": 0,
            "rtx": 0,
            "sender_report": 0,
            "over_bitrate": 0,
        }
        self._send = send
        self._ssrc = ssrc
        self._history_bytes = history_bytes
        self._listener = listener
        self._open_output = open_output
        self._demux = Demux()
        self._bitrates = bitrates
        self._allowance = Allowance(bitrates.limit)
        self._ssrc_allowance = SsrcAllowance(forget)
        self._ceiling = BitrateCeiling(bitrates)
        self._transport_wide: int | None = None
        self._arrivals = Arrivals()
        self._feedback_at = 0.0
        self._firs = 0

    @property
    def producers(self) -> Iterator[Producer]:
        """Returns the producers of all layers of all tracks."""
        return (producer for track in self.tracks.values() for producer in track.producers)

    @property
    def heard_at(self) -> float:
        """Returns the time of the latest packet of any track, in seconds of the loop's clock."""
        return max((track.heard_at for track in self.tracks.values()), default=float("-inf"))

    @property
    def ssrcs(self) -> Set[int]:
        """Returns the SSRCs whose destination is kept."""
        return self._demux.ssrcs

    # --- negotiation

    def negotiated(self, sections: Collection[Agreed]) -> list[Producer]:
        """Takes over the sections of a (re-)offer; returns the producers that ended."""
        before, self.tracks, self._refused = self.tracks, {}, {}
        ended: list[Producer] = []
        routes = []
        self._transport_wide = None
        for section in sections:
            receive = section.receive
            if receive is None:
                if section.unknown_codecs:
                    kind: Kind = "audio" if section.kind == "audio" else "video"
                    self._refused[section.mid] = Trouble(kind, "unknown", Problem.NO_CODEC)
                continue
            track = before.pop(section.mid, None)
            if track is None:
                track = IncomingTrack(section.mid, receive, self._new_producer)
            else:
                ended += track.negotiated(receive)
            self.tracks[section.mid] = track
            routes.append(Route.of(section.mid, receive))
            self._transport_wide = receive.extensions.get(TRANSPORT_CC, self._transport_wide)
        for track in before.values():
            self.flowing.discard(track.mid)
            ended += track.producers
        self._demux.configure(routes)
        video = [codec for s in sections if s.receive for codec in s.receive.codecs if codec.kind == "video"]
        asked = self._bitrates.most if video and all("goog-remb" in codec.feedback for codec in video) else None
        self._allowance.set(bound_bps(asked, self._bitrates.limit))
        return ended

    def _new_producer(self, mid: str, receive: Receive) -> Producer:
        return Producer(
            mid,
            receive.codecs,
            receive.extensions,
            history_bytes=self._history_bytes,
            listener=self,
            open_output=self._open_output,
        )

    # --- media

    def receive(self, packets: Sequence[bytes], now: float, arrived: Arrived = unknown_arrival) -> None:
        """See `MediaReceiver`: gives each packet to its producer, which decides about forwarding."""
        allowance, count = self._allowance, len(packets)
        allowance.packets -= count
        if allowance.packets < 0 and allowance.over(count, sum(p.octets for p in self.producers), now):
            self.drops["over_bitrate"] += count
            return
        for run in self._runs(packets, now, arrived):
            routed = self._demux.route(run[0])
            track = None if routed is None else self.tracks.get(routed.mid)
            producer = None if track is None or routed is None else track.layer(routed.rid)
            if track is None or routed is None or producer is None:
                self.drops["unknown_rid" if self._demux.refused_rid else "no_section"] += len(run)
                continue
            taken = self._repair(run, track, producer, now) if routed.repairs else producer.receive_run(run, now)
            if taken:
                producer.output.push(taken)
                if track.mid not in self.flowing:
                    self.flowing.add(track.mid)
                    self._listener.on_flowing()
        if self._demux.met:
            self._note_ssrcs(now)

    def _note_ssrcs(self, now: float) -> None:
        """Counts SSRCs that are new, and frees what is kept for those that are gone."""
        met, left, routed = self._demux.met, self._demux.left, self._demux.ssrcs
        for ssrc in met:
            self._ssrc_allowance.met(ssrc, routed, now)
        for ssrc in left:
            self._ssrc_allowance.left(ssrc, routed)
        met.clear()
        left.clear()

    def _runs(self, datagrams: Sequence[bytes], now: float, arrived: Arrived) -> list[list[Packet]]:
        """Returns the packets in runs: one ends where the next packet does not follow or may belong elsewhere."""
        runs: list[list[Packet]] = []
        routing, before, wide = self._demux.routing_extensions, None, self._transport_wide is not None
        moments = arrived() if wide else ()
        for at, data in enumerate(datagrams):
            packet = rtp.parse(data)
            if packet is None:
                self.drops["malformed_rtp"] += 1
                continue
            if wide:
                self._note_arrival(packet, moments[at] if moments else now, now)
            if before is not None and rtp.follows(packet, before) and routing.isdisjoint(packet.extensions):
                runs[-1].append(packet)
            else:
                runs.append([packet])
            before = packet
        return runs

    def _repair(self, run: Sequence[Packet], track: IncomingTrack, producer: Producer, now: float) -> list[Packet]:
        """Returns the packets that a run of retransmissions brought back."""
        taken = []
        for packet in run:
            original = _original(packet, track, producer)
            if original is None or not producer.knows(original):
                self.drops["rtx"] += 1
            elif producer.receive(original, now):
                taken.append(original)
        return taken

    def _note_arrival(self, packet: Packet, at: float, now: float) -> None:
        number = packet.extensions.get(self._transport_wide or 0)
        if number is None or len(number) != 2:
            return
        self._arrivals.received(number[0] << 8 | number[1], at)
        if now >= self._feedback_at:
            self._feedback_at = now + _FEEDBACK_S
            for feedback in self._arrivals.feedback(packet.ssrc, now):
                self._send_rtcp(rtcp.transport_feedback(self._ssrc, feedback))

    # --- feedback

    def on_rtcp(self, sender: int, now: float) -> None:
        """Notes the SSRC from which the client sends RTCP."""
        if sender not in self._demux.ssrcs:
            self._ssrc_allowance.met(sender, self._demux.ssrcs, now)

    def abuse(self, now: float) -> str | None:
        """Returns the reason to end the client, if it goes on sending far too much: "ssrcs" or "bitrate"."""
        if self._ssrc_allowance.exceeded:
            return "ssrcs"
        return "bitrate" if self._allowance.abused(now) else None

    def on_sender_report(self, report: rtcp.SenderReport, ntp: int, now: float) -> None:
        """Takes a sender report, at `ntp` on our wall clock (64-bit NTP)."""
        producer = next((p for p in self.producers if p.ssrc == report.ssrc), None)
        if producer is None:
            return
        producer.reception.sender_report(report.ntp, now)
        others = [p.reception.clock for p in self.producers if p is not producer]
        ours = producer.reception.clock.to_ours(report.ntp, ntp, now, others)
        if ours is None:
            self.drops["sender_report"] += 1
        else:
            producer.note_clock(ours, report.media_time, now)

    def _send_rtcp(self, *parts: bytes) -> None:
        self._send(rtcp.compound(rtcp.receiver_report(self._ssrc, (), CNAME), *parts))

    def on_key_frame_wanted(self, producer: Producer) -> None:
        """See `ProducerListener`: sends PLI (RFC 4585 section 6.3.1), or FIR (RFC 5104 section 4.3.1)."""
        if producer.ssrc is None:
            return
        if "nack pli" in producer.codec.feedback:
            self._send_rtcp(rtcp.pli(self._ssrc, producer.ssrc))
        else:
            self._firs = (self._firs + 1) & 0xFF
            self._send_rtcp(rtcp.fir(self._ssrc, producer.ssrc, self._firs))

    def on_codec(self, producer: Producer) -> None:  # noqa: ARG002  # the listener's signature
        """See `ProducerListener`."""
        self._listener.on_flowing()

    def on_bug(self, producer: Producer) -> None:  # noqa: ARG002  # the listener's signature
        """See `ProducerListener`."""
        self._listener.on_bug()

    def on_missing(self, producer: Producer, sequences: Sequence[int]) -> None:
        """See `ProducerListener`: sends a NACK (RFC 4585 section 6.2.1)."""
        if producer.ssrc is not None:
            self._send_rtcp(rtcp.nack(self._ssrc, producer.ssrc, sequences))

    # --- time

    def tick(self, now: float) -> None:
        """Repeats requests, finds tracks that went silent and those with a problem; called some times a second."""
        for producer in self.producers:
            producer.tick(now)
        stalled = {mid for mid in self.flowing if now - self.tracks[mid].heard_at > _STALLED_S}
        self.flowing -= stalled
        found = self._refused | {
            mid: Trouble(track.codec.kind, track.codec.name, problem)
            for mid, track in self.tracks.items()
            if (problem := track.problem) is not None
        }
        if stalled or found != self.problems:
            self.problems = found
            self._listener.on_flowing()

    def report(self, now: float) -> None:
        """Sends a receiver report (RFC 3550 section 6.4.2) and the wanted bitrate (draft-alvestrand-rmcat-remb)."""
        received = [(p.ssrc, p) for p in self.producers if p.ssrc is not None]
        blocks = [producer.reception.report(ssrc, now) for ssrc, producer in received]
        parts = [rtcp.receiver_report(self._ssrc, blocks, CNAME)]
        video = [ssrc for ssrc, producer in received if "goog-remb" in producer.codec.feedback]
        if video:
            worst = max((block.fraction_lost / 256 for block in blocks if block.ssrc in video), default=0.0)
            # a camera with transport-wide feedback estimates its link itself
            ceiling = self._bitrates.most if self._transport_wide is not None else self._ceiling.update(worst, now)
            parts.append(rtcp.remb(self._ssrc, ceiling, video))
        self._send(rtcp.compound(*parts))


def _original(packet: Packet, track: IncomingTrack, producer: Producer) -> Packet | None:
    """Returns the packet that an RTX packet repairs (RFC 4588); None before the stream is known, and for padding."""
    if producer.ssrc is None:
        return None
    return rtx.unwrap(packet, track.rtx[packet.payload_type], producer.ssrc)
