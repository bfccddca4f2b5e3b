"""A history: the latest packets of one producer, for retransmission and for starting new viewers.

Owns the choice of packets to keep, and for how long. Never decides who gets a packet, never rewrites one, and never
reads a clock: `now` comes in, in seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from sfu.media.formats.rtp import Packet

_TIDY_PACKETS: Final = 128
"""Packets between two removals of old ones. At least as many as the fan-out ever holds back for one burst."""
_OVERHEAD_BYTES: Final = 640
"""Memory of a packet besides its payload, measured with the four header extensions that Chromium sends."""
_RECENT_PACKETS: Final = 128
"""Packets that tell where a camera sets the marker."""
_SLACK_PARTS: Final = 16
"""Over the bound, an extra 1/16 of it is freed. Otherwise each further packet would have to move all others."""


class History:
    """The packets of one producer by index: at least one second and 512 packets, and all since the latest key frame.

    If they exceed `max_bytes`, the oldest are removed first, and `since_key` returns nothing until the next key frame.
    Anybody who rewrites a packet may fill `Packet.blocks`. The history clears that a while later, so that it holds one
    copy of each payload.
    """

    def __init__(self, *, seconds: float = 1.0, packets: int = 512, max_bytes: int = 8 << 20) -> None:
        self._seconds = seconds
        self._least = packets
        self._max_bytes = max_bytes
        self.clear()

    def clear(self) -> None:
        """Removes all packets: the stream has ended, or nobody may watch it."""
        self._indexes: list[int] = []
        self._packets: list[Packet] = []
        self._highest = -1
        self._bytes = 0
        self._key: Packet | None = None
        self._several = False  # True if key frames begin with separate packets of parameter sets
        self.floor = 0
        """Packets below this index have been removed."""
        self._written = 0  # packets below this index have no blocks
        self._tidy_at = 0
        self._reached: deque[tuple[float, int]] = deque()  # (time, highest index), by rising time

    @property
    def bytes(self) -> int:
        """Returns the memory in use, in bytes: payloads, and an estimate of the rest of each packet."""
        return self._bytes

    def add(self, packet: Packet, now: float) -> bool:
        """Adds `packet` in the order of its index. Returns False if it is a duplicate or older than all kept ones."""
        index = packet.index
        if index > self._highest:
            self._highest = index
            self._indexes.append(index)
            self._packets.append(packet)
        elif not self._insert(packet):
            return False
        self._bytes += len(packet.payload) + _OVERHEAD_BYTES
        if packet.key:
            self._note_key(packet)
        if index >= self._tidy_at or self._bytes > self._max_bytes:
            self._tidy(now)
        return True

    def extend(self, packets: Sequence[Packet], octets: int, now: float) -> None:
        """Adds consecutive packets that come after all others. `octets` is the size of their payloads, in bytes."""
        last = packets[-1].index
        self._highest = last
        self._indexes += range(packets[0].index, last + 1)
        self._packets += packets
        self._bytes += octets + len(packets) * _OVERHEAD_BYTES
        for packet in packets:
            if packet.key:
                self._note_key(packet)
        if last >= self._tidy_at or self._bytes > self._max_bytes:
            self._tidy(now)

    def get(self, index: int) -> Packet | None:
        """Returns the packet of this index; None if it was never received or has been removed."""
        position = bisect_left(self._indexes, index)
        if position == len(self._indexes) or self._indexes[position] != index:
            return None
        self._written = min(self._written, index)
        return self._packets[position]

    def start(self) -> Packet | None:
        """Returns the packet that a new viewer can start with: the first of the latest key frame or parameter sets.

        None if there is none, it has been removed, or a packet of that frame is missing so far. The frame may still be
        arriving.
        """
        position = self._start()
        return None if position is None else self._packets[position]

    def since_key(self) -> list[Packet]:
        """Returns all packets from `start` on, by rising index; empty if that is None. There may be gaps later on."""
        position = self._start()
        if position is None:
            return []
        self._written = min(self._written, self._indexes[position])
        return self._packets[position:]

    def key_frame(self) -> list[Packet]:
        """Returns the packets of the latest key frame; empty until all of them have arrived.

        It ends at the next media time; until that comes, with the marker of a camera that sets it on last packets only.
        """
        position = self._start()
        if position is None:
            return []
        end, media_time = position, self._packets[position].media_time
        while end < len(self._packets) and self._packets[end].media_time == media_time:
            end += 1
        if end == len(self._packets) and not (self._packets[-1].marker and self._markers_end_frames()):
            return []
        self._written = min(self._written, self._indexes[position])
        return self._packets[position:end]

    def _markers_end_frames(self) -> bool:
        """Returns True unless one of the latest packets had the marker within its frame."""
        return not any(
            packet.marker and packet.media_time == following.media_time and packet.index + 1 == following.index
            for packet, following in pairwise(self._packets[-_RECENT_PACKETS:])
        )

    def since(self, index: int) -> list[Packet]:
        """Returns all packets from this index on, by rising index."""
        self._written = min(self._written, index)
        return self._packets[bisect_left(self._indexes, index) :]

    def _insert(self, packet: Packet) -> bool:
        index = packet.index
        position = bisect_left(self._indexes, index)
        if index < self.floor or self._indexes[position] == index:
            return False
        self._indexes.insert(position, index)
        self._packets.insert(position, packet)
        self._written = min(self._written, index)
        return True

    def _note_key(self, packet: Packet) -> None:
        """Notes a packet that a decoder can start with. The first one of a media time is the key frame's start."""
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
        """Returns the position of the latest key frame's first packet; None if one of its packets is missing so far."""
        if self._key is None or self._key.index < self.floor:
            return None
        position = bisect_left(self._indexes, self._key.index)
        whole = not (self._several and self._gap_before(position)) and self._unbroken(position)
        return position if whole else None

    def _gap_before(self, position: int) -> bool:
        """Returns True if the packet before this one is missing: it may have been a parameter set."""
        before = self._indexes[position - 1] + 1 if position else self.floor
        return before not in (0, self._indexes[position])

    def _unbroken(self, position: int) -> bool:
        """Returns True if no packet is missing from this one to the end of its frame, or to the latest packet."""
        last = self._packets[position]
        for at in range(position + 1, len(self._packets)):
            packet = self._packets[at]
            same = packet.media_time == last.media_time
            if packet.index != last.index + 1 and (same or not last.marker or not self._markers_end_frames()):
                return False
            if not same:
                break
            last = packet
        return True

    def _tidy(self, now: float) -> None:
        self._tidy_at = self._highest + _TIDY_PACKETS
        self._reached.append((now, self._highest))
        self._remove(self._outdated(now))
        if self._bytes > self._max_bytes:
            self._remove(self._excess())
        self._empty_blocks()

    def _outdated(self, now: float) -> int:
        """Returns the number of packets at the front that are no longer needed."""
        reached = self._reached
        while len(reached) > 1 and reached[1][0] <= now - self._seconds:
            reached.popleft()
        at, highest = reached[0]
        if at > now - self._seconds:
            return 0
        key = self._key
        floor = highest + 1 if key is None or key.index < self.floor else min(highest + 1, key.index)
        return max(0, min(bisect_left(self._indexes, floor), len(self._indexes) - self._least))

    def _excess(self) -> int:
        """Returns the number of packets to remove from the front so that the rest fits."""
        freed, needed = 0, self._bytes - self._max_bytes + self._max_bytes // _SLACK_PARTS
        for count, packet in enumerate(self._packets):
            if freed >= needed:
                return count
            freed += len(packet.payload) + _OVERHEAD_BYTES
        return len(self._packets)

    def _remove(self, count: int) -> None:
        if not count:
            return
        self.floor = self._indexes[count - 1] + 1
        self._bytes -= sum([len(packet.payload) for packet in self._packets[:count]]) + count * _OVERHEAD_BYTES
        del self._indexes[:count], self._packets[:count]

    def _empty_blocks(self) -> None:
        """Clears the blocks of all but the latest packets, which may still be on their way to consumers."""
        end = max(0, len(self._packets) - _TIDY_PACKETS)
        for packet in self._packets[bisect_left(self._indexes, self._written) : end]:
            packet.blocks = None
        if end:
            self._written = self._indexes[end]
