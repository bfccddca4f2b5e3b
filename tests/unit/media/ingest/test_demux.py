"""Demultiplexing: a packet finds its section by mid, SSRC or payload type, its layer by rid; the table stays small."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sfu.media.formats.rtp import Packet
from sfu.media.ingest.demux import Demux, Route

AUDIO = Route("a", 1, (111,), (10,))
VIDEO = Route("v", 1, (96, 97), (20,))
SCREEN = Route("s", 1, (96, 98))


LAYERED = Route("l", 1, (100,), rtx=(101,), rids=("q", "h"), rid_extension=2, repaired_extension=3)
REPAIRED = Route("r", 1, (102,), (30,), rtx=(103,), rtx_ssrcs=(31,))


def packet(ssrc: int, payload_type: int = 96, mid: bytes | None = None, **told: bytes) -> Packet:
    told |= {} if mid is None else {"mid": mid}
    extensions = {{"mid": 1, "rid": 2, "repaired": 3}[name]: value for name, value in told.items()}
    return Packet(False, payload_type, 1, 1, ssrc, b"x", extensions)


def demux(*routes: Route) -> Demux:
    made = Demux()
    made.configure(routes)
    return made


def mid_of(table: Demux, packet: Packet) -> str | None:
    routed = table.route(packet)
    return None if routed is None else routed.mid


def way(table: Demux, packet: Packet) -> tuple[str, str | None, bool] | None:
    routed = table.route(packet)
    return None if routed is None else (routed.mid, routed.rid, routed.repairs)


def test_signalled_ssrcs_lead_to_their_sections() -> None:
    table = demux(AUDIO, VIDEO, SCREEN)
    assert [mid_of(table, packet(10, 111)), mid_of(table, packet(20))] == ["a", "v"]


def test_a_mid_is_remembered_for_its_ssrc() -> None:
    table = demux(VIDEO, SCREEN)
    assert mid_of(table, packet(5)) is None
    assert mid_of(table, packet(5, mid=b"s")) == "s"
    assert mid_of(table, packet(5)) == "s"


def test_a_mid_overrides_what_was_signalled() -> None:
    table = demux(VIDEO, SCREEN)
    assert mid_of(table, packet(20, mid=b"s")) == "s"
    assert mid_of(table, packet(20)) == "s"


def test_an_unknown_mid_changes_nothing() -> None:
    table = demux(VIDEO, SCREEN)
    assert mid_of(table, packet(5, mid=b"?")) is None
    assert mid_of(table, packet(20, mid=b"?")) == "v"


def test_a_payload_type_that_one_section_alone_has_tells_it_and_is_remembered() -> None:
    table = demux(AUDIO, VIDEO, SCREEN)
    assert mid_of(table, packet(5, 98)) == "s"
    assert mid_of(table, packet(5, 96)) == "s"
    assert mid_of(table, packet(6, 96)) is None
    assert mid_of(table, packet(6, 50)) is None


def test_a_payload_type_that_three_sections_share_tells_nothing() -> None:
    assert demux(VIDEO, SCREEN, Route("t", None, (96,))).route(packet(6, 96)) is None


def test_a_reoffer_keeps_what_was_learnt_and_forgets_ended_sections() -> None:
    table = demux(VIDEO, SCREEN)
    mid_of(table, packet(5, mid=b"s"))
    mid_of(table, packet(6, mid=b"v"))
    table.configure([SCREEN, AUDIO, Route("w", 1, (96,))])
    assert [mid_of(table, packet(5)), mid_of(table, packet(6))] == ["s", None]
    assert mid_of(table, packet(20)) is None


def test_a_section_that_pauses_and_returns_keeps_its_layers() -> None:
    table = demux(LAYERED, VIDEO)
    table.route(packet(7, 100, mid=b"l", rid=b"h"))
    table.route(packet(8, 101, mid=b"l", repaired=b"q"))
    table.configure([VIDEO])
    assert way(table, packet(7, 100)) is None
    table.configure([VIDEO])
    table.configure([replace(LAYERED, rids=("h",)), VIDEO])
    assert way(table, packet(7, 100)) == ("l", "h", False)
    assert way(table, packet(8, 101)) == ("l", None, True), "that layer has ended"


def test_a_reoffer_moves_a_signalled_ssrc() -> None:
    table = demux(VIDEO)
    table.configure([Route("v", 1, (96,)), Route("s", 1, (96,), (20,))])
    assert mid_of(table, packet(20)) == "s"


def test_at_most_64_ssrcs_are_kept_and_the_busy_ones_survive() -> None:
    table = demux(VIDEO, SCREEN)
    mid_of(table, packet(1, mid=b"v"))
    mid_of(table, packet(2, mid=b"v"))
    for ssrc in range(1000, 3000):
        mid_of(table, packet(ssrc, mid=b"s"))
        assert mid_of(table, packet(1)) == "v"
    assert mid_of(table, packet(2)) is None
    assert len(table.ssrcs) == 64


def test_a_flood_of_signalled_ssrcs_is_cut() -> None:
    table = demux(Route("v", 1, (96,), tuple(range(5000))))
    assert len(table.ssrcs) == 64


def test_a_mid_that_no_packet_could_carry_is_harmless() -> None:
    assert mid_of(demux(Route("\ud800", 1, (96,))), packet(1)) == "\ud800"


def test_a_rid_tells_the_layer_and_is_remembered_for_its_ssrc() -> None:
    table = demux(VIDEO, LAYERED)
    assert way(table, packet(1, 100, b"l", rid=b"q")) == ("l", "q", False)
    assert way(table, packet(2, 100, b"l", rid=b"h")) == ("l", "h", False)
    assert way(table, packet(1, 100)) == ("l", "q", False)
    assert way(table, packet(2, 100, b"l")) == ("l", "h", False)
    assert way(table, packet(2, 100, rid=b"q")) == ("l", "q", False)


def test_a_rid_needs_no_mid_where_the_payload_type_tells_the_section() -> None:
    assert way(demux(VIDEO, LAYERED), packet(1, 100, rid=b"q")) == ("l", "q", False)


def test_a_rid_that_was_never_offered_leads_nowhere_and_changes_nothing() -> None:
    table = demux(VIDEO, LAYERED)
    for strange in (b"f", b"", b"Q", b"\xff", b"q\0"):
        assert table.route(packet(1, 100, b"l", rid=strange)) is None
        assert table.ssrcs == {20}
    table.route(packet(1, 100, b"l", rid=b"q"))
    assert table.route(packet(1, 100, rid=b"f")) is None
    assert way(table, packet(1, 100)) == ("l", "q", False)


def test_in_a_section_without_layers_a_rid_says_nothing() -> None:
    assert way(demux(VIDEO), packet(20, rid=b"q")) == ("v", None, False)


def test_retransmissions_are_told_by_payload_type_and_their_layer_by_the_repaired_rid() -> None:
    table = demux(VIDEO, LAYERED)
    assert way(table, packet(9, 101, b"l")) == ("l", None, True), "nothing told the layer yet"
    assert way(table, packet(9, 101, repaired=b"h")) == ("l", "h", True)
    assert way(table, packet(9, 101)) == ("l", "h", True)
    assert table.route(packet(9, 101, repaired=b"f")) is None
    assert way(table, packet(8, 101, b"l", rid=b"q")) == ("l", None, True), "a stream's own rid is not the repaired one"


def test_a_signalled_repair_ssrc_leads_to_its_section() -> None:
    table = demux(AUDIO, REPAIRED, Route("s", 1, (102,), rtx=(103,)))
    assert way(table, packet(31, 103)) == ("r", None, True)
    assert way(table, packet(30, 102)) == ("r", None, False)
    assert table.route(packet(32, 103)) is None, "two sections have this payload type"


def test_the_payload_type_decides_what_repairs_whatever_was_signalled() -> None:
    table = demux(AUDIO, REPAIRED)
    assert way(table, packet(31, 102)) == ("r", None, False)
    assert way(table, packet(30, 103)) == ("r", None, True)
    assert way(table, packet(30, 102)) == ("r", None, False)


def test_what_goes_to_the_same_place_shares_one_object() -> None:
    table = demux(LAYERED, REPAIRED)
    assert table.route(packet(1, 100, rid=b"q")) is table.route(packet(1, 100)) is table.route(packet(5, 100, rid=b"q"))
    assert table.route(packet(30, 102)) is table.route(packet(40, 102))


def test_a_reoffer_keeps_layers_and_forgets_those_that_ended() -> None:
    table = demux(LAYERED)
    for ssrc, rid in enumerate((b"q", b"h")):
        table.route(packet(ssrc, 100, b"l", rid=rid))
    table.route(packet(2, 101, b"l", repaired=b"h"))
    table.configure([replace(LAYERED, rids=("h", "f"), ssrcs=(0, 1)), Route("x", 1, (100, 101))])
    assert way(table, packet(0, 100)) == ("l", None, False)
    assert way(table, packet(1, 100)) == ("l", "h", False), "the SSRC signalled says less than its packets did"
    assert way(table, packet(2, 101)) == ("l", "h", True)


MIDS = st.sampled_from([None, b"a", b"v", b"l", b"r", b"?"])
RIDS = st.sampled_from([None, b"q", b"h", b"f"])
ROUTES = (AUDIO, VIDEO, LAYERED, REPAIRED)


@given(
    st.lists(
        st.tuples(st.integers(1, 100), st.sampled_from([96, 97, 100, 101, 102, 103, 111, 50]), MIDS, RIDS, RIDS)
        | st.sets(st.sampled_from(ROUTES)),
        max_size=200,
    )
)
def test_any_packets_and_reoffers_lead_to_sections_and_layers_that_exist(steps: list[Any]) -> None:
    table = demux(*ROUTES)
    now = {route.mid: route for route in ROUTES}
    for step in steps:
        if isinstance(step, set):
            now = {route.mid: route for route in step}
            table.configure(list(step))
            continue
        ssrc, payload_type, mid, rid, repaired = step
        told = {name: value for name, value in (("mid", mid), ("rid", rid), ("repaired", repaired)) if value}
        routed = table.route(packet(ssrc, payload_type, **told))
        if routed is not None:
            route = now[routed.mid]
            assert routed.rid in (None, *route.rids)
            assert routed.repairs == (payload_type in route.rtx)
            if told.get("mid", b"?").decode() in now:
                assert routed.mid == told["mid"].decode()
            if route.rids and not routed.repairs and rid:
                assert routed.rid == rid.decode()
        assert len(table.ssrcs) <= 64
