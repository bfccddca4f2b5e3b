"""Feedback for a producer: reception statistics, and the bitrate that it may send.

Owns the statistics of RFC 3550 appendix A and the bitrate ceiling derived from them. Never sends anything itself and
never reads a clock: `now` comes in, in seconds.
"""

from __future__ import annotations

from typing import NamedTuple

from sfu.media.formats.rtcp import NTP_MASK, ReportBlock
from sfu.media.formats.rtp import time_delta
from sfu.media.ingest.reported_clock import ReportedClock

_MAX_DROPOUT_PACKETS = 3000
_MAX_MISORDER_PACKETS = 100
_MAX_TRANSIT_STEP_S = 5.0
"""A media time that moves further than this against the clock starts a new timeline; it is not jitter."""

_HEAVY_LOSS_SHARE = 0.10
_LIGHT_LOSS_SHARE = 0.02
_GROWTH_FACTOR = 1.08
_MAX_GROWTH_S = 10.0


class BitrateBounds(NamedTuple):
    """The bounds, in bit/s, of the bitrate that a camera is asked to send in all its video tracks together."""

    least: int
    """Applies however many packets are lost."""
    most: int
    limit: int = 1 << 40
    """What a client may send that cannot be asked, because it has not negotiated REMB."""


class Reception:
    """Reception statistics of one stream (RFC 3550 A.1, A.3, A.8).

    Without A.1's probation of new sources, because SRTP has authenticated each packet.
    """

    def __init__(self, clock_rate: int) -> None:
        self.clock = ReportedClock()
        """The wall clock in its sender reports."""
        self._clock_rate = clock_rate
        self._max_transit_step = int(_MAX_TRANSIT_STEP_S * clock_rate)
        self._jitter = 0.0
        self._lsr = 0
        self._sender_report_at = 0.0
        self._received = 0
        self._next_after_jump: int | None = None
        self._moment: tuple[float, int, int] | None = None  # from a sender report: its arrival, NTP time, media time

    def received(self, sequence: int, media_time: int, now: float, count: int = 1) -> None:
        """Counts `count` consecutive packets of one media time, from `sequence` on.

        A jump of the sequence number counts as a restart when a second packet follows it.
        """
        ahead = (sequence - self._highest) & 0xFFFF if self._received else 0
        if count > 1 and ahead != 1:
            self.received(sequence, media_time, now)
            self.received(sequence + 1 & 0xFFFF, media_time, now, count - 1)
            return
        if not self._received:
            self._restart(sequence, media_time, now)
            return
        if 0 < ahead < _MAX_DROPOUT_PACKETS:
            self._highest += ahead + count - 1
            if media_time != self._media_time:
                self._update_jitter(media_time, now)
        elif 0 < ahead <= 0x10000 - _MAX_MISORDER_PACKETS:
            if sequence != self._next_after_jump:
                self._next_after_jump = (sequence + 1) & 0xFFFF
                return
            self._restart(sequence, media_time, now)
            return
        self._received += count

    @property
    def packets(self) -> int:
        """Returns the number of packets received since the latest restart."""
        return self._received

    @property
    def lost(self) -> int:
        """Returns the number of missing packets; negative if duplicates outnumber them (RFC 3550 section 6.4.1)."""
        return self._highest - self._base + 1 - self._received if self._received else 0

    @property
    def jitter(self) -> float:
        """Returns the interarrival jitter in seconds (RFC 3550 A.8)."""
        return self._jitter / self._clock_rate

    def _restart(self, sequence: int, media_time: int, now: float) -> None:
        self._base = self._highest = sequence
        self._received = 1
        self._expected_before = 0
        self._received_before = 0
        self._next_after_jump = None
        self._media_time = media_time
        self._transit = int(now * self._clock_rate) - media_time

    def _update_jitter(self, media_time: int, now: float) -> None:
        """Updates once per media time. Later packets of a frame are delayed by the sender's pacer, not by the path."""
        transit = int(now * self._clock_rate) - media_time
        step = abs(time_delta(transit, self._transit))
        self._media_time = media_time
        self._transit = transit
        if step < self._max_transit_step:
            self._jitter += (step - self._jitter) / 16

    def sender_report(self, ntp: int, now: float) -> None:
        """Notes a sender report, from which the producer will measure the round trip."""
        self._lsr = ntp >> 16 & 0xFFFF_FFFF
        self._sender_report_at = now

    def note_clock(self, ntp: int, media_time: int, now: float) -> None:
        """Notes that the media time was `media_time` at `ntp` (64-bit NTP, on our wall clock)."""
        self._moment = (now, ntp, media_time)

    def moment(self, now: float) -> tuple[int, int] | None:
        """Returns the present as (64-bit NTP, media time); None before the first `note_clock`."""
        if self._moment is None:
            return None
        at, ntp, media_time = self._moment
        elapsed = now - at
        return ntp + int(elapsed * (1 << 32)) & NTP_MASK, (media_time + int(elapsed * self._clock_rate)) & 0xFFFF_FFFF

    def report(self, ssrc: int, now: float) -> ReportBlock:
        """Returns the block on `ssrc` for the next receiver report; `fraction_lost` counts from the previous call."""
        delay = int((now - self._sender_report_at) * 65536) if self._lsr else 0
        delay = max(0, min(delay, 0xFFFF_FFFF))
        if not self._received:
            return ReportBlock(ssrc, 0, 0, 0, 0, self._lsr, delay)
        expected = self._highest - self._base + 1
        lost = expected - self._received
        highest = self._highest & 0xFFFF_FFFF
        return ReportBlock(ssrc, self._fraction_lost(expected), lost, highest, int(self._jitter), self._lsr, delay)

    def _fraction_lost(self, expected: int) -> int:
        expected_since = expected - self._expected_before
        lost_since = expected_since - (self._received - self._received_before)
        self._expected_before = expected
        self._received_before = self._received
        return min(lost_since * 256 // expected_since, 255) if expected_since > 0 and lost_since > 0 else 0


class BitrateCeiling:
    """The highest bitrate, in bit/s, that a producer may send: high until its packets are lost.

    The loss-based controller of draft-ietf-rmcat-gcc-02 section 6: falls by half the loss if more than 10 % are lost,
    grows by 8 % a second if less than 2 % are, else stays.
    """

    def __init__(self, bounds: BitrateBounds) -> None:
        self.bitrate = bounds.most
        self._bounds = bounds
        self._updated_at: float | None = None

    def update(self, loss: float, now: float) -> int:
        """Returns the new ceiling, in bit/s. `loss` is the share of packets (0 to 1) lost since the last call.

        To be called about once a second.
        """
        elapsed = 0.0 if self._updated_at is None else min(max(0.0, now - self._updated_at), _MAX_GROWTH_S)
        self._updated_at = now
        bitrate = float(self.bitrate)
        if loss > _HEAVY_LOSS_SHARE:
            bitrate *= 1 - loss / 2
        elif loss < _LIGHT_LOSS_SHARE:
            bitrate *= _GROWTH_FACTOR**elapsed
        self.bitrate = min(max(int(bitrate), self._bounds.least), self._bounds.most)
        return self.bitrate
