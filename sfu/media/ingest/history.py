"""A history: the latest packets of one producer, to send again and to start a new viewer with.

Owns what is kept and for how long. Never decides who gets a packet, never rewrites one, and never reads a clock: `now`
comes in, in seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import Final

from sfu.media.formats.rtp import Packet

_STRIDE: Final = 128
"""Packets between two looks at what has become too old: no fewer than are ever held back to leave in one burst."""
_OVERHEAD: Final = 640
"""Bytes that a packet takes beside its payload, measured with the four header extensions that Chromium sends."""
_SLACK: Final = 16
"""The share of the bound, 1/16, freed beyond what must be, lest every further packet has to move all others."""


class History:
    """The packets of one producer by index: a second and 512 of them at least, and all since the latest key frame.

    All of that as far as `max_bytes` goes; beyond, the oldest leave first, whereupon `since_key` has nothing to give
    until the next key frame. `Packet.blocks` may be filled by whoever rewrites a packet, now or when it is taken out
    again, and belongs to nobody: it is emptied a while later, so that the history holds one copy of each payload.
    """

    def __init__(self, *, seconds: float = 1.0, packets: int = 512, max_bytes: int = 8 << 20) -> None:
        self._seconds = seconds
        self._least = packets
        self._max_bytes = max_bytes
        self.clear()

    def clear(self) -> None:
        """Forgets everything: the stream that it knew has ended, or nobody may watch."""
        self._indexes: list[int] = []
        self._packets: list[Packet] = []
        self._highest = -1
        self._bytes = 0
        self._key: Packet | None = None
        self._several = False  # whether key frames of this stream begin with parameter sets in packets of their own
        self._floor = 0  # all below this index have left
        self._written = 0  # no packet below this index has blocks
        self._look_at = 0
        self._reached: deque[tuple[float, int]] = deque()  # highest indexes at some moments

    @property
    def bytes(self) -> int:
        """What is kept takes this much memory: payloads, and an estimate for all else of each packet."""
        return self._bytes

    def add(self, packet: Packet, now: float) -> bool:
        """Keeps `packet`, in its place if it is late; False if it is a duplicate, or older than what is kept."""
        index = packet.index
        if index > self._highest:
            self._highest = index
            self._indexes.append(index)
            self._packets.append(packet)
        elif not self._insert(packet):
            return False
        self._bytes += len(packet.payload) + _OVERHEAD
        if packet.key:
            self._note_key(packet)
        if index >= self._look_at or self._bytes > self._max_bytes:
            self._tidy(now)
        return True

    def extend(self, packets: Sequence[Packet], octets: int, now: float) -> None:
        """Keeps `packets`, which follow each other and come after all that it has seen; `octets` is their payload."""
        last = packets[-1].index
        self._highest = last
        self._indexes += range(packets[0].index, last + 1)
        self._packets += packets
        self._bytes += octets + len(packets) * _OVERHEAD
        for packet in packets:
            if packet.key:
                self._note_key(packet)
        if last >= self._look_at or self._bytes > self._max_bytes:
            self._tidy(now)

    def get(self, index: int) -> Packet | None:
        """The packet of this index, to be sent again; None if it was never received, or has left."""
        position = bisect_left(self._indexes, index)
        if position == len(self._indexes) or self._indexes[position] != index:
            return None
        self._written = min(self._written, index)
        return self._packets[position]

    def start(self) -> Packet | None:
        """The packet that a new viewer can start with: the first of the latest key frame, parameter sets included.

        None if none is known, it has left, or a packet of that frame is missing (so far). The frame may still be
        arriving.
        """
        position = self._start()
        return None if position is None else self._packets[position]

    def since_key(self) -> list[Packet]:
        """All packets from `start` on, by rising index; empty where that is None. Holes after the key frame remain."""
        position = self._start()
        if position is None:
            return []
        self._written = min(self._written, self._indexes[position])
        return self._packets[position:]

    def key_frame(self) -> list[Packet]:
        """The packets of the latest key frame, once all of them have come; empty until then."""
        position = self._start()
        if position is None:
            return []
        media_time = self._packets[position].media_time
        for end in range(position, len(self._packets)):
            if self._packets[end].media_time != media_time:
                break
            if self._packets[end].marker:
                self._written = min(self._written, self._indexes[position])
                return self._packets[position : end + 1]
        return []

    def since(self, index: int) -> list[Packet]:
        """All packets from this index on, by rising index."""
        self._written = min(self._written, index)
        return self._packets[bisect_left(self._indexes, index) :]

    def _insert(self, packet: Packet) -> bool:
        index = packet.index
        position = bisect_left(self._indexes, index)
        if index < self._floor or self._indexes[position] == index:
            return False
        self._indexes.insert(position, index)
        self._packets.insert(position, packet)
        self._written = min(self._written, index)
        return True

    def _note_key(self, packet: Packet) -> None:
        """Of the packets of one media time that a decoder can start with, the first is the key frame's start."""
        key = self._key
        if key is None:
            self._key = packet
        elif packet.media_time == key.media_time:
            self._several = True
            if packet.index < key.index:
                self._key = packet
        elif packet.index > key.index:
            self._key = packet

    def _start(self) -> int | None:
        """The position of the latest key frame's first packet, if nothing of the frame is missing up to now."""
        if self._key is None or self._key.index < self._floor:
            return None
        position = bisect_left(self._indexes, self._key.index)
        whole = not (self._several and self._gap_before(position)) and self._unbroken(position)
        return position if whole else None

    def _gap_before(self, position: int) -> bool:
        """Whether a packet is missing right before this one: it may have been a parameter set."""
        before = self._indexes[position - 1] + 1 if position else self._floor
        return before not in (0, self._indexes[position])

    def _unbroken(self, position: int) -> bool:
        """Whether no packet is missing between this one and the end of its frame, as far as that has arrived."""
        last = self._packets[position]
        for at in range(position + 1, len(self._packets)):
            packet = self._packets[at]
            same = packet.media_time == last.media_time
            if packet.index != last.index + 1 and (same or not last.marker):
                return False
            if not same:
                break
            last = packet
        return True

    def _tidy(self, now: float) -> None:
        self._look_at = self._highest + _STRIDE
        self._reached.append((now, self._highest))
        self._remove(self._outdated(now))
        if self._bytes > self._max_bytes:
            self._remove(self._excess())
        self._empty_blocks()

    def _outdated(self, now: float) -> int:
        """How many of the packets nobody needs any more."""
        reached = self._reached
        while len(reached) > 1 and reached[1][0] <= now - self._seconds:
            reached.popleft()
        at, highest = reached[0]
        if at > now - self._seconds:
            return 0
        key = self._key
        floor = highest + 1 if key is None or key.index < self._floor else min(highest + 1, key.index)
        return max(0, min(bisect_left(self._indexes, floor), len(self._indexes) - self._least))

    def _excess(self) -> int:
        """How many of the packets must leave for the rest to fit."""
        freed, needed = 0, self._bytes - self._max_bytes + self._max_bytes // _SLACK
        for count, packet in enumerate(self._packets):
            if freed >= needed:
                return count
            freed += len(packet.payload) + _OVERHEAD
        return len(self._packets)

    def _remove(self, count: int) -> None:
        if not count:
            return
        self._floor = self._indexes[count - 1] + 1
        self._bytes -= sum([len(packet.payload) for packet in self._packets[:count]]) + count * _OVERHEAD
        del self._indexes[:count], self._packets[:count]

    def _empty_blocks(self) -> None:
        """Except for the latest packets: those may be on their way to their first consumers."""
        end = max(0, len(self._packets) - _STRIDE)
        for packet in self._packets[bisect_left(self._indexes, self._written) : end]:
            packet.blocks = None
        if end:
            self._written = self._indexes[end]
