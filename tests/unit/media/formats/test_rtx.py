"""RTX: what is wrapped is unwrapped, and aiortc's own reading of RFC 4588 agrees."""

from __future__ import annotations

import pytest
from aiortc import rtp as aiortc_rtp
from hypothesis import given
from hypothesis import strategies as st

from sfu.media.formats import rtp, rtx
from tests.helpers.rtp_packets import PACKETS, U16, U32, packet


@given(PACKETS.filter(lambda original: original.payload), st.integers(0, 127), U32, U16)
def test_what_is_wrapped_is_unwrapped(original: rtp.Packet, payload_type: int, ssrc: int, sequence: int) -> None:
    wrapped = rtp.parse(rtx.wrap(rtp.serialize(original), payload_type, ssrc, sequence))
    assert wrapped is not None
    assert (wrapped.payload_type, wrapped.ssrc, wrapped.sequence) == (payload_type, ssrc, sequence)
    assert (wrapped.marker, wrapped.media_time) == (original.marker, original.media_time)
    assert wrapped.extensions == original.extensions
    assert rtx.unwrap(wrapped, original.payload_type, original.ssrc) == original


@given(st.integers(0, 127), U32, U16, U16, st.binary(min_size=1, max_size=64))
def test_aiortc_wraps_and_unwraps_alike(kind: int, ssrc: int, original: int, sequence: int, payload: bytes) -> None:
    sent = aiortc_rtp.RtpPacket(payload_type=96, sequence_number=original, timestamp=7, ssrc=5, payload=payload)
    theirs = aiortc_rtp.wrap_rtx(sent, payload_type=kind, sequence_number=sequence, ssrc=ssrc)
    assert rtx.wrap(sent.serialize(), kind, ssrc, sequence) == theirs.serialize()
    parsed = rtp.parse(theirs.serialize())
    assert parsed is not None
    mine = rtx.unwrap(parsed, 96, 5)
    assert mine is not None
    assert rtp.serialize(mine) == sent.serialize()


def test_contributing_sources_stay_before_the_original_number() -> None:
    plain = rtp.serialize(packet(payload=b"abc", sequence=0x1234))
    wrapped = rtx.wrap(b"\x82" + plain[1:12] + b"csrccsrc" + plain[12:], 97, 9, 5)
    assert wrapped[12:] == b"csrccsrc\x12\x34abc"


def test_the_sequence_number_wraps() -> None:
    parsed = rtp.parse(rtx.wrap(rtp.serialize(packet()), 97, 9, 0x1_0002))
    assert parsed is not None
    assert parsed.sequence == 2


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x01\x02"])
def test_without_an_original_there_is_none(payload: bytes) -> None:
    assert rtx.unwrap(packet(payload=payload), 96, 1) is None
