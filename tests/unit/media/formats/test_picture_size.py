"""Sizes of pictures as real encoders write them into key frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.media.formats.picture_size import picture_size
from tests.helpers.rtp_payloads import encode_grey

SIZES = [(320, 180), (640, 352), (1280, 720), (720, 1280), (1918, 1078)]


@pytest.mark.parametrize("size", SIZES)
def test_vp8_tells_in_its_frame_header(size: tuple[int, int]) -> None:
    picture = encode_grey("libvpx", size)[0]
    assert picture_size("VP8", b"\x10" + picture) == size
    assert picture_size("VP8", b"\x90\x80\x81\x00" + picture) == size, "behind a PictureID"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("profile", ["baseline", "high"])
def test_h264_tells_in_its_parameter_set(size: tuple[int, int], profile: str) -> None:
    stream = encode_grey("libx264", size, {"profile": profile})[0]
    units = stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
    parameters = next(unit for unit in units if unit and unit[0] & 0x1F == 7)
    assert picture_size("H264", parameters) == size
    aggregated = b"\x78" + len(parameters).to_bytes(2, "big") + parameters + b"\0\2\x68\x00"
    assert picture_size("H264", aggregated) == size


def test_others_and_other_packets_do_not_tell() -> None:
    assert picture_size("VP9", b"\x08" + bytes(20)) is None
    assert picture_size("VP8", b"\x10\x01\x00\x00" + bytes(20)) is None
    assert picture_size("VP8", b"\x10\x01\x00\x00\x9d\x01\x2a\x40\x01\xb4\x00") is None, "not a key frame"
    assert picture_size("VP8", b"\x10\x00\x00\x00\x9d\x01\x2a" + bytes(4)) is None, "no pixels"
    assert picture_size("VP8", b"") is None
    assert picture_size("H264", b"") is None
    assert picture_size("H264", b"\x78\x00\x00\x67") is None, "an empty unit"
    assert picture_size("H264", b"\x65" + bytes(20)) is None


@given(
    st.sampled_from(["VP8", "H264", "AV1"]), st.binary(max_size=80), st.sampled_from([b"", b"\x67", b"\x78\0\x20\x67"])
)
def test_any_bytes_give_an_answer(codec: str, data: bytes, head: bytes) -> None:
    size = picture_size(codec, head + data)
    assert size is None or min(size) > 0
