"""A burst: unencrypted packets that leave together, and the messages that they become.

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
"""From one slot of the arena to the next: for sound, for small and usual video packets, and for the largest.

Tight, since the gaps between packets are copied with them and take their place in the caches. Few, since all packets of
one `sendmmsg` have one width. Odd numbers of cache lines, or packets would compete for the same few of them.
"""
MAX_SEGMENTS: Final = 64
"""UDP_MAX_SEGMENTS of kernels before 6.9."""
_MAX_GSO_BYTES: Final = 65_000
"""The packets of one message together: the limit of an IP datagram, less its headers."""


class GsoRun(NamedTuple):
    """Packets side by side that leave as one message."""

    first: int
    """The first packet's position in the burst."""
    packets: int
    segment: int
    """Bytes of each packet but the last, encrypted."""


class ArenaLayout:
    """The places of packets of given sizes in the arena, one slot each, and the messages that they become."""

    __slots__ = ("count", "lengths", "messages", "sizes", "width")

    def __init__(self, sizes: Sequence[int], overhead: int, segmented: bool) -> None:
        lengths = [size + overhead for size in sizes]
        self.count = len(sizes)
        self.width = slot_width(max(lengths, default=0))
        self.sizes = array("i", sizes)
        """Bytes of each packet before encryption, as C's int."""
        self.lengths = array("Q", lengths)
        """Bytes of each packet after encryption, as C's size_t."""
        self.messages = _joined(lengths) if segmented else [GsoRun(at, 1, length) for at, length in enumerate(lengths)]
        """The messages that the packets become."""


_layout_of = lru_cache(maxsize=64)(ArenaLayout)  # a new one costs 20 us, and most bursts have sizes seen before


class Burst:
    """Unencrypted packets that go to several transports alike."""

    def __init__(self, packets: Sequence[bytes]) -> None:
        """Takes at most `MAX_BURST_PACKETS` packets; leaves out and counts those that are too large for a datagram."""
        self.packets = packets
        self.sizes = tuple(map(len, packets))
        self.longest = max(self.sizes, default=0)
        """Bytes of the largest packet that is not left out."""
        self.refused = 0
        """Packets left out."""
        if self.longest > MAX_DATAGRAM_BYTES - TRAILER_BYTES:
            self.packets = [packet for packet in packets if len(packet) <= MAX_DATAGRAM_BYTES - TRAILER_BYTES]
            self.sizes = tuple(map(len, self.packets))
            self.longest = max(self.sizes, default=0)
            self.refused = len(packets) - len(self.packets)

    def layout(self, overhead: int, *, segmented: bool) -> ArenaLayout:
        """Returns the layout for SRTP that adds `overhead` bytes to each packet, with neighbours joined or not."""
        return _layout_of(self.sizes, overhead, segmented)


def slot_width(longest: int) -> int:
    """Returns the bytes of the narrowest slot for packets of up to `longest` bytes.

    Raises ValueError if none is wide enough.
    """
    for width in SLOT_WIDTHS_BYTES:
        if width >= longest:
            return width
    raise ValueError(f"no slot holds {longest} bytes")


def _joined(lengths: Sequence[int]) -> list[GsoRun]:
    """Joins neighbours of one size into messages; the kernel lets only the last packet of a message be shorter."""
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
