"""What the depacketiser asks of each payload format.

Owns the shape of that answer and the bounds that all formats share. Never knows a format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from recorder.depacketize.units import CodecParameters

MAX_UNIT: Final = 4 << 20
"""Bytes of one unit; what is larger is broken."""

MAX_SIDE: Final = 16384
"""Pixels; no container needs more, and some count them in 16 bits."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole unit without its place in the stream; the fields are those of `Unit`."""

    data: bytes
    key: bool
    parameters: CodecParameters | None
    duration: int = 0


NOTHING: Final = Frame(b"", False, None)
"""What comes of payloads that are in order and yet show nothing, such as parameter sets by themselves."""


class Format(Protocol):
    """Puts the payloads of one unit together, one unit after another. Remote bytes never raise."""

    def add(self, payload: bytes) -> bool:
        """The unit's next payload, never empty; False if the unit is broken beyond use. Holds at most MAX_UNIT."""

    def finish(self, *, whole: bool) -> Frame | None:
        """The unit of the payloads so far, of which there is one at least, and begins the next.

        NOTHING if they hold no picture; None if they are broken. `whole` is False if payloads before the first one may
        be missing: then the first one starts a key frame.
        """

    def discard(self) -> None:
        """Forgets the payloads so far."""


def drawable(width: int, height: int) -> bool:
    """Whether a picture may be of this size."""
    return 0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE
