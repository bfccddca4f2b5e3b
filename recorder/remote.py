"""A room of a server on another machine, viewed to be recorded: the producers that our slots show.

Owns the duties of such a viewer: enough slots for all producers, requests for lost packets, reports. Never decides what
is recorded, and never writes.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sfu.clients.peer import Peer
from sfu.clients.view import AUDIO, VIDEO
from sfu.media.formats import rtcp
from sfu.media.ingest.producer import HISTORY_BYTES
from sfu.media.ingest.reception import BitrateBounds
from sfu.media.ingest.track import IncomingTrack
from sfu.media.ingest.uplink import Uplink
from sfu.rtc.sdp.codec import Codec
from sfu.rtc.sdp.description import MID, VIDEO_ORIENTATION, Agreed, Description, OfferSection, Receive, Section
from sfu.signaling.bodies import Tracks
from sfu.units import ntp_time

_log = logging.getLogger(__name__)

MIN_WINDOWS: Final = 2
MAX_WINDOWS: Final = 32
"""A session description has two sections for each window, and at most 64."""
_EXTENSIONS: Final = {MID: 1}
_UNLIMITED: Final = BitrateBounds(0, 1 << 40)
_REPORT_S: Final = 1.0
"""Time between two receiver reports."""
_SECOND_TRACK_S: Final = 1.0
"""Longest wait for the second track of a new producer."""

Source = tuple[str, str]  # room, peer


@dataclass(slots=True)
class SourceMedia:
    """The tracks that arrive from one producer; an `IncomingMedia` of the manager."""

    tracks: dict[str, IncomingTrack] = field(default_factory=dict)
    """The tracks by mid."""
    flowing: set[str] = field(default_factory=set)
    """The mids of the tracks whose packets arrive."""


class Remote:
    """The `PeerListener` of one room. `on_media`: called when a producer's tracks change; None if it is gone."""

    def __init__(
        self, clock: Callable[[], float], on_media: Callable[[Source, SourceMedia | None], None], *, name: str
    ) -> None:
        self.peer: Peer | None = None
        """The peer that calls these methods; set before it runs."""
        self.sections = [section for number in range(MIN_WINDOWS) for section in _window(number)]
        self._clock = clock
        self._on_media = on_media
        self._name = name
        self._slots: dict[str, Source] = {}
        self._flowing_since: dict[Source, float] = {}
        """When the first packet of each producer arrived."""
        self._reported: dict[Source, SourceMedia] = {}
        self._agreed: list[Agreed] = []
        self._uplink = self._new_uplink()
        self._report_at = 0.0

    def _new_uplink(self) -> Uplink:
        return Uplink(
            self._send,
            secrets.randbits(32) or 1,
            bitrates=_UNLIMITED,
            history_bytes=HISTORY_BYTES,
            listener=self,
        )

    def _send(self, compound: bytes) -> None:
        if self.peer is not None:
            self.peer.send_rtcp(compound)

    def tick(self) -> None:
        """Sends reports and repeated requests, and finds silent tracks. Call it several times a second."""
        now = self._clock()
        self._uplink.tick(now)
        if self._flowing_since.keys() - self._reported.keys():
            self._report_changes()
        if now >= self._report_at:
            self._report_at = now + _REPORT_S
            self._uplink.report(now)

    # --- events of the peer

    def on_answer(self, answer: Description) -> None:
        """See `PeerListener`."""
        self._agreed = [_agreed(section) for section in answer.sections if not section.rejected and section.codecs]
        self._uplink.negotiated(self._agreed)
        self._report_changes()

    def on_up(self) -> None:
        """See `PeerListener`."""
        _log.info("%s: connected", self._name)

    def on_down(self, reason: str) -> None:
        """See `PeerListener`: forgets all tracks, for the next session."""
        _log.warning("%s: not connected: %s", self._name, reason)
        self._slots, self._agreed = {}, []
        self._uplink = self._new_uplink()
        self._report_changes()

    def on_rtp(self, data: bytes) -> None:
        """See `PeerListener`."""
        self._uplink.receive((data,), self._clock())

    def on_rtcp(self, data: bytes) -> None:
        """See `PeerListener`: uses sender reports, which synchronize audio and video."""
        for message in rtcp.parse(data):
            if isinstance(message, rtcp.SenderReport):
                self._uplink.on_sender_report(message, ntp_time(time.time()), self._clock())

    def on_flowing(self) -> None:
        """See `UplinkListener`."""
        self._report_changes()

    def on_bug(self) -> None:
        """See `UplinkListener`: nothing is sent on from here, so only recordings are concerned."""
        _log.exception("%s: internal error", self._name)

    def on_tracks(self, tracks: Tracks) -> None:
        """See `PeerListener`: learns which producer each slot shows."""
        slots = {slot.mid: (slot.source.room, slot.source.peer) for slot in tracks.slots if slot.source is not None}
        changed = {mid for mid, source in self._slots.items() if slots.get(mid) != source}
        self._slots = slots
        if changed:
            # packets of the slot's earlier producer must not count as packets of its new one
            self._uplink.negotiated([section for section in self._agreed if section.mid not in changed])
            self._uplink.negotiated(self._agreed)
        self._report_changes()
        self._offer_windows(len({mid[1:] for mid in slots}))

    def _offer_windows(self, taken: int) -> None:
        """Offers more windows when all are taken, so that the next camera is shown at once."""
        windows = len(self.sections) // 2
        if taken >= windows and windows < MAX_WINDOWS and self.peer is not None:
            more = range(windows, min(2 * windows, MAX_WINDOWS))
            self.sections += [section for number in more for section in _window(number)]
            self.peer.offer(self.sections)

    def _report_changes(self) -> None:
        """Reports each producer whose tracks have changed.

        A new one is reported once both its tracks flow, or one has for a second; its packets are kept until then.
        """
        arriving, now = self._by_source(), self._clock()
        for source in self._reported.keys() - arriving.keys():
            del self._reported[source]
            self._on_media(source, None)
        self._flowing_since = {
            source: self._flowing_since.get(source, now) for source, media in arriving.items() if media.flowing
        }
        for source in self._flowing_since:
            media = arriving[source]
            whole = len(media.flowing) > 1 or now - self._flowing_since[source] >= _SECOND_TRACK_S
            if (whole or source in self._reported) and self._reported.get(source) != media:
                self._reported[source] = media
                self._on_media(source, media)

    def _by_source(self) -> dict[Source, SourceMedia]:
        """Returns the tracks that arrive now, by producer."""
        arriving: dict[Source, SourceMedia] = {}
        for mid, track in self._uplink.tracks.items():
            source = self._slots.get(mid)
            if source is not None:
                media = arriving.setdefault(source, SourceMedia())
                media.tracks[mid] = track
                if mid in self._uplink.flowing:
                    media.flowing.add(mid)
        return arriving


def _with_nack(codecs: Sequence[Codec]) -> tuple[Codec, ...]:
    """Returns the codecs with NACK feedback."""
    return tuple(replace(codec, feedback=("nack", *codec.feedback)) for codec in codecs)


def _window(number: int) -> tuple[OfferSection, OfferSection]:
    """Returns the sections of a window's two slots."""
    return (
        OfferSection(f"v{number}", "video", "recvonly", _with_nack(VIDEO), _EXTENSIONS | {VIDEO_ORIENTATION: 2}),
        OfferSection(f"a{number}", "audio", "recvonly", _with_nack(AUDIO), _EXTENSIONS),
    )


def _agreed(section: Section) -> Agreed:
    """Returns the agreement on one section of the server's answer."""
    extensions: Mapping[str, int] = section.extensions
    receive = Receive(section.codecs, extensions, section.ssrcs, section.stream, section.track)
    return Agreed(
        section.index,
        section.mid,
        section.named,
        section.kind,
        section.protocol,
        section.formats,
        "recvonly",
        receive=receive,
    )
