"""Numbers in codec headers: bit fields, Exp-Golomb codes, LEB128.

Owns reading them one after another. Never knows which header it reads.
"""

from __future__ import annotations

from typing import Final

_MAX_EXP_GOLOMB_BITS: Final = 32
_MAX_LEB128_BYTES: Final = 8


class BrokenError(Exception):
    """A header that is cut short, or has a value that is not allowed."""


class Bits:
    """A reader of bit fields, from the first bit of `data` onwards. Raises BrokenError at the end of the data."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """Returns the next `count` bits as an unsigned number."""
        self._left -= count
        if self._left < 0:
            raise BrokenError
        return self._value >> self._left & (1 << count) - 1

    def flag(self) -> bool:
        """Returns the next bit."""
        return self.take(1) == 1

    def unsigned(self) -> int:
        """Returns the next unsigned Exp-Golomb code: ue(v) of H.264 and H.265, section 9; uvlc() of AV1 is the same."""
        zeros = 0
        while not self.flag():
            zeros += 1
            if zeros > _MAX_EXP_GOLOMB_BITS:
                raise BrokenError
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        """Returns the next signed Exp-Golomb code: se(v) of H.264 section 9.1.1."""
        code = self.unsigned()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def leb128(data: bytes, position: int) -> tuple[int, int]:
    """Returns the number at `position` and the position after it (AV1 section 4.10.5).

    Raises BrokenError if it is cut short or longer than 8 bytes.
    """
    value = shift = 0
    for byte in data[position : position + _MAX_LEB128_BYTES]:
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise BrokenError
