"""Demultiplexing: a packet finds its section by mid, SSRC or payload type, and the table stays small."""

from __future__ import annotations

from sfu.media.demux import Demux, Route
from sfu.media.rtp import Packet

AUDIO = Route("a", 1, (111,), (10,))
VIDEO = Route("v", 1, (96, 97), (20,))
SCREEN = Route("s", 1, (96, 98))


def packet(ssrc: int, payload_type: int = 96, mid: bytes | None = None) -> Packet:
    extensions = {} if mid is None else {1: mid}
    return Packet(False, payload_type, 1, 1, ssrc, b"x", extensions)


def demux(*routes: Route) -> Demux:
    made = Demux()
    made.configure(routes)
    return made


def test_signalled_ssrcs_lead_to_their_sections() -> None:
    table = demux(AUDIO, VIDEO, SCREEN)
    assert [table.route(packet(10, 111)), table.route(packet(20))] == ["a", "v"]


def test_a_mid_is_remembered_for_its_ssrc() -> None:
    table = demux(VIDEO, SCREEN)
    assert table.route(packet(5)) is None
    assert table.route(packet(5, mid=b"s")) == "s"
    assert table.route(packet(5)) == "s"


def test_a_mid_overrides_what_was_signalled() -> None:
    table = demux(VIDEO, SCREEN)
    assert table.route(packet(20, mid=b"s")) == "s"
    assert table.route(packet(20)) == "s"


def test_an_unknown_mid_changes_nothing() -> None:
    table = demux(VIDEO, SCREEN)
    assert table.route(packet(5, mid=b"?")) is None
    assert table.route(packet(20, mid=b"?")) == "v"


def test_a_payload_type_that_one_section_alone_has_tells_it_and_is_remembered() -> None:
    table = demux(AUDIO, VIDEO, SCREEN)
    assert table.route(packet(5, 98)) == "s"
    assert table.route(packet(5, 96)) == "s"
    assert table.route(packet(6, 96)) is None
    assert table.route(packet(6, 50)) is None


def test_a_payload_type_that_three_sections_share_tells_nothing() -> None:
    assert demux(VIDEO, SCREEN, Route("t", None, (96,))).route(packet(6, 96)) is None


def test_a_reoffer_keeps_what_was_learnt_and_forgets_ended_sections() -> None:
    table = demux(VIDEO, SCREEN)
    table.route(packet(5, mid=b"s"))
    table.route(packet(6, mid=b"v"))
    table.configure([SCREEN, AUDIO, Route("w", 1, (96,))])
    assert [table.route(packet(5)), table.route(packet(6))] == ["s", None]
    assert table.route(packet(20)) is None


def test_a_reoffer_moves_a_signalled_ssrc() -> None:
    table = demux(VIDEO)
    table.configure([Route("v", 1, (96,)), Route("s", 1, (96,), (20,))])
    assert table.route(packet(20)) == "s"


def test_at_most_64_ssrcs_are_kept_and_the_busy_ones_survive() -> None:
    table = demux(VIDEO, SCREEN)
    table.route(packet(1, mid=b"v"))
    table.route(packet(2, mid=b"v"))
    for ssrc in range(1000, 3000):
        table.route(packet(ssrc, mid=b"s"))
        assert table.route(packet(1)) == "v"
    assert table.route(packet(2)) is None
    assert len(table._by_ssrc) == 64


def test_a_flood_of_signalled_ssrcs_is_cut() -> None:
    table = demux(Route("v", 1, (96,), tuple(range(5000))))
    assert len(table._by_ssrc) == 64


def test_a_mid_that_no_packet_could_carry_is_harmless() -> None:
    assert demux(Route("\ud800", 1, (96,))).route(packet(1)) == "\ud800"
