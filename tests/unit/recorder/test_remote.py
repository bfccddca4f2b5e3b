"""A viewer that records: whose packets are whose, and slots enough for all."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from recorder.remote import MAX_WINDOWS, MIN_WINDOWS, Remote, Source, SourceMedia
from sfu.clients.frames import OPUS, VP8
from sfu.rtc.sdp.codec import Codec
from sfu.rtc.sdp.description import Local, OfferSection
from sfu.rtc.sdp.parse import parse_description
from sfu.rtc.sdp.write import write_offer
from sfu.signaling.bodies import SlotStatus, SourceStatus, Tracks

SSRC = {"v0": 10, "a0": 11, "v1": 12, "a1": 13}


class FakeServer:
    """A server as `Remote` sees it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reported: list[tuple[Source, SourceMedia | None]] = []
        self.offered: list[int] = []
        self.sequence = dict.fromkeys(SSRC, 0)
        self.remote = Remote(lambda: self.now, lambda *reported: self.reported.append(reported), name="site")
        self.remote.peer = self  # type: ignore[assignment]  # the two methods that are used
        sections = [
            OfferSection(mid, "video" if mid[0] == "v" else "audio", "sendonly", (_codec(mid),), ssrc=ssrc)
            for mid, ssrc in SSRC.items()
        ]
        local = Local("ufrag", "p" * 24, ":".join(["AB"] * 32), (), True)
        self.remote.on_answer(parse_description(write_offer(sections, local, session_id=1, version=1)))

    def offer(self, sections: Sequence[OfferSection]) -> None:
        self.offered.append(len(sections))

    def send_rtcp(self, packet: bytes) -> None: ...

    def shows(self, **sources: str) -> None:
        """`v0="gate/cam"`: room and peer by slot."""
        slots = []
        for mid in SSRC:
            room, _, peer = sources.get(mid, "").rpartition("/")
            source = SourceStatus(room, peer, mid, _codec(mid).name) if room else None
            slots.append(SlotStatus(mid, "video" if mid[0] == "v" else "audio", source))
        self.remote.on_tracks(Tracks(tuple(slots)))

    def sends(self, mid: str) -> None:
        self.sequence[mid] += 1
        payload = struct.pack(">HI", 0x1000, self.sequence[mid])  # VP8: a key frame's first byte
        head = struct.pack(">BBHII", 0x80, _codec(mid).payload_type, self.sequence[mid], 0, SSRC[mid])
        self.remote.on_rtp(head + payload)


def _codec(mid: str) -> Codec:
    return VP8 if mid[0] == "v" else OPUS


def test_a_producer_is_told_of_once_both_its_tracks_flow() -> None:
    server = FakeServer()
    server.shows(v0="site/gate/cam", a0="site/gate/cam", v1="site/yard/cam")
    server.sends("a0")
    assert not server.reported
    server.sends("v0")
    ((source, shown),) = server.reported
    assert source == ("site/gate", "cam")
    assert shown is not None
    assert (set(shown.tracks), shown.flowing) == ({"v0", "a0"}, {"v0", "a0"})
    server.shows(v1="site/yard/cam")
    assert server.reported[-1] == (("site/gate", "cam"), None)


def test_one_track_alone_is_waited_with_for_a_second_and_loses_nothing() -> None:
    server = FakeServer()
    server.sends("v0")
    server.shows(v0="site/gate/cam")
    server.now += 0.9
    server.remote.tick()
    assert not server.reported
    server.now += 0.1
    server.remote.tick()
    ((_, shown),) = server.reported
    assert shown is not None
    assert len(shown.tracks["v0"].main.history.since_key()) == 1


def test_nothing_of_a_slots_last_producer_is_kept_for_the_next() -> None:
    server = FakeServer()
    server.shows(v0="site/gate/cam")
    server.sends("v0")
    server.shows()
    server.shows(v0="site/yard/cam", a0="site/yard/cam")
    server.now += 5
    server.remote.tick()
    assert not server.reported
    server.sends("v0")
    server.sends("a0")
    ((source, shown),) = server.reported
    assert source == ("site/yard", "cam")
    assert shown is not None
    assert len(shown.tracks["v0"].main.history.since_key()) == 1


def test_a_lost_session_ends_all() -> None:
    server = FakeServer()
    server.shows(v0="site/gate/cam", a0="site/gate/cam")
    server.sends("v0")
    server.sends("a0")
    server.remote.on_down("gone")
    assert server.reported[-1] == (("site/gate", "cam"), None)


def test_one_window_more_than_cameras_is_offered_up_to_the_most() -> None:
    server = FakeServer()
    server.shows(v0="site/gate/cam", a0="site/gate/cam")
    assert server.offered == []
    for _ in range(8):
        server.shows(v0="site/gate/cam", a1="site/yard/cam")
    assert server.offered == [4 * MIN_WINDOWS]
    remote = server.remote
    while len(remote.sections) < 2 * MAX_WINDOWS:
        slots = [SlotStatus(s.mid, s.kind, SourceStatus("site", s.mid, "0", "VP8")) for s in remote.sections]
        remote.on_tracks(Tracks(tuple(slots)))
    assert server.offered[-1] == 2 * MAX_WINDOWS
    assert len({section.mid for section in remote.sections}) == 2 * MAX_WINDOWS


@pytest.mark.parametrize("windows", [MAX_WINDOWS])
def test_the_largest_offer_fits_into_a_message(windows: int) -> None:
    server = FakeServer()
    while len(server.remote.sections) < 2 * windows:
        slots = [SlotStatus(s.mid, s.kind, SourceStatus("site", s.mid, "0", "VP8")) for s in server.remote.sections]
        server.remote.on_tracks(Tracks(tuple(slots)))
    local = Local("ufrag", "p" * 24, ":".join(["AB"] * 32), (), False)
    offer = write_offer(server.remote.sections, local, session_id=1, version=1)
    assert len(offer) < 60_000
