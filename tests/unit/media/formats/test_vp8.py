"""Picture numbers of VP8 are moved in place, wrap as wide as they are, and nothing else of a payload changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.media.formats import vp8
from sfu.media.formats.vp8 import Numbers

PLAIN = b"\x10\x00\x9d"
SHORT = b"\x90\x80\x7f\x00"  # a PictureID of 7 bits: 127
LONG = b"\x90\x80\xff\xff\x00"  # of 15 bits: 32767
LAYERED = b"\x90\xe0\x80\x05\xff\x20\x00"  # PictureID 5, TL0PICIDX 255, TID


@pytest.mark.parametrize(
    ("payload", "numbers"),
    [
        (PLAIN, Numbers(None, None)),
        (SHORT, Numbers(127, None)),
        (LONG, Numbers(32767, None)),
        (LAYERED, Numbers(5, 255)),
        (b"\x90\x40\x07\x00", Numbers(None, 7)),
        (b"", Numbers(None, None)),
        (b"\x90\x80", Numbers(None, None)),
        (b"\x90\x80\xff", Numbers(None, None)),
    ],
)
def test_numbers_are_read_where_the_descriptor_has_them(payload: bytes, numbers: Numbers) -> None:
    assert vp8.numbers(payload) == numbers


def test_moved_numbers_wrap_as_wide_as_they_are() -> None:
    assert vp8.moved(SHORT, (2, 9)) == b"\x90\x80\x01\x00"
    assert vp8.moved(LONG, (2, 9)) == b"\x90\x80\x80\x01\x00"
    assert vp8.moved(LAYERED, (0x7FFF, 2)) == b"\x90\xe0\x80\x04\x01\x20\x00"
    assert vp8.moved(PLAIN, (1, 1)) == PLAIN


@given(st.binary(max_size=12), st.integers(0, 0x7FFF), st.integers(0, 0xFF))
def test_moving_there_and_back_changes_nothing(payload: bytes, picture: int, base: int) -> None:
    there = vp8.moved(payload, (picture, base))
    assert len(there) == len(payload)
    assert vp8.moved(there, (-picture, -base)) == payload


@given(st.integers(0, 0x7FFF), st.integers(0, 0x7FFF), st.integers(0, 255), st.integers(0, 255))
def test_the_next_picture_follows_the_last_one(last: int, key: int, last_base: int, base: int) -> None:
    payload = bytes((0x90, 0xC0, 0x80 | key >> 8, key & 0xFF, base, 0))
    moved = vp8.moved(payload, vp8.offset(Numbers(last, last_base), vp8.numbers(payload)))
    assert vp8.numbers(moved) == Numbers((last + 1) & 0x7FFF, (last_base + 1) & 0xFF)
