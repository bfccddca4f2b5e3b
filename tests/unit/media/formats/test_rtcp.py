"""RTCP: what `sfu.media.formats.rtcp` promises, with aiortc's reader and writer as second opinion."""

from __future__ import annotations

from collections import Counter

import pytest
from aiortc import rtp as aiortc_rtp
from hypothesis import given
from hypothesis import strategies as st

from sfu.media.formats import rtcp
from sfu.media.formats.transport_cc import TransportFeedback
from tests.helpers.rtp_packets import PLI, U8, U16, U32, rtcp_packet

BLOCKS = st.builds(
    rtcp.ReportBlock,
    ssrc=U32,
    fraction_lost=U8,
    lost=st.integers(-0x80_0000, 0x7F_FFFF),
    highest=U32,
    jitter=U32,
    lsr=U32,
    dlsr=U32,
)
SENDER_REPORTS = st.builds(
    rtcp.SenderReport,
    ssrc=U32,
    ntp=st.integers(0, 0xFFFF_FFFF_FFFF_FFFF),
    media_time=U32,
    packets=U32,
    octets=U32,
    reports=st.lists(BLOCKS, max_size=31).map(tuple),
)
SSRCS = st.lists(U32, max_size=31).map(tuple)


def theirs(data: bytes) -> list[aiortc_rtp.AnyRtcpPacket]:
    return aiortc_rtp.RtcpPacket.parse(data)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_list(data: bytes) -> None:
    assert isinstance(rtcp.parse(data), list)


