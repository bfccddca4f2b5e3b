"""What one viewer received, counted by clear RTP headers, a burst at a time. Pure: columns and nanoseconds come in.

Owns one stream's count: received, lost, reordered, duplicated, and how many had come at agreed moments.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from sfu.media.rtcp import ReportBlock
from sfu.peers.figures import Sequences

SAMPLE = 32
"""One packet in so many is decrypted, checked and timed."""


@dataclass(frozen=True, slots=True)
class Counts:
    """A stream so far."""

    received: int = 0
    octets: int = 0
    lost: int = 0
    reordered: int = 0
    duplicated: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.received + other.received,
            self.octets + other.octets,
            self.lost + other.lost,
            self.reordered + other.reordered,
            self.duplicated + other.duplicated,
        )

    def __sub__(self, other: Counts) -> Counts:
        return Counts(
            self.received - other.received,
            self.octets - other.octets,
            self.lost - other.lost,
            self.reordered - other.reordered,
            self.duplicated - other.duplicated,
        )


class Tally:
    """One SSRC at one viewer."""

    __slots__ = ("_octets", "_sequences")

    def __init__(self) -> None:
        self._octets = 0
        self._sequences = Sequences()

    def add(self, sequences: array[int], octets: int) -> None:
        """The sequence numbers of a burst in the order they came, and the bytes of all its datagrams."""
        self._octets += octets
        self._sequences.add_burst(sequences)

    def report(self, ssrc: int, before: Counts) -> ReportBlock:
        """What a receiver report says of stream `ssrc`; `before` is the count at the last one. No jitter is kept."""
        since = self.counts() - before
        fraction = 256 * since.lost // max(since.lost + since.received, 1)
        highest = max(self._sequences.highest, 0) & 0xFFFF_FFFF
        return ReportBlock(ssrc, min(max(fraction, 0), 255), self._sequences.lost, highest, 0, 0, 0)

    def counts(self) -> Counts:
        """The count so far."""
        seen = self._sequences
        return Counts(seen.received, self._octets, seen.lost, seen.reordered, seen.duplicated)


class Marks:
    """How much had been received at agreed wall times: at a camera's pause, so that nothing is under way."""

    __slots__ = ("_done", "_due")

    def __init__(self) -> None:
        self._due: list[int] = []
        self._done: list[Counts] = []

    @property
    def pending(self) -> bool:
        """Whether the next bursts have to be looked at."""
        return bool(self._due)

    def set(self, at_ns: int) -> None:
        """Wants the count at a wall time to come, later than those before it."""
        self._due.append(at_ns)

    def cut(self, start: int, end: int, received_at: Callable[[int], int]) -> int:
        """The first of the datagrams `start` to `end` that came at or after the next mark; `end` when none did."""
        return bisect_left(range(end), self._due[0], start, end, key=received_at)

    def pass_one(self, counts: Counts) -> None:
        """Notes the count at the next mark."""
        self._due.pop(0)
        self._done.append(counts)

    def take(self) -> list[Counts]:
        """The counts at each mark that has passed, in order; all marks are forgotten."""
        done, self._done = self._done, []
        self._due.clear()
        return done

    def expire(self, now_ns: int, counts: Counts) -> None:
        """Passes the marks that lie before `now_ns`, when all that came before is known to be counted."""
        while self._due and self._due[0] <= now_ns:
            self.pass_one(counts)


def sampled(first: int, count: int, own: int) -> range:
    """Which of `count` datagrams, whose first has sequence number `first`, belong to a viewer's sample."""
    return range((own - first) % SAMPLE, count, SAMPLE)


_TICKS = 1 << 24
_TICK_US = 1_000_000 / (1 << 18)
_NTP_EPOCH = 2_208_988_800


def latency_us(sent: int, received_ns: int) -> int:
    """Microseconds from an abs-send-time (24 bits, wraps each 64 s) to a wall time in ns, at most 32 s either way."""
    seconds, rest = divmod(received_ns, 1_000_000_000)
    now = ((seconds + _NTP_EPOCH) << 18) + (rest << 18) // 1_000_000_000
    late = (now - sent) % _TICKS
    return round((late - _TICKS if late >= _TICKS // 2 else late) * _TICK_US)
