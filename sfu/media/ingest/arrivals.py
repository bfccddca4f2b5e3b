"""When the packets of one camera's transport arrived, for its congestion control.

Owns what is told to a camera that numbers its packets across all its streams (transport-wide congestion control,
draft-holmer-rmcat-transport-wide-cc-extensions-01). Never estimates a bitrate: the camera does. Never sends anything
itself and never reads a clock: `now` comes in, in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sfu.media.formats.transport_cc import MAX_PACKETS, REFERENCE_TICKS, TICKS_PER_S, TransportFeedback

_REMEMBERED_S: Final = 0.5
"""Seconds: a packet later than that is not told of any more."""
_MAX_ARRIVALS: Final = 190
"""In one message: so many, each alone in its gap and late, still fit a datagram."""

_MAX_DELTA: Final = 0x7FFF
_MOST_AT_ONCE: Final = 3 * MAX_PACKETS
"""Numbers told of at once: who leaves holes before each packet must not have us write of all of them."""


class Arrivals:
    """Arrival times by transport-wide sequence number, told in feedback after feedback.

    A packet that comes late, after it was reported lost, is told of with all that came after it: a camera learns of
    each arrival at least once, and never that a packet is lost which it was told has come. A jump of the numbers, or
    an old one, is ignored until a second packet follows it, and is then a new beginning.
    """

    def __init__(self) -> None:
        self._arrived: dict[int, float] = {}  # by number, unwrapped
        self._expected = 0
        self._floor = 0  # what came from here on is still known
        self._first = 0  # the feedback that is due begins here
        self._news = False
        self._after_jump = -1
        self._count = 0

    def received(self, sequence: int, now: float) -> None:
        """One packet came: `sequence` is what its header extension says, 16 bits."""
        expected = self._expected
        if sequence == expected & 0xFFFF and expected:
            self._arrived[expected] = now
            self._expected = expected + 1
            self._news = True
        else:
            self._out_of_order(sequence, now)

    def feedback(self, media_ssrc: int, now: float) -> list[TransportFeedback]:
        """What came since the last call, as the messages to be sent now: none if nothing did.

        `media_ssrc` may be any of the streams on the transport.
        """
        messages = []
        if self._news:
            for base, end, ticks in self._spans():
                messages.append(self._message(media_ssrc, base, end, ticks))
        self._first = self._expected
        self._news = False
        self._forget(now - _REMEMBERED_S)
        return messages

    def _out_of_order(self, sequence: int, now: float) -> None:
        ahead = (sequence - self._expected + 0x8000 & 0xFFFF) - 0x8000
        number = self._expected + ahead
        end = min(self._expected + MAX_PACKETS, self._first + _MOST_AT_ONCE)
        if not self._expected or not self._floor <= number < end:
            self._jump(sequence, now)
            return
        if number in self._arrived:
            return
        self._arrived[number] = now
        self._news = True
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
        # a round on: so that no number is ever 0 or negative
        number = (self._expected >> 16) + 1 << 16 | sequence
        self._arrived[number] = now
        self._floor = self._first = number
        self._expected = number + 1
        self._news = True

    def _spans(self) -> Iterator[tuple[int, int, dict[int, int]]]:
        """The stretches that one message each can tell of: first number, the one after the last, arrivals in ticks."""
        base = end = self._first
        last = 0
        ticks: dict[int, int] = {}
        for number in sorted(number for number in self._arrived if number >= self._first):
            at = int(self._arrived[number] * TICKS_PER_S)
            full = number >= base + MAX_PACKETS or len(ticks) == _MAX_ARRIVALS or abs(at - last) > _MAX_DELTA
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
        """What is too old to be told again, which a late packet before it would require; or too much of it."""
        excess = len(self._arrived) - MAX_PACKETS
        for number in sorted(self._arrived):
            if self._arrived[number] > before and excess <= 0:
                return
            del self._arrived[number]
            self._floor = number + 1
            excess -= 1
