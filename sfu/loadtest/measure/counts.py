"""Packet counts of one viewer, from unencrypted RTP headers, one burst at a time.

Pure. Owns one stream's counts (received, lost, reordered, duplicated), and their values at marks: moments that cameras
and viewers agree on.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from sfu.clients.outgoing import send_time_delta
from sfu.clients.sequence_counter import SequenceCounter
from sfu.media.formats.rtcp import ReportBlock

SAMPLE = 32
"""One packet in this many is decrypted, checked and timed."""


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """Packet counts of one stream, or sums of several."""

    received: int = 0
    octets: int = 0
    lost: int = 0
    reordered: int = 0
    duplicated: int = 0

    def __add__(self, other: StreamCounts) -> StreamCounts:
        return StreamCounts(
            self.received + other.received,
            self.octets + other.octets,
            self.lost + other.lost,
            self.reordered + other.reordered,
            self.duplicated + other.duplicated,
        )

    def __sub__(self, other: StreamCounts) -> StreamCounts:
        return StreamCounts(
            self.received - other.received,
            self.octets - other.octets,
            self.lost - other.lost,
            self.reordered - other.reordered,
            self.duplicated - other.duplicated,
        )


class StreamCounter:
    """The running counts of one SSRC at one viewer."""

    __slots__ = ("_octets", "_sequences")

    def __init__(self) -> None:
        self._octets = 0
        self._sequences = SequenceCounter()

    def add(self, sequences: array[int], octets: int) -> None:
        """Counts a burst: its sequence numbers in order of arrival, and the bytes of all its datagrams."""
        self._octets += octets
        self._sequences.add_burst(sequences)

    def report(self, ssrc: int, before: StreamCounts) -> ReportBlock:
        """Returns the report block for stream `ssrc`, without jitter; `before`: the counts at the previous report."""
        since = self.counts() - before
        fraction = 256 * since.lost // max(since.lost + since.received, 1)
        highest = max(self._sequences.highest, 0) & 0xFFFF_FFFF
        return ReportBlock(ssrc, min(max(fraction, 0), 255), self._sequences.lost, highest, 0, 0, 0)

    def counts(self) -> StreamCounts:
        """Returns the counts so far."""
        seen = self._sequences
        return StreamCounts(seen.received, self._octets, seen.lost, seen.reordered, seen.duplicated)


class Marks:
    """Counts of the packets that a camera sent before each mark. A mark is a moment in a pause between two frames.

    Packets are assigned by their send time, not their arrival, so that late ones are on the right side of a mark.
    """

    __slots__ = ("_done", "_due")

    def __init__(self) -> None:
        self._due: list[int] = []
        self._done: list[StreamCounts] = []

    @property
    def pending(self) -> bool:
        """Returns True if a mark lies ahead, so that `cut` must look at the next burst."""
        return bool(self._due)

    def set(self, at: int) -> None:
        """Adds a mark at abs-send-time `at`, in the future and later than all earlier marks."""
        self._due.append(at)

    def cut(self, start: int, end: int, sent_at: Callable[[int], int]) -> int:
        """Returns the first datagram of `start` to `end` that was sent at or after the next mark, else `end`."""
        due = self._due[0]
        return bisect_left(range(end), 0, start, end, key=lambda number: send_time_delta(due, sent_at(number)))

    def pass_one(self, counts: StreamCounts) -> None:
        """Notes the counts at the next mark."""
        self._due.pop(0)
        self._done.append(counts)

    def take(self, counts: StreamCounts) -> list[StreamCounts]:
        """Returns the counts at each mark, `counts` for marks still ahead, and clears all marks."""
        done = self._done + [counts] * len(self._due)
        self._done, self._due = [], []
        return done


def sampled(first: int, count: int, own: int) -> range:
    """Returns the datagrams of a burst of `count` that belong to the sample of viewer number `own`.

    `first`: sequence number of the burst's first datagram.
    """
    return range((own - first) % SAMPLE, count, SAMPLE)
