"""What one viewer may have sent again.

Owns the budget and the memory of what was sent again lately. Never finds or sends a packet and never reads a clock:
`now` comes in, in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

_SHARE: Final = 0.5
"""Of the stream's own bitrate: beyond that, more packets make it worse."""
_LEAST_RATE: Final = 10_000.0
_LEAST_BURST: Final = 100_000.0
_MOST_BURST: Final = 1_000_000.0
_PACKETS_PER_S: Final = 1000.0
_PACKETS_AT_ONCE: Final = 500.0
_REQUESTS_PER_S: Final = 5000.0
_REQUESTS_AT_ONCE: Final = 2000.0
_LEAST_ROUND_TRIP: Final = 0.01
_REMEMBERED: Final = 1024


class _Bucket:
    """Tokens that come back with time, up to a burst."""

    __slots__ = ("_at", "burst", "rate", "tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self.tokens = burst
        self._at: float | None = None

    def fill(self, now: float) -> None:
        if self._at is not None and now > self._at:
            self.tokens = min(self.burst, self.tokens + (now - self._at) * self.rate)
        self._at = now


class Retransmitter:
    """The retransmissions of one stream to one viewer: none twice within a round trip, and not without limit.

    Bytes: half the stream's bitrate, a second of it at once. Packets: 1,000 a second. Requests looked at: 5,000 a
    second, so that even a flood of them is not worth sending.
    """

    def __init__(self, bitrate: float = 0.0) -> None:
        """`bitrate` of the stream, in bit/s."""
        self.requests = 0
        """Packets asked for; each of them ends in one of the counts below."""
        self.resent = 0
        self.repeated = 0
        """Asked for again within the round trip in which they were sent again."""
        self.over_budget = 0
        self.unknown = 0
        """Not kept any more, or never sent: the caller counts these."""
        self._bytes = _Bucket(_LEAST_RATE, _LEAST_BURST)
        self._packets = _Bucket(_PACKETS_PER_S, _PACKETS_AT_ONCE)
        self._requests = _Bucket(_REQUESTS_PER_S, _REQUESTS_AT_ONCE)
        self._sent: dict[int, float] = {}  # by sequence number, in order of time
        self.adapt(bitrate)

    def adapt(self, bitrate: float) -> None:
        """The stream has this bitrate now, in bit/s."""
        rate = max(_LEAST_RATE, bitrate / 8 * _SHARE)
        self._bytes.rate = rate
        self._bytes.burst = min(max(rate, _LEAST_BURST), _MOST_BURST)

    def renew(self) -> None:
        """Another stretch begins, most of all on a link that lost much of the one before: with a full budget."""
        self._bytes.tokens = self._bytes.burst

    def admit(self, sequences: Sequence[int], now: float) -> Sequence[int]:
        """Those of a NACK's sequence numbers that are worth a look; beyond the budget the last ones are not."""
        bucket = self._requests
        bucket.fill(now)
        count = min(len(sequences), int(bucket.tokens))
        bucket.tokens -= count
        self.requests += len(sequences)
        self.over_budget += len(sequences) - count
        return sequences[:count]

    def allow(self, sequence: int, size: int, now: float, rtt: float) -> bool:
        """Whether an admitted packet of `size` bytes is to be sent again now; it then counts as sent.

        `sequence` is 16 bits of the viewer's own numbering, `rtt` seconds to the viewer and back.
        """
        sent_at = self._sent.get(sequence)
        if sent_at is not None and now < sent_at + max(rtt, _LEAST_ROUND_TRIP):
            self.repeated += 1
            return False
        self._bytes.fill(now)
        self._packets.fill(now)
        if self._bytes.tokens < size or self._packets.tokens < 1:
            self.over_budget += 1
            return False
        self._bytes.tokens -= size
        self._packets.tokens -= 1
        self._remember(sequence, now)
        self.resent += 1
        return True

    def _remember(self, sequence: int, now: float) -> None:
        self._sent.pop(sequence, None)
        self._sent[sequence] = now
        if len(self._sent) > _REMEMBERED:
            for old in list(islice(self._sent, _REMEMBERED // 2)):
                del self._sent[old]
