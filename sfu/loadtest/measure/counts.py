"""What one viewer received, counted by clear RTP headers, a burst at a time. Pure: columns and nanoseconds come in.

Owns one stream's count: received, lost, reordered, duplicated, and how many had come at agreed moments.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from sfu.clients.outgoing import abs_send_time
from sfu.clients.slot_stats import SequenceCounter
from sfu.media.formats.rtcp import ReportBlock

SAMPLE = 32
"""One packet in so many is decrypted, checked and timed."""


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """A stream so far."""

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
    """One SSRC at one viewer."""

    __slots__ = ("_octets", "_sequences")

    def __init__(self) -> None:
        self._octets = 0
        self._sequences = SequenceCounter()

    def add(self, sequences: array[int], octets: int) -> None:
        """The sequence numbers of a burst in the order they came, and the bytes of all its datagrams."""
        self._octets += octets
        self._sequences.add_burst(sequences)

    def report(self, ssrc: int, before: StreamCounts) -> ReportBlock:
        """What a receiver report says of stream `ssrc`; `before` is the count at the last one. No jitter is kept."""
        since = self.counts() - before
        fraction = 256 * since.lost // max(since.lost + since.received, 1)
        highest = max(self._sequences.highest, 0) & 0xFFFF_FFFF
        return ReportBlock(ssrc, min(max(fraction, 0), 255), self._sequences.lost, highest, 0, 0, 0)

    def counts(self) -> StreamCounts:
        """The count so far."""
        seen = self._sequences
        return StreamCounts(seen.received, self._octets, seen.lost, seen.reordered, seen.duplicated)


class Marks:
    """How much had been received of what was sent before agreed moments, each in a pause of the camera.

    By the time a packet was sent, not by the time it came: what is late at a mark is still counted on its right side.
    """

    __slots__ = ("_done", "_due")

    def __init__(self) -> None:
        self._due: list[int] = []
        self._done: list[StreamCounts] = []

    @property
    def pending(self) -> bool:
        """Whether the next bursts have to be looked at."""
        return bool(self._due)

    def set(self, at: int) -> None:
        """Wants the count of what is sent before an abs-send-time to come, later than those before it."""
        self._due.append(at)

    def cut(self, start: int, end: int, sent_at: Callable[[int], int]) -> int:
        """The first of the datagrams `start` to `end` that was sent at or after the next mark; `end` if none was."""
        due = self._due[0]
        return bisect_left(range(end), 0, start, end, key=lambda number: ticks_between(due, sent_at(number)))

    def pass_one(self, counts: StreamCounts) -> None:
        """Notes the count at the next mark."""
        self._due.pop(0)
        self._done.append(counts)

    def take(self, counts: StreamCounts) -> list[StreamCounts]:
        """The counts at each mark, `counts` at those behind which nothing has come; all marks are forgotten."""
        done = self._done + [counts] * len(self._due)
        self._done, self._due = [], []
        return done


def sampled(first: int, count: int, own: int) -> range:
    """Which of `count` datagrams, whose first has sequence number `first`, belong to a viewer's sample."""
    return range((own - first) % SAMPLE, count, SAMPLE)


_TICKS = 1 << 24
_TICK_US = 1_000_000 / (1 << 18)


def ticks_between(earlier: int, later: int) -> int:
    """From one abs-send-time to another in 1/2^18 s, at most 32 s either way; negative if `later` is before."""
    ticks = (later - earlier) % _TICKS
    return ticks - _TICKS if ticks >= _TICKS // 2 else ticks


def latency_us(sent: int, received_ns: int) -> int:
    """Microseconds from an abs-send-time to a wall time in ns since 1970, at most 32 s either way."""
    return round(ticks_between(sent, abs_send_time(received_ns / 1e9)) * _TICK_US)
