"""The retransmissions that one viewer may have.

Owns the budget and the memory of what was sent again in the last round trip. Never finds or sends a packet and never
reads a clock: `now` comes in, in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

from sfu.media.token_bucket import TokenBucket

_BITRATE_SHARE: Final = 0.5
"""Retransmissions get this share of the stream's own bitrate. More of them would make the congestion worse."""
_MIN_RATE_BYTES_PER_S: Final = 10_000.0
_MIN_BURST_BYTES: Final = 100_000.0
_MAX_BURST_BYTES: Final = 1_000_000.0
_PACKETS_PER_S: Final = 1000.0
_BURST_PACKETS: Final = 500
_REQUESTS_PER_S: Final = 5000.0
_BURST_REQUESTS: Final = 2000
_MIN_ROUND_TRIP_S: Final = 0.01
_REMEMBERED_PACKETS: Final = 1024


class Retransmitter:
    """The retransmissions of one stream to one viewer: no packet twice within a round trip, and within a budget.

    The budget is half the stream's bitrate (one second of it in a burst) and 1,000 packets a second. At most 5,000
    requests a second are looked at, so a flood of them costs little.
    """

    def __init__(self, bitrate: float = 0.0) -> None:
        """`bitrate` is the stream's, in bit/s."""
        self.requests = 0
        """Packets requested. Each of them is counted in one of the counts below, too."""
        self.resent = 0
        self.repeated = 0
        """Requests for a packet that was sent again less than a round trip ago."""
        self.over_budget = 0
        self.unknown = 0
        """Requests for packets that have left the history or were never sent. The caller counts these."""
        self._bytes = TokenBucket(_MIN_RATE_BYTES_PER_S, _MIN_BURST_BYTES)
        self._packets = TokenBucket(_PACKETS_PER_S, _BURST_PACKETS)
        self._requests = TokenBucket(_REQUESTS_PER_S, _BURST_REQUESTS)
        self._sent: dict[int, float] = {}  # by sequence number, in order of time
        self.adapt(bitrate)

    def adapt(self, bitrate: float) -> None:
        """Sets the budget for a stream of this bitrate, in bit/s."""
        rate = max(_MIN_RATE_BYTES_PER_S, bitrate / 8 * _BITRATE_SHARE)
        self._bytes.rate = rate
        self._bytes.burst = min(max(rate, _MIN_BURST_BYTES), _MAX_BURST_BYTES)

    def renew(self) -> None:
        """Gives the full budget of bytes again. To be called when another stretch begins.

        A link that lost much of the stretch before needs the retransmissions of the new one most.
        """
        self._bytes.tokens = self._bytes.burst

    @property
    def remembered(self) -> int:
        """Returns the number of packets whose last retransmission is remembered; at most 1024."""
        return len(self._sent)

    def admit(self, sequences: Sequence[int], now: float) -> Sequence[int]:
        """Returns the sequence numbers of a NACK that may be looked up; the last ones are left out if over budget."""
        bucket = self._requests
        bucket.fill(now)
        count = min(len(sequences), int(bucket.tokens))
        bucket.tokens -= count
        self.requests += len(sequences)
        self.over_budget += len(sequences) - count
        return sequences[:count]

    def allow(self, sequence: int, size: int, now: float, rtt: float) -> bool:
        """Returns True if an admitted packet of `size` bytes may be sent again now, and counts it as sent.

        `sequence` is 16 bits of the viewer's own numbering, `rtt` the round trip to the viewer in seconds.
        """
        sent_at = self._sent.get(sequence)
        if sent_at is not None and now < sent_at + max(rtt, _MIN_ROUND_TRIP_S):
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
        if len(self._sent) > _REMEMBERED_PACKETS:
            for old in list(islice(self._sent, _REMEMBERED_PACKETS // 2)):
                del self._sent[old]
