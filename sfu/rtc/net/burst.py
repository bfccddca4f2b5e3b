"""A burst: packets in plain text that leave together, and the messages that they make up on their way.

Owns which neighbours become one message (`UDP_SEGMENT`, udp(7)) and how wide a slot they need. Pure: never touches C.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from sfu.rtc.net.srtp import MAX_DATAGRAM_BYTES, TRAILER_BYTES

MAX_BURST_PACKETS: Final = 128
"""Packets that one `Burst` may hold, so that it always fits the arena."""
SLOT_WIDTHS_BYTES: Final = (192, 704, 1344, 2240)
"""Bytes from one slot of the arena to the next, for sound, for small and usual video packets, and for the largest.

Tight, for what lies between packets is copied with them and takes their place in the caches; few, for all that leaves
in one go has one width; odd numbers of cache lines, or packets would compete for the same few of them.
"""
MAX_SEGMENTS: Final = 64  # UDP_MAX_SEGMENTS of kernels before 6.9
_MAX_GSO_BYTES: Final = 65_000  # an IP datagram's limit, headers taken off


class GsoRun(NamedTuple):
    """Packets side by side that leave as one message."""

    first: int
    """Position in the burst."""
    packets: int
    segment: int
    """Bytes of each but the last, encrypted."""


class ArenaLayout:
    """How packets of certain sizes stand in the arena, each at the start of a slot of its own, and leave."""

    __slots__ = ("count", "lengths", "messages", "sizes", "width")

    def __init__(self, sizes: Sequence[int], overhead: int, segmented: bool) -> None:
        lengths = [size + overhead for size in sizes]
        self.count = len(sizes)
        self.width = slot_width(max(lengths, default=0))
        self.sizes = array("i", sizes)
        """Of each packet in plain text, as C's int."""
        self.lengths = array("Q", lengths)
        """Of each packet encrypted, as C's size_t."""
        self.messages = _joined(lengths) if segmented else [GsoRun(at, 1, length) for at, length in enumerate(lengths)]
        """The messages that the packets make up."""


_layout_of = lru_cache(maxsize=64)(ArenaLayout)  # most are of sizes seen before, and a new one costs 20 us


class Burst:
    """Packets that go to several transports alike, in plain text."""

    def __init__(self, packets: Sequence[bytes]) -> None:
        """At most `MAX_BURST_PACKETS` packets; those too large for a datagram are left out and counted."""
        self.packets = packets
        self.sizes = tuple(map(len, packets))
        self.longest = max(self.sizes, default=0)
        """Bytes of the largest packet that is not left out."""
        self.refused = 0
        if self.longest > MAX_DATAGRAM_BYTES - TRAILER_BYTES:
            self.packets = [packet for packet in packets if len(packet) <= MAX_DATAGRAM_BYTES - TRAILER_BYTES]
            self.sizes = tuple(map(len, self.packets))
            self.longest = max(self.sizes, default=0)
            self.refused = len(packets) - len(self.packets)

    def layout(self, overhead: int, *, segmented: bool) -> ArenaLayout:
        """For SRTP that adds `overhead` bytes to each packet, with neighbours joined or not."""
        return _layout_of(self.sizes, overhead, segmented)


def slot_width(longest: int) -> int:
    """Of slots that packets of so many bytes fit."""
    for width in SLOT_WIDTHS_BYTES:
        if width >= longest:
            return width
    raise ValueError(f"no slot holds {longest} bytes")


def _joined(lengths: Sequence[int]) -> list[GsoRun]:
    """Neighbours of one size joined, as the kernel allows: only the last of a message may be shorter."""
    messages: list[GsoRun] = []
    joinable, total = False, 0
    for position, length in enumerate(lengths):
        if joinable:
            first, count, segment = messages[-1]
            if length <= segment and count < MAX_SEGMENTS and total + length <= _MAX_GSO_BYTES:
                messages[-1] = GsoRun(first, count + 1, segment)
                joinable, total = length == segment, total + length
                continue
        messages.append(GsoRun(position, 1, length))
        joinable, total = True, length
    return messages
