"""Payloads put together again are exactly the frames that went in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.clients.packetize import (
    MAX_PAYLOAD,
    ParameterSets,
    byte_stream,
    h264_payloads,
    nal_type,
    nal_units,
    vp8_payloads,
    vp9_key_frame,
    vp9_payloads,
)
from tests.helpers.media import h264_units, make_file, packets_of

SPS, PPS, IDR, SLICE = b"\x67\x42\xe0\x1f\x8d", b"\x68\xce\x01", b"\x65\x88\x84", b"\x41\x9a\x21"

# header byte of a slice or parameter set, a body without start codes in it, and a last byte that ends a NAL unit
units = st.builds(
    lambda head, body, size: bytes([head]) + (body * size)[: size or 1] + b"\x80",
    st.sampled_from([0x67, 0x68, 0x65, 0x41, 0x06]),
    st.binary(min_size=1, max_size=9).map(lambda body: body.replace(b"\x00", b"\x01")),
    st.integers(0, 5000),
)


@given(st.lists(units, min_size=1, max_size=12))
def test_any_access_unit_survives_the_way_through_rtp(access_unit: list[bytes]) -> None:
    payloads = h264_payloads(byte_stream(access_unit))
    assert h264_units(payloads) == access_unit
    assert max(map(len, payloads)) <= MAX_PAYLOAD


@given(st.binary(max_size=300))
def test_any_bytes_can_be_taken_apart(data: bytes) -> None:
    assert all(nal_units(data)) or not nal_units(data)
    h264_payloads(data)
    vp9_key_frame(data)


def test_small_units_travel_together_and_fragments_are_of_one_size() -> None:
    payloads = h264_payloads(byte_stream([SPS, PPS, b"\x65" + b"\x11" * 5000]))
    assert [payload[0] & 0x1F for payload in payloads] == [24, 28, 28, 28, 28, 28]
    assert {len(payload) for payload in payloads[1:-1]} == {MAX_PAYLOAD}


def test_three_byte_start_codes_delimiters_and_filler() -> None:
    stream = b"\x00\x00\x01\x09\xf0\x00\x00\x00\x01" + SPS + b"\x00\x00\x01" + PPS + b"\x00\x00\x01\x0c\xff\x80"
    assert nal_units(stream) == [SPS, PPS]


def test_key_frames_without_parameter_sets_get_the_last_known_ones() -> None:
    sets = ParameterSets(byte_stream([SPS, PPS]))
    assert sets.profile_level_id == "42e01f"
    assert nal_units(sets.complete(byte_stream([IDR]))) == [SPS, PPS, IDR]
    assert nal_units(sets.complete(byte_stream([SLICE]))) == [SLICE]
    newer = b"\x67\x4d\x40\x1f\x99"
    assert nal_units(sets.complete(byte_stream([newer, PPS, IDR]))) == [newer, PPS, IDR]
    assert nal_units(sets.complete(byte_stream([IDR]))) == [newer, PPS, IDR]


@pytest.mark.parametrize(("codec", "pack"), [("libvpx", vp8_payloads), ("libvpx-vp9", vp9_payloads)])
def test_vpx_frames_survive_with_their_first_and_last_packet_marked(
    codec: str, pack: Callable[[bytes], list[bytes]], tmp_path: Path
) -> None:
    path = make_file(tmp_path / "a.webm", video=codec, audio=None, seconds=0.4, options={"deadline": "realtime"})
    frames = [data for _, data in packets_of(path, "video")]
    assert any(len(frame) > MAX_PAYLOAD for frame in frames)
    for frame in frames:
        payloads = pack(frame)
        assert b"".join(payload[1:] for payload in payloads) == frame
        begins = [bool(payload[0] & (0x10 if pack is vp8_payloads else 0x08)) for payload in payloads]
        assert begins == [True] + [False] * (len(payloads) - 1)
    if pack is vp9_payloads:
        assert [vp9_key_frame(frame) for frame in frames] == [True] + [False] * (len(frames) - 1)
        assert pack(frames[1])[-1][0] & 0x44 == 0x44


def test_real_h264_survives(tmp_path: Path) -> None:
    path = make_file(tmp_path / "a.h264", audio=None, seconds=1, options={"bf": "0"}, size=(640, 360))
    for _, data in packets_of(path, "video"):
        assert h264_units(h264_payloads(data)) == nal_units(data)
        assert nal_type(nal_units(data)[-1]) in (1, 5)
