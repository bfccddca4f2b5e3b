"""RTP packets: what `sfu.media.formats.rtp` promises, with aiortc's parser as second opinion."""

from __future__ import annotations

import pytest
from aiortc import rtp as aiortc_rtp
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from hypothesis import given
from hypothesis import strategies as st

from sfu.media.formats import rtp
from tests.helpers.rtp_packets import ONE_BYTE, PACKETS, U16, U32, packet


def with_block(block: bytes, payload: bytes = b"abc") -> bytes:
    plain = rtp.serialize(packet(payload=b""))
    return bytes((0x90,)) + plain[1:] + block + payload


@given(st.binary(max_size=80))
def test_any_bytes_give_a_packet_or_none(data: bytes) -> None:
    assert isinstance(rtp.parse(data), rtp.Packet | None)


@given(st.integers(0x80, 0xBF), st.binary(min_size=11, max_size=80))
def test_any_bytes_of_version_2_are_understood_like_aiortc_understands_them(first: int, rest: bytes) -> None:
    data = bytes((first,)) + rest
    mine = rtp.parse(data)
    try:
        theirs = aiortc_rtp.RtpPacket.parse(data)
    except ValueError:
        assert mine is None
    else:
        if mine is None:  # aiortc leaves unknown app bits and reserved ids alone; an extension cut short it refuses too
            assert first & 0x10
            return
        assert (mine.marker, mine.payload_type) == (bool(theirs.marker), theirs.payload_type)
        assert (mine.sequence, mine.media_time, mine.ssrc) == (theirs.sequence_number, theirs.timestamp, theirs.ssrc)
        assert mine.payload == theirs.payload


@given(PACKETS)
def test_serialize_is_read_back(original: rtp.Packet) -> None:
    assert rtp.parse(rtp.serialize(original)) == original


@given(PACKETS, st.data())
def test_truncation_inside_the_header_gives_none(original: rtp.Packet, data: st.DataObject) -> None:
    whole = rtp.serialize(original)
    cut = data.draw(st.integers(0, len(whole) - len(original.payload) - 1))
    assert rtp.parse(whole[:cut]) is None


@given(st.lists(U32, max_size=15), st.integers(1, 255), PACKETS)
def test_csrcs_and_padding_are_removed(csrcs: list[int], padding: int, original: rtp.Packet) -> None:
    plain = rtp.serialize(original)
    sources = b"".join(csrc.to_bytes(4, "big") for csrc in csrcs)
    tail = bytes(padding - 1) + bytes((padding,))
    data = bytes((plain[0] | 0x20 | len(csrcs),)) + plain[1:12] + sources + plain[12:] + tail
    assert rtp.parse(data) == original


@pytest.mark.parametrize("padding", [0, 5, 255])
def test_padding_that_contradicts_the_length_gives_none(padding: int) -> None:
    plain = rtp.serialize(packet(payload=b"abc"))
    assert rtp.parse(bytes((plain[0] | 0x20,)) + plain[1:] + bytes((padding,))) is None


def test_a_packet_of_nothing_but_padding_has_an_empty_payload() -> None:
    plain = rtp.serialize(packet(payload=b"\x00\x00\x00\x04"))
    parsed = rtp.parse(bytes((plain[0] | 0x20,)) + plain[1:])
    assert parsed is not None
    assert parsed.payload == b""


def test_version_other_than_2_gives_none() -> None:
    plain = rtp.serialize(packet())
    assert [rtp.parse(bytes((version << 6,)) + plain[1:]) for version in (0, 1, 3)] == [None] * 3


@given(ONE_BYTE)
def test_extension_block_is_aiortcs(values: dict[int, bytes]) -> None:
    profile, body = aiortc_rtp.pack_header_extensions(list(values.items()))
    expected = profile.to_bytes(2, "big") + (len(body) // 4).to_bytes(2, "big") + body if values else b""
    assert rtp.extension_block(list(values.items())) == expected


def test_extensions_are_what_aiortc_wrote() -> None:
    extensions_map = aiortc_rtp.HeaderExtensionsMap()
    uris = {
        1: "urn:ietf:params:rtp-hdrext:sdes:mid",
        3: "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    }
    headers = [RTCRtpHeaderExtensionParameters(id=number, uri=uri) for number, uri in uris.items()]
    extensions_map.configure(RTCRtpParameters(headerExtensions=headers))
    theirs = aiortc_rtp.RtpPacket(payload_type=96, payload=b"abc")
    theirs.extensions.mid = "video0"
    theirs.extensions.abs_send_time = 0x123456
    parsed = rtp.parse(theirs.serialize(extensions_map))
    assert parsed is not None
    assert parsed.extensions == {1: b"video0", 3: b"\x12\x34\x56"}


@pytest.mark.parametrize("reserved", [b"\x02abc", b"\xf2abc"])
def test_one_byte_list_ends_at_a_reserved_id(reserved: bytes) -> None:
    parsed = rtp.parse(with_block(b"\xbe\xde\x00\x02" + b"\x10x\x20y" + reserved))
    assert parsed is not None
    assert parsed.extensions == {1: b"x", 2: b"y"}
    assert parsed.payload == b"abc"


@pytest.mark.parametrize(
    "block", [b"\xbe\xde\x00\x01\x1fabc", b"\x10\x00\x00\x01\x01\x09ab", b"\x10\x0f\x00\x01\x01\x01a\x02"]
)
def test_an_element_that_runs_over_its_block_gives_none(block: bytes) -> None:
    assert rtp.parse(with_block(block)) is None


def test_a_two_byte_block_with_app_bits_is_read() -> None:
    parsed = rtp.parse(with_block(b"\x10\x05\x00\x01\x00\x20\x01x"))
    assert parsed is not None
    assert parsed.extensions == {32: b"x"}


def test_an_extension_of_another_profile_is_skipped() -> None:
    parsed = rtp.parse(with_block(b"\xab\xac\x00\x01abcd"))
    assert parsed is not None
    assert (parsed.extensions, parsed.payload) == ({}, b"abc")


def test_extension_block_leaves_out_what_cannot_be_written() -> None:
    assert rtp.extension_block([(0, b"a"), (256, b"b"), (1, bytes(256)), (2, b"x")]) == b"\xbe\xde\x00\x01\x20x\x00\x00"


@given(st.binary(max_size=4))
def test_rtcp_is_told_by_its_second_byte(data: bytes) -> None:
    assert rtp.is_rtcp(data) == (len(data) >= 2 and data[1] in range(192, 224))


@given(U16, st.integers(-0x8000, 0x7FFF))
def test_sequence_numbers_wrap(base: int, step: int) -> None:
    later = (base + step) & 0xFFFF
    assert rtp.sequence_delta(later, base) == step
    assert rtp.sequence_newer(later, base) == (step > 0)


@given(U32, st.integers(-0x8000_0000, 0x7FFF_FFFF))
def test_media_times_wrap(base: int, step: int) -> None:
    assert rtp.time_delta((base + step) & 0xFFFF_FFFF, base) == step