@given(st.sampled_from([200, 201, 202, 203, 204, 205, 206, 207]), U8, st.binary(max_size=120))
def test_any_body_of_a_known_type_gives_a_list(kind: int, count: int, body: bytes) -> None:
    whole = body[: len(body) // 4 * 4]
    data = bytes((0x80 | count & 0x3F, kind)) + (len(whole) // 4).to_bytes(2, "big") + whole
    assert isinstance(rtcp.parse(data), list)
    assert rtcp.parse(data + PLI)[-1] == rtcp.KeyFrameRequest(2, fir=False)


@given(SENDER_REPORTS, st.text(max_size=300))
def test_sender_report_is_read_back_and_names_its_sender(report: rtcp.SenderReport, cname: str) -> None:
    data = rtcp.sender_report(report, cname)
    assert rtcp.parse(data) == [report]
    first, second = theirs(data)
    assert isinstance(first, aiortc_rtp.RtcpSrPacket)
    assert first.sender_info.ntp_timestamp == report.ntp
    assert isinstance(second, aiortc_rtp.RtcpSdesPacket)
    assert [(chunk.ssrc, chunk.items) for chunk in second.chunks] == [(report.ssrc, [(1, cname.encode()[:255])])]


@given(U32, st.lists(BLOCKS, max_size=70))
def test_receiver_report_carries_any_number_of_blocks(ssrc: int, blocks: list[rtcp.ReportBlock]) -> None:
    data = rtcp.receiver_report(ssrc, blocks, "us")
    parsed = rtcp.parse(data)
    assert all(isinstance(report, rtcp.ReceiverReport) and report.ssrc == ssrc for report in parsed)
    assert [block for report in parsed if isinstance(report, rtcp.ReceiverReport) for block in report.reports] == blocks
    assert len(parsed) == max(1, -(-len(blocks) // 31))
    assert len(theirs(data)) == len(parsed) + 1


@given(U32, BLOCKS)
def test_reports_are_read_as_aiortc_reads_them(ssrc: int, block: rtcp.ReportBlock) -> None:
    (report, _) = theirs(rtcp.receiver_report(ssrc, [block], "us"))
    assert isinstance(report, aiortc_rtp.RtcpRrPacket)
    info = report.reports[0]
    assert block == rtcp.ReportBlock(
        info.ssrc, info.fraction_lost, info.packets_lost, info.highest_sequence, info.jitter, info.lsr, info.dlsr
    )


@pytest.mark.parametrize(("lost", "written"), [(1 << 30, 0x7F_FFFF), (-(1 << 30), -0x80_0000)])
def test_lost_is_clamped_to_24_bits(lost: int, written: int) -> None:
    block = rtcp.ReportBlock(1, 0, lost, 0, 0, 0, 0)
    (report,) = rtcp.parse(rtcp.receiver_report(1, [block], "us"))
    assert isinstance(report, rtcp.ReceiverReport)
    assert report.reports[0].lost == written


def test_profile_specific_extensions_of_a_report_are_ignored() -> None:
    assert rtcp.parse(rtcp_packet(201, 0, bytes(3) + b"\x01" + b"more")) == [rtcp.ReceiverReport(1)]


@given(U32, U32, U8)
def test_key_frame_requests_are_read_back_and_are_aiortcs(sender: int, media: int, number: int) -> None:
    assert rtcp.parse(rtcp.pli(sender, media)) == [rtcp.KeyFrameRequest(media, fir=False)]
    assert rtcp.parse(rtcp.fir(sender, media, number)) == [rtcp.KeyFrameRequest(media, fir=True)]
    assert rtcp.pli(sender, media) == bytes(aiortc_rtp.RtcpPsfbPacket(fmt=1, ssrc=sender, media_ssrc=media))
    fci = media.to_bytes(4, "big") + bytes((number, 0, 0, 0))
    assert rtcp.fir(sender, media, number) == bytes(
        aiortc_rtp.RtcpPsfbPacket(fmt=4, ssrc=sender, media_ssrc=0, fci=fci)
    )


def test_each_entry_of_a_full_intra_request_is_a_request() -> None:
    entries = b"".join(ssrc.to_bytes(4, "big") + b"\x07\0\0\0" for ssrc in (10, 11))
    assert rtcp.parse(rtcp_packet(206, 4, bytes(8) + entries)) == [
        rtcp.KeyFrameRequest(10, fir=True),
        rtcp.KeyFrameRequest(11, fir=True),
    ]


@given(U32, st.integers(0, (1 << 63) - 1), SSRCS)
def test_remb_is_read_back_to_18_digits_and_is_aiortcs(sender: int, bitrate: int, ssrcs: tuple[int, ...]) -> None:
    data = rtcp.remb(sender, bitrate, ssrcs)
    (parsed,) = rtcp.parse(data)
    assert isinstance(parsed, rtcp.Remb)
    assert parsed.ssrcs == ssrcs
    assert 0 <= bitrate - parsed.bitrate <= bitrate >> 17
    fci = aiortc_rtp.pack_remb_fci(bitrate, list(ssrcs))
    assert data == bytes(aiortc_rtp.RtcpPsfbPacket(fmt=15, ssrc=sender, media_ssrc=0, fci=fci))


@given(U32, st.lists(U16, min_size=1, max_size=40, unique=True))
def test_nack_is_read_as_aiortc_wrote_it(media: int, lost: list[int]) -> None:
    data = bytes(aiortc_rtp.RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=media, lost=sorted(lost)))
    assert rtcp.parse(data) == [rtcp.Nack(media, tuple(sorted(lost)))]


@given(U32, U32, st.lists(U16, min_size=1, max_size=60, unique=True))
def test_nack_is_read_back_and_is_aiortcs(sender: int, media: int, lost: list[int]) -> None:
    assert rtcp.parse(rtcp.nack(sender, media, sorted(lost))) == [rtcp.Nack(media, tuple(sorted(lost)))]
    (theirs_too,) = theirs(rtcp.compound(rtcp.nack(sender, media, sorted(lost))))[1:]
    assert isinstance(theirs_too, aiortc_rtp.RtcpRtpfbPacket)
    assert theirs_too.lost == sorted(lost)
    (unsorted,) = rtcp.parse(rtcp.nack(sender, media, lost))
    assert isinstance(unsorted, rtcp.Nack)
    assert set(unsorted.sequences) == set(lost)


def test_nack_of_a_run_is_one_entry_for_seventeen_even_over_the_wrap() -> None:
    run = [(0xFFF8 + at) & 0xFFFF for at in range(34)]
    data = rtcp.nack(1, 2, run)
    assert data[12:] == b"\xff\xf8\xff\xff" + b"\x00\x09\xff\xff"
    assert rtcp.parse(data) == [rtcp.Nack(2, tuple(run))]


def test_a_nack_asks_for_a_thousand_packets_at_most() -> None:
    (parsed,) = rtcp.parse(rtcp_packet(205, 1, bytes(8) + b"\0\0\xff\xff" * 300))
    assert isinstance(parsed, rtcp.Nack)
    assert len(parsed.sequences) == 1000


def test_nack_wraps() -> None:
    body = bytes(4) + b"\0\0\0\x05" + b"\xff\xff\x00\x03"
    assert rtcp.parse(rtcp_packet(205, 1, body)) == [rtcp.Nack(5, (0xFFFF, 0, 1))]


@given(SSRCS)
def test_bye_is_read_back_and_is_aiortcs(ssrcs: tuple[int, ...]) -> None:
    assert rtcp.parse(rtcp.bye(ssrcs)) == [rtcp.Goodbye(ssrcs)]
    assert rtcp.bye(ssrcs) == bytes(aiortc_rtp.RtcpByePacket(sources=list(ssrcs)))


def test_a_compound_starts_with_a_report() -> None:
    report = rtcp.receiver_report(1, [], "us")
    remb = rtcp.remb(1, 1_000_000, [2])
    assert rtcp.compound(report, PLI) == report + PLI
    assert rtcp.parse(rtcp.compound(PLI, remb)) == [rtcp.ReceiverReport(1), *rtcp.parse(PLI + remb)]


def test_padding_of_the_last_part_is_removed() -> None:
    padded = bytes((PLI[0] | 0x20, PLI[1], 0, 3)) + PLI[4:] + b"\0\0\0\x04"
    assert rtcp.parse(padded) == rtcp.parse(PLI)


@pytest.mark.parametrize("padding", [0, 13, 255])
def test_a_part_whose_padding_contradicts_its_length_is_skipped(padding: int) -> None:
    padded = bytes((PLI[0] | 0x20, PLI[1], 0, 3)) + PLI[4:] + bytes((0, 0, 0, padding))
    assert rtcp.parse(padded + PLI) == rtcp.parse(PLI)


def test_unknown_types_are_skipped_and_a_broken_frame_ends_the_reading() -> None:
    unknown = rtcp_packet(207, 0, b"abcd")
    assert rtcp.parse(unknown + PLI) == rtcp.parse(PLI)
    for broken in (PLI[:-1], b"\x40" + PLI[1:], b"\x81"):
        assert rtcp.parse(PLI + broken) == rtcp.parse(PLI)


@given(st.lists(st.binary(max_size=60), max_size=4), st.lists(BLOCKS, max_size=3))
def test_requests_are_read_alike_without_what_no_relay_needs(junk: list[bytes], blocks: list[rtcp.ReportBlock]) -> None:
    data = rtcp.compound(rtcp.receiver_report(1, blocks, "a"), PLI) + b"".join(junk)
    unneeded = (rtcp.ReceiverReport, TransportFeedback)
    wanted = [message for message in rtcp.parse(data) if not isinstance(message, unneeded)]
    assert rtcp.parse_requests(data, Counter()) == wanted


REMB = rtcp.remb(1, 500_000, (2,))


@pytest.mark.parametrize(
    "broken",
    [
        REMB[:2] + b"\0\3" + REMB[4:16],  # ends after its name
        REMB[:16] + b"\xff" + REMB[17:],  # of more streams than it names
        rtcp_packet(205, 1, bytes(8)),  # asks for nothing
        rtcp_packet(206, 1, bytes(4)),
        rtcp_packet(206, 4, bytes(12)),
        rtcp_packet(203, 31, bytes(4)),
        rtcp_packet(200, 0, bytes(8)),
        bytes((PLI[0] | 0x20, *PLI[1:-1], 0)),
        PLI[:-1],
        b"\x81",
    ],
)
def test_what_contradicts_itself_is_counted_and_the_rest_read(broken: bytes) -> None:
    drops: Counter[str] = Counter()
    assert rtcp.parse_requests(PLI + broken, drops) == rtcp.parse(PLI)
    assert rtcp.parse(PLI + broken) == rtcp.parse(PLI)
    assert drops == {"malformed_rtcp": 1}


def test_feedback_that_nobody_asked_for_is_not_even_read() -> None:
    """A datagram full of it claims half a million packets."""
    run = rtcp_packet(205, 15, bytes(4) + b"\0\0\0\2\0\0\x1f\xff" + bytes(4) + b"\x1f\xff\0\0")
    assert isinstance(rtcp.parse(run)[0], TransportFeedback)
    drops: Counter[str] = Counter()
    assert rtcp.parse_requests(run * 58 + PLI, drops) == rtcp.parse(PLI)
    assert drops == {"unasked_feedback": 58}
