"""`sfu view`: a viewer without a screen that measures the media it receives.

Owns the slots that it offers, and their figures. Never decodes and never draws.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from sfu.clients.attempt import Host
from sfu.clients.frames import AUDIO_CLOCK, OPUS, VIDEO_CLOCK, VP8, VP9, h264
from sfu.clients.peer import Peer, PeerError
from sfu.clients.proof.credential import TokenSourceError
from sfu.clients.proof.source import TokenSource, own_id
from sfu.clients.slot_stats import SlotFigures, SlotMeter
from sfu.media.formats import rtcp, rtp
from sfu.media.ingest.demux import Demux, Route
from sfu.media.ingest.reception import Reception
from sfu.rtc.sdp.codec import Codec
from sfu.rtc.sdp.description import ABS_SEND_TIME, MID, Description, OfferSection
from sfu.runner import until_first, wait_for_stop
from sfu.signaling.bodies import Tracks
from sfu.signaling.broker_url import BrokerUrl, Tls
from sfu.signaling.topics import Leaf, Role, TopicError

_EXTENSIONS = {MID: 1, ABS_SEND_TIME: 2}
_FEEDBACK = ("nack pli", "ccm fir")
VIDEO = (h264(), VP8, VP9, Codec("AV1", VIDEO_CLOCK, 1, 104, (), _FEEDBACK), Codec("H265", VIDEO_CLOCK, 1, 106))
AUDIO = (OPUS, Codec("PCMU", 8000, 1, 0), Codec("PCMA", 8000, 1, 8))
"""Codecs that a viewer offers to receive, in order of preference."""
_CODEC_NAMES = {codec.payload_type: codec.name for codec in (*VIDEO, *AUDIO)}

_TICK_S = 0.25
_TICKS_PER_REPORT = 4


@dataclass(frozen=True, slots=True)
class ViewResult:
    """Figures of one viewer, with the keys of `sfu view --json`. Times in ms from the first offer."""

    room: str
    peer: str
    seconds: float
    connected_ms: float | None
    sessions: int
    slots: tuple[SlotFigures, ...]

    @property
    def received_media(self) -> bool:
        """Returns True if any media arrived."""
        return any(slot.packets for slot in self.slots)


async def view(
    room: str,
    *,
    seconds: float | None = None,
    as_json: bool = False,
    windows: int = 1,
    peer_id: str | None = None,
    broker: BrokerUrl,
    base: str = "sfu",
    token: TokenSource | None = None,
    tls: Tls | None = None,
    stop: asyncio.Event,
    report: Callable[[str], None],
) -> int:
    """Views `room` for `seconds` (None: until `stop`) and reports once, as JSON or as a table.

    Returns the exit code: 0 if media arrived or `stop` was set, 1 if none did or the server refused, 2 for wrong usage.
    """
    try:
        leaf = Leaf.parse(f"{room}/{Role.VIEW}/{peer_id or own_id(token, Role.VIEW, 'viewer')}")
        viewer = Viewer(leaf, windows=windows, report=(lambda _: None) if as_json else report)
        await viewer.view(host=Host.new(), broker=broker, base=base, token=token, tls=tls, seconds=seconds, stop=stop)
    except TopicError as error:
        report(str(error))
        return 2
    except (PeerError, TokenSourceError, OSError) as error:
        report(json.dumps({"error": str(error)}) if as_json else str(error))
        return 1
    result = viewer.result()
    report(json.dumps(asdict(result)) if as_json else table(result))
    return 0 if result.received_media or stop.is_set() else 1


class Viewer:
    """A `PeerListener` with a video and an audio slot for each of its windows."""

    def __init__(self, leaf: Leaf, *, windows: int = 1, report: Callable[[str], None] = lambda _: None) -> None:
        self.leaf = leaf
        self._report = report
        self._now = asyncio.get_running_loop().time
        self._started = self._now()
        self._connected_at: float | None = None
        self._sections = [section for number in range(windows) for section in _window(number)]
        self.meters = {s.mid: SlotMeter(s.mid, s.kind) for s in self._sections}
        self._receptions: dict[str, Reception] = {}
        self._ssrcs: dict[str, int] = {}
        self._send_time_ids: dict[str, int | None] = {}
        self._own_ssrc = secrets.randbits(32) or 1
        self._demux = Demux()
        self._peer: Peer | None = None
        self._sessions = 0

    async def view(
        self,
        *,
        host: Host,
        broker: BrokerUrl,
        base: str,
        token: TokenSource | None = None,
        tls: Tls | None = None,
        seconds: float | None = None,
        stop: asyncio.Event,
    ) -> None:
        """Views for `seconds` or until `stop` is set. Raises PeerError, TopicError."""
        peer = self._peer = Peer(
            url=broker,
            base=base,
            leaf=self.leaf,
            host=host,
            sections=self._sections,
            listener=self,
            token=token,
            tls=tls,
        )
        self._started = self._now()
        for meter in self.meters.values():
            meter.begin(self._started)
        await until_first(peer.run(), self._tick(peer), wait_for_stop(stop, seconds))

    def select(self, mid: str, peer: str | None, *, room: str | None = None) -> None:
        """Asks the server to show participant `peer` in slot `mid`; None empties the slot."""
        if self._peer is not None:
            self._peer.select(mid, peer, room=room)

    def result(self) -> ViewResult:
        """Returns the figures so far."""
        connected = None if self._connected_at is None else round((self._connected_at - self._started) * 1000, 1)
        return ViewResult(
            room=self.leaf.room,
            peer=self.leaf.peer,
            seconds=round(self._now() - self._started, 3),
            connected_ms=connected,
            sessions=self._sessions,
            slots=tuple(meter.figures() for meter in self.meters.values()),
        )

    async def _tick(self, peer: Peer) -> None:
        """Sends receiver reports each second, and requests for missing key frames."""
        ticks = 0
        while True:
            await asyncio.sleep(_TICK_S)
            ticks += 1
            now = self._now()
            if ticks % _TICKS_PER_REPORT == 0:
                self._report_reception(peer, now)
            for mid, meter in self.meters.items():
                if mid in self._ssrcs and meter.key_frame_due(now):
                    request = rtcp.pli(self._own_ssrc, self._ssrcs[mid])
                    peer.send_rtcp(rtcp.compound(request))

    def _report_reception(self, peer: Peer, now: float) -> None:
        blocks = [self._receptions[mid].report(ssrc, now) for mid, ssrc in self._ssrcs.items()]
        peer.send_rtcp(rtcp.receiver_report(self._own_ssrc, blocks, self.leaf.peer))

    def on_answer(self, answer: Description) -> None:
        """See `PeerListener`: learns the SSRC of each slot."""
        routes = []
        self._ssrcs, self._receptions = {}, {}
        for section in answer.sections:
            meter = self.meters.get(section.mid)
            if meter is None or section.rejected:
                continue
            meter.restart()
            self._receptions[section.mid] = Reception(VIDEO_CLOCK if section.kind == "video" else AUDIO_CLOCK)
            self._send_time_ids[section.mid] = section.extensions.get(ABS_SEND_TIME)
            if section.ssrcs:
                self._ssrcs[section.mid] = section.ssrcs[0]
            payload_types = tuple(codec.payload_type for codec in section.codecs)
            routes.append(Route(section.mid, section.extensions.get(MID), payload_types, section.ssrcs))
        self._demux.configure(routes)

    def on_up(self) -> None:
        """See `PeerListener`."""
        self._sessions += 1
        if self._connected_at is None:
            self._connected_at = self._now()
        self._report("connected")

    def on_down(self, reason: str) -> None:
        """See `PeerListener`."""
        self._report(f"not connected: {reason}")

    def on_rtp(self, data: bytes) -> None:
        """See `PeerListener`: counts the packet in its slot."""
        packet = rtp.parse(data)
        routed = None if packet is None else self._demux.route(packet)
        if packet is None or routed is None or routed.mid not in self._receptions:
            return
        mid = routed.mid
        now = self._now()
        self._receptions[mid].received(packet.sequence, packet.media_time, now)
        sent = packet.extensions.get(self._send_time_ids[mid] or 0)
        codec = _CODEC_NAMES.get(packet.payload_type, "")
        self.meters[mid].received(packet, codec, sent=sent, now=now, wall=time.time())

    def on_rtcp(self, data: bytes) -> None:
        """See `PeerListener`: notes sender reports, so that the server can measure its round trip."""
        for message in rtcp.parse(data):
            if isinstance(message, rtcp.SenderReport):
                for mid, ssrc in self._ssrcs.items():
                    if ssrc == message.ssrc:
                        self._receptions[mid].sender_report(message.ntp, self._now())

    def on_tracks(self, tracks: Tracks) -> None:
        """See `PeerListener`."""
        for slot in tracks.slots:
            meter = self.meters.get(slot.mid)
            if meter is not None:
                meter.shows(slot.source, slot.reason, self._now())


def _window(number: int) -> tuple[OfferSection, OfferSection]:
    return (
        OfferSection(f"v{number}", "video", "recvonly", VIDEO, _EXTENSIONS),
        OfferSection(f"a{number}", "audio", "recvonly", AUDIO, _EXTENSIONS),
    )


def table(result: ViewResult) -> str:
    """Returns the result as text: a line about the session, then one about each slot."""
    head = (
        "slot",
        "camera",
        "codec",
        "packets",
        "kbit/s",
        "lost",
        "fps",
        "key frames",
        "first packet",
        "latency p50",
        "p99",
    )
    rows = [head, *(_row(slot) for slot in result.slots)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    connected = "never connected" if result.connected_ms is None else f"connected after {result.connected_ms:.0f} ms"
    title = f"{result.room} for {result.seconds:.1f} s, {connected}, sessions: {result.sessions}"
    if not any(slot.packets or slot.peer or slot.reason for slot in result.slots):
        empty = f"nobody sends in {result.room}" if result.sessions else "no answer from broker or server"
        return f"{title}\n{empty}"
    return "\n".join((title, *lines))


def _row(slot: SlotFigures) -> tuple[str, ...]:
    camera = f"{slot.room}/{slot.peer}" if slot.peer else slot.reason or "-"
    return (
        slot.mid,
        camera,
        slot.codec or "-",
        str(slot.packets),
        str(slot.bitrate // 1000),
        str(slot.lost),
        f"{slot.fps:.1f}" if slot.kind == "video" else "-",
        str(slot.key_frames) if slot.kind == "video" else "-",
        _ms(slot.first_packet_ms),
        _ms(slot.late_p50_ms),
        _ms(slot.late_p99_ms),
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
