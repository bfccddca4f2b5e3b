"""Arrival times of the packets on one camera's transport, for its congestion control.

Owns the feedback for a camera that numbers its packets across all its streams (transport-wide congestion control,
draft-holmer-rmcat-transport-wide-cc-extensions-01). Never estimates a bitrate: the camera does. Never sends anything
itself and never reads a clock: `now` comes in, in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sfu.media.formats.transport_cc import MAX_PACKETS, REFERENCE_TICKS, TICKS_PER_S, TransportFeedback

_REMEMBERED_S: Final = 0.5
"""A packet that is later than this is no longer reported."""
_MAX_ARRIVALS: Final = 190
"""In one message. This many still fit a datagram in the worst case, each one late and surrounded by gaps."""

_MAX_DELTA_TICKS: Final = 0x7FFF
_MAX_SPAN: Final = 3 * MAX_PACKETS
"""Numbers reported at once. Bounds the work for a sender that skips numbers before each packet."""


class Arrivals:
    """Arrival times by transport-wide sequence number, reported in one feedback after another.

    A packet that arrives after it was reported lost is reported again with all later ones. So a camera learns of each
    arrival at least once, and an arrival is never reported lost afterwards. A jump of the numbers, or an old number, is
    ignored until a second packet follows it; then the numbers start anew.
    """

    def __init__(self) -> None:
        self._arrived: dict[int, float] = {}  # by number, unwrapped
        self._expected = 0
        self._floor = 0  # arrivals from here on are still kept
        self._first = 0  # the next feedback begins here
        self._pending = False
        self._after_jump = -1
        self._count = 0

    @property
    def remembered(self) -> int:
        """Returns the number of packets whose arrival can still be reported."""
        return len(self._arrived)

    def received(self, sequence: int, now: float) -> None:
        """Notes the arrival of a packet. `sequence` is the 16-bit number in its header extension."""
        expected = self._expected
        if sequence == expected & 0xFFFF and expected:
            self._arrived[expected] = now
            self._expected = expected + 1
            self._pending = True
        else:
            self._out_of_order(sequence, now)

    def feedback(self, media_ssrc: int, now: float) -> list[TransportFeedback]:
        """Returns the messages to send now, with the arrivals since the last call; empty if there were none.

        `media_ssrc` may be any of the streams on the transport.
        """
        messages = []
        if self._pending:
            for base, end, ticks in self._spans():
                messages.append(self._message(media_ssrc, base, end, ticks))
        self._first = self._expected
        self._pending = False
        self._forget(now - _REMEMBERED_S)
        return messages

    def _out_of_order(self, sequence: int, now: float) -> None:
        ahead = (sequence - self._expected + 0x8000 & 0xFFFF) - 0x8000
        number = self._expected + ahead
        end = min(self._expected + MAX_PACKETS, self._first + _MAX_SPAN)
        if not self._expected or not self._floor <= number < end:
            self._jump(sequence, now)
            return
        if number in self._arrived:
            return
        self._arrived[number] = now
        self._pending = True
        if ahead >= 0:
            self._expected = number + 1
        else:
            self._first = min(self._first, number)

    def _jump(self, sequence: int, now: float) -> None:
        if self._expected and sequence != self._after_jump:
            self._after_jump = sequence + 1 & 0xFFFF
            return
        self._after_jump = -1
        self._arrived.clear()
        # continues one round of 16 bits later, so that no number is ever 0 or negative
        number = (self._expected >> 16) + 1 << 16 | sequence
        self._arrived[number] = now
        self._floor = self._first = number
        self._expected = number + 1
        self._pending = True

    def _spans(self) -> Iterator[tuple[int, int, dict[int, int]]]:
        """Yields the content of each message: first number, the one after the last, arrivals in ticks."""
        base = end = self._first
        last = 0
        ticks: dict[int, int] = {}
        for number in sorted(number for number in self._arrived if number >= self._first):
            at = int(self._arrived[number] * TICKS_PER_S)
            full = number >= base + MAX_PACKETS or len(ticks) == _MAX_ARRIVALS or abs(at - last) > _MAX_DELTA_TICKS
            if ticks and full:
                yield base, end, ticks
                base, ticks = max(end, number - MAX_PACKETS + 1), {}
            ticks[number] = last = at
            end = number + 1
        if ticks:
            yield base, end, ticks

    def _message(self, media_ssrc: int, base: int, end: int, ticks: dict[int, int]) -> TransportFeedback:
        last = next(iter(ticks.values())) // REFERENCE_TICKS * REFERENCE_TICKS
        reference_time_ms = last // REFERENCE_TICKS % (1 << 24) * 64
        deltas: list[int | None] = []
        for number in range(base, end):
            at = ticks.get(number)
            deltas.append(None if at is None else at - last)
            last = last if at is None else at
        count, self._count = self._count, self._count + 1 & 0xFF
        return TransportFeedback(media_ssrc, base & 0xFFFF, count, reference_time_ms, tuple(deltas))

    def _forget(self, before: float) -> None:
        """Removes arrivals before this time, and more if too many are kept. A late packet cannot repeat them then."""
        excess = len(self._arrived) - MAX_PACKETS
        for number in sorted(self._arrived):
            if self._arrived[number] > before and excess <= 0:
                return
            del self._arrived[number]
            self._floor = number + 1
            excess -= 1
