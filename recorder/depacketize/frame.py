"""The interface between the depacketizer and its payload formats.

Owns `Format`, `Frame` and the bounds that all formats share. Never knows a single format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from recorder.depacketize.units import CodecParameters

MAX_UNIT_BYTES: Final = 4 << 20
"""A larger unit counts as broken."""

MAX_SIDE_PIXELS: Final = 16384
"""Largest width and height: some containers have 16 bits for them."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole unit without its place in the stream; the fields are as in `Unit`."""

    data: bytes
    key: bool
    parameters: CodecParameters | None
    duration: int = 0


NOTHING: Final = Frame(b"", False, None)
"""The result of valid payloads without a picture, such as parameter sets alone."""


class Format(Protocol):
    """Assembles payloads into units, one after another. Never raises on remote bytes."""

    def add(self, payload: bytes) -> bool:
        """Adds the unit's next payload, never empty; False if the unit is broken. Holds at most MAX_UNIT_BYTES."""

    def begins(self, payload: bytes) -> bool:
        """True if this payload, never empty and of the same media time, does not belong to the open unit any more."""

    def finish(self, *, whole: bool) -> Frame | None:
        """Ends the unit, of one payload or more, and returns it.

        Returns NOTHING if it has no picture, None if it is broken. `whole` is False if payloads before the first one
        may be missing; the first one starts a key frame then.
        """

    def discard(self) -> None:
        """Drops the payloads so far."""


def drawable(width: int, height: int) -> bool:
    """True if this is an allowed picture size."""
    return 0 < width <= MAX_SIDE_PIXELS and 0 < height <= MAX_SIDE_PIXELS
