"""Sizes in H.264 and H.265 parameter sets as real encoders write them; broken sets give None."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.media.formats.picture_size import picture_size
from sfu.media.formats.sps import h264_size, h265_size
from tests.helpers.rtp_payloads import encode_grey

SIZES = [(320, 180), (1918, 1078)]


def parameter_set(encoder: str, size: tuple[int, int], options: dict[str, str], pixel_format: str) -> bytes:
    stream = encode_grey(encoder, size, options, pixel_format=pixel_format)[0]
    units = stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
    kinds = [(unit[0] & 0x1F if encoder == "libx264" else unit[0] >> 1) if unit else 0 for unit in units]
    return units[kinds.index(7 if encoder == "libx264" else 33)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("scaling", ["cqm=flat", "cqm=jvt"])
def test_h264_with_each_chroma_format_and_with_scaling_lists(
    size: tuple[int, int], pixel_format: str, scaling: str
) -> None:
    unit = parameter_set("libx264", size, {"x264-params": f"{scaling}:log-level=none"}, pixel_format)
    assert h264_size(unit) == size
    assert picture_size("H264", unit) == size


@pytest.mark.parametrize("size", [(320, 180), (1918, 1076)])
def test_h264_interlaced(size: tuple[int, int]) -> None:
    unit = parameter_set("libx264", size, {"x264-params": "interlaced=1:log-level=none"}, "yuv420p")
    assert h264_size(unit) == size


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
def test_h265(size: tuple[int, int], pixel_format: str) -> None:
    unit = parameter_set("libx265", size, {"x265-params": "log-level=none:pools=1"}, pixel_format)
    assert h265_size(unit) == size


@given(st.sampled_from([b"\x67", b"\x67\x64\x00\x1f", b"\x42\x01"]), st.binary(max_size=300))
def test_any_bytes_give_an_answer(head: bytes, data: bytes) -> None:
    for size in (h264_size(head + data), h265_size(head + data)):
        assert size is None or min(size) > 0


@pytest.mark.parametrize(
    "data", [b"", b"\x67", b"\x67" + bytes(1400), b"\x67" + b"\xff" * 1400, b"\x67\x64" + bytes(9)]
)
def test_empty_short_and_endless_sets_are_broken(data: bytes) -> None:
    for size in (h264_size(data), h265_size(data), picture_size("H264", data)):
        assert size is None or min(size) > 0
