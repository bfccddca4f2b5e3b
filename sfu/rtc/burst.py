"""A burst: packets in plain text that leave together, and the messages that they make up on their way.

Owns which neighbours become one message (`UDP_SEGMENT`, udp(7)) and how wide a slot they need. Pure: never touches C.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

from sfu.rtc.native import MAX_DATAGRAM, TRAILER

MAX_BURST: Final = 128
"""Packets that one `Burst` may hold, so that it always fits the arena."""
WIDTHS: Final = (192, 704, 1344, 2240)
"""Bytes from one slot of the arena to the next, for sound, for small and usual video packets, and for the largest.

Tight, for what lies between packets is copied with them and takes their place in the caches; few, for all that leaves
in one go has one width; odd numbers of cache lines, or packets would compete for the same few of them.
"""
MAX_SEGMENTS: Final = 64  # UDP_MAX_SEGMENTS of kernels before 6.9
_GSO_BYTES: Final = 65_000  # an IP datagram's limit, headers taken off


class Segments(NamedTuple):
    """Packets side by side that leave as one message."""

    first: int
    """Position in the burst."""
    packets: int
    segment: int
    """Bytes of each but the last, encrypted."""


class Layout:
    """One burst as it stands in the arena: each packet at the start of a slot of its own."""

    __slots__ = ("count", "lengths", "packets", "sizes", "width")

    def __init__(self, packets: Sequence[bytes], longest: int, overhead: int) -> None:
        self.count = len(packets)
        self.packets = packets
        self.width = slot_width(longest + overhead)
        sizes = list(map(len, packets))
        self.sizes = array("i", sizes)
        """Of each packet in plain text, as C's int."""
        self.lengths = array("Q", [size + overhead for size in sizes])
        """Of each packet encrypted, as C's size_t."""

    def messages(self, *, segmented: bool) -> list[Segments]:
        """The messages that the packets make up."""
        if segmented and self.count > 1:
            return _joined(self.lengths)
        return [Segments(first, 1, length) for first, length in enumerate(self.lengths)]


class Burst:
    """Packets that go to several transports alike, in plain text; laid out once for each SRTP overhead."""

    def __init__(self, packets: Sequence[bytes]) -> None:
        """At most `MAX_BURST` packets; those too large for a datagram are left out and counted."""
        self.packets = packets
        self.longest = _longest(packets)
        """Bytes of the largest packet that is not left out."""
        self.refused = 0
        if self.longest > MAX_DATAGRAM - TRAILER:
            self.packets = [packet for packet in packets if len(packet) <= MAX_DATAGRAM - TRAILER]
            self.longest = _longest(self.packets)
            self.refused = len(packets) - len(self.packets)
        self._layouts: dict[int, Layout] | None = None

    def layout(self, overhead: int) -> Layout:
        """For SRTP that adds `overhead` bytes to each packet."""
        if self._layouts is None:
            self._layouts = {}
        known = self._layouts.get(overhead)
        if known is None:
            known = self._layouts[overhead] = Layout(self.packets, self.longest, overhead)
        return known


def slot_width(longest: int) -> int:
    """Of slots that packets of so many bytes fit."""
    for width in WIDTHS:
        if width >= longest:
            return width
    raise ValueError(f"no slot holds {longest} bytes")


def _longest(packets: Sequence[bytes]) -> int:
    longest = 0
    for packet in packets:
        if len(packet) > longest:  # noqa: PLR1730  # one call less for each
            longest = len(packet)
    return longest


def _joined(lengths: Sequence[int]) -> list[Segments]:
    """Neighbours of one size joined, as the kernel allows: only the last of a message may be shorter."""
    messages: list[Segments] = []
    joinable, total = False, 0
    for position, length in enumerate(lengths):
        if joinable:
            first, count, segment = messages[-1]
            if length <= segment and count < MAX_SEGMENTS and total + length <= _GSO_BYTES:
                messages[-1] = Segments(first, count + 1, segment)
                joinable, total = length == segment, total + length
                continue
        messages.append(Segments(position, 1, length))
        joinable, total = True, length
    return messages
