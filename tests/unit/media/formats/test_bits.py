"""Codec header numbers are read as the standards write them, and broken ones raise BrokenError and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.media.formats.bits import Bits, BrokenError, leb128


def test_exp_golomb_codes_of_the_standard() -> None:
    """The first codes of H.264 table 9-2: 1, 010, 011, 00100."""
    codes = ["1", "010", "011", "00100", "010", "011", "00100", "1"]
    bits = Bits(int("".join(codes), 2).to_bytes(3, "big"))
    assert [bits.unsigned() for _ in range(4)] == [0, 1, 2, 3]
    assert [bits.signed() for _ in range(4)] == [1, -1, 2, 0]


def test_reading_beyond_the_end_raises() -> None:
    bits = Bits(b"\xff")
    bits.take(7)
    with pytest.raises(BrokenError):
        bits.take(2)


def test_exp_golomb_codes_have_a_bound() -> None:
    with pytest.raises(BrokenError):
        Bits(bytes(16)).unsigned()


@given(st.integers(0, (1 << 56) - 1), st.binary(max_size=4))
def test_leb128_reads_back_what_was_written(value: int, before: bytes) -> None:
    written, rest = bytearray(), value
    while rest > 0x7F:
        written.append(rest & 0x7F | 0x80)
        rest >>= 7
    written.append(rest)
    assert leb128(before + written + b"\x55", len(before)) == (value, len(before) + len(written))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80" * 8 + b"\x01"])
def test_leb128_that_is_cut_short_or_too_long_raises(data: bytes) -> None:
    with pytest.raises(BrokenError):
        leb128(data, 0)
