"""The bit fields of codec headers.

Owns reading them one after another. Never knows which header it reads.
"""

from __future__ import annotations

_MAX_EXP_GOLOMB = 32


class BrokenError(Exception):
    """The header ends before what it announced, or holds what no header can."""


class Bits:
    """Reads from the first bit of `data` onwards; whatever is beyond its end raises BrokenError."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """The next `count` bits as an unsigned number."""
        self._left -= count
        if self._left < 0:
            raise BrokenError
        return self._value >> self._left & (1 << count) - 1

    def flag(self) -> bool:
        """The next bit."""
        return self.take(1) == 1

    def unsigned(self) -> int:
        """The next unsigned Exp-Golomb code: ue(v) of H.264 and H.265, section 9; uvlc() of AV1 is the same."""
        zeros = 0
        while not self.flag():
            zeros += 1
            if zeros > _MAX_EXP_GOLOMB:
                raise BrokenError
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        """The next signed Exp-Golomb code: se(v) of H.264 section 9.1.1."""
        code = self.unsigned()
        return (code + 1) // 2 if code & 1 else -(code // 2)
