"""A room that another machine's server carries: its producers, one for each that a slot shows, as recordings want them.

Owns what a viewer must do to be shown all of them: slots enough, lost packets asked for again, reports. Never decides
what is recorded, and never writes.
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
from sfu.rtc.sdp.description import MID, Agreed, Description, OfferSection, Receive, Section
from sfu.signaling.bodies import Tracks
from sfu.units import ntp_time

_log = logging.getLogger(__name__)

LEAST_WINDOWS: Final = 2
MOST_WINDOWS: Final = 32
"""A session description holds two sections for each, and 64 in all."""
_EXTENSIONS: Final = {MID: 1}
_UNLIMITED: Final = BitrateBounds(0, 1 << 40)
_REPORT: Final = 1.0
_PATIENCE: Final = 1.0

Source = tuple[str, str]  # room, peer


@dataclass(slots=True)
class Shown:
    """What comes from one producer: its tracks by mid, and those of them that flow."""

    tracks: dict[str, IncomingTrack] = field(default_factory=dict)
    flowing: set[str] = field(default_factory=set)


class Remote:
    """A `PeerListener` on a room. `on_shown`: what a producer sends has changed; None: nothing comes any more."""

    def __init__(
        self, clock: Callable[[], float], on_shown: Callable[[Source, Shown | None], None], *, name: str
    ) -> None:
        self.peer: Peer | None = None
        """Set before anything can happen."""
        self.sections = [section for number in range(LEAST_WINDOWS) for section in _window(number)]
        self._clock = clock
        self._on_shown = on_shown
        self._name = name
        self._slots: dict[str, Source] = {}
        self._seen: dict[Source, float] = {}
        """Since when something of it flows."""
        self._told: dict[Source, Shown] = {}
        self._agreed: list[Agreed] = []
        self._uplink = self._new_uplink()
        self._report_at = 0.0

    def _new_uplink(self) -> Uplink:
        return Uplink(
            self._send,
            secrets.randbits(32) or 1,
            bitrates=_UNLIMITED,
            history_bytes=HISTORY_BYTES,
            on_tracks=self._settle,
        )

    def _send(self, compound: bytes) -> None:
        if self.peer is not None:
            self.peer.send_rtcp(compound)

    def tick(self) -> None:
        """Called some times a second: reports, repeated requests, tracks that fell silent."""
        now = self._clock()
        self._uplink.tick(now)
        if self._seen.keys() - self._told.keys():
            self._settle()
        if now >= self._report_at:
            self._report_at = now + _REPORT
            self._uplink.report(now)

    # --- what the peer hears

    def on_answer(self, answer: Description) -> None:
        """See `PeerListener`."""
        self._agreed = [_agreed(section) for section in answer.sections if not section.rejected and section.codecs]
        self._uplink.negotiated(self._agreed)
        self._settle()

    def on_up(self) -> None:
        """See `PeerListener`."""
        _log.info("%s: connected", self._name)

    def on_down(self, reason: str) -> None:
        """See `PeerListener`: a new session begins with nothing."""
        _log.warning("%s: not connected: %s", self._name, reason)
        self._slots, self._agreed = {}, []
        self._uplink = self._new_uplink()
        self._settle()

    def on_rtp(self, data: bytes) -> None:
        """See `PeerListener`."""
        self._uplink.receive((data,), self._clock())

    def on_rtcp(self, data: bytes) -> None:
        """See `PeerListener`: sender reports, which put sound and picture in step."""
        for message in rtcp.parse(data):
            if isinstance(message, rtcp.SenderReport):
                self._uplink.on_sender_report(message, ntp_time(time.time()), self._clock())

    def on_tracks(self, tracks: Tracks) -> None:
        """See `PeerListener`: whose packets come in which slot."""
        slots = {slot.mid: (slot.source.room, slot.source.peer) for slot in tracks.slots if slot.source is not None}
        renewed = {mid for mid, source in self._slots.items() if slots.get(mid) != source}
        self._slots = slots
        if renewed:
            # nothing that somebody else sent may be taken for what is shown there now
            self._uplink.negotiated([section for section in self._agreed if section.mid not in renewed])
            self._uplink.negotiated(self._agreed)
        self._settle()
        self._want_windows(len({mid[1:] for mid in slots}))

    def _want_windows(self, taken: int) -> None:
        """One more than cameras there are, so that the next one is shown at once."""
        windows = len(self.sections) // 2
        if taken >= windows and windows < MOST_WINDOWS and self.peer is not None:
            more = range(windows, min(2 * windows, MOST_WINDOWS))
            self.sections += [section for number in more for section in _window(number)]
            self.peer.offer(self.sections)

    def _settle(self) -> None:
        """Tells of each producer what it sends by now.

        The first time once both its tracks flow, or one has for a second: what comes until then is kept for it.
        """
        shown, now = self._by_source(), self._clock()
        for source in self._told.keys() - shown.keys():
            del self._told[source]
            self._on_shown(source, None)
        self._seen = {source: self._seen.get(source, now) for source, one in shown.items() if one.flowing}
        for source in self._seen:
            one = shown[source]
            whole = len(one.flowing) > 1 or now - self._seen[source] >= _PATIENCE
            if (whole or source in self._told) and self._told.get(source) != one:
                self._told[source] = one
                self._on_shown(source, one)

    def _by_source(self) -> dict[Source, Shown]:
        shown: dict[Source, Shown] = {}
        for mid, track in self._uplink.tracks.items():
            source = self._slots.get(mid)
            if source is not None:
                one = shown.setdefault(source, Shown())
                one.tracks[mid] = track
                if mid in self._uplink.flowing:
                    one.flowing.add(mid)
        return shown


def _repaired(codecs: Sequence[Codec]) -> tuple[Codec, ...]:
    return tuple(replace(codec, feedback=("nack", *codec.feedback)) for codec in codecs)


def _window(number: int) -> tuple[OfferSection, OfferSection]:
    """A window's two slots."""
    return (
        OfferSection(f"v{number}", "video", "recvonly", _repaired(VIDEO), _EXTENSIONS),
        OfferSection(f"a{number}", "audio", "recvonly", _repaired(AUDIO), _EXTENSIONS),
    )


def _agreed(section: Section) -> Agreed:
    """What the server may send in a section of its answer."""
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
