"""What one viewer's link carries, as far as what the viewer says of the packets sent to it tells.

Owns the estimate, after draft-ietf-rmcat-gcc-02: the viewer's own (REMB), and loss and round trips (receiver reports)
with or without it. Transport-wide feedback would need a number of its own in each viewer's packets, which are the same
for all. Never sends anything and never reads a clock: `now` comes in, in seconds. A viewer's lies harm its own estimate
alone, which stays bounded.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from math import inf

from sfu.media.windowed_minimum import WindowedMinimum

_GROWTH_PER_S = 0.08
_MAX_GROWTH_S = 5.0
_UNSEEN = 1.5
"""Beyond this many times what arrives, growth would be a guess."""
_UNSEEN_BPS = 10_000
_MINIMUM_WINDOW_S = 10.0


class Rate:
    """A bitrate over the last `window` seconds."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._parts: deque[tuple[float, int]] = deque()
        self._total = 0

    def add(self, octets: int, at: float) -> None:
        """Counts bytes; parts of a second that lie close are kept as one."""
        if self._parts and at - self._parts[-1][0] < self._window / 16:
            at, before = self._parts.pop()
            self._parts.append((at, before + octets))
        else:
            self._parts.append((at, octets))
        self._total += octets
        self._expire(at)

    def bitrate(self, now: float) -> float:
        """In bit/s."""
        self._expire(now)
        return self._total * 8 / self._window

    def _expire(self, now: float) -> None:
        while self._parts and self._parts[0][0] <= now - self._window:
            self._total -= self._parts.popleft()[1]


def grown(estimate: float, elapsed: float, seen: float) -> float:
    """At least what is seen to be carried, else more by 8 % a second, but not far beyond what is."""
    growth = 1 + _GROWTH_PER_S * min(max(0.0, elapsed), _MAX_GROWTH_S)
    return max(estimate, seen, min(estimate * growth, _UNSEEN * seen + _UNSEEN_BPS))


_MAX_BITRATE = 10_000_000_000
_BACK_OFF = 0.85

_REMB_LASTS_S = 5.0
_SIGN_LASTS_S = 1.2
"""Less than a layer choice waits after a fall; a source that goes on speaks once a second or oftener."""

_FALL = 0.97
_RISE = 1.002
_EXCESS = 1.1
_SHARE_RECEIVED = 0.88
"""A receiver falls to 0.85 of what it receives: if that was all we sent, it was a key frame that queued, no more."""
_STALLED_S = 1.2

_HEAVY_LOSS = 0.10
_LIGHT_LOSS = 0.02
_LOSS_OF_CONGESTION = 0.25
"""Below this, loss that a fresh REMB does not confirm is taken for a bad radio."""

_ROUND_TRIP_GROWTH_S = 0.1
_MAX_ROUND_TRIP_S = 10.0
_MAX_JITTER_S = 0.1


class _Source(Enum):
    REMB = auto()
    REPORT = auto()


class LinkEstimate:
    """The bitrate that one viewer's transport carries, all its streams together.

    What is sent without a sign of congestion is carried, so the estimate is at least that; it shows head-room only up
    to half as much again, as nobody can measure more than is sent.
    """

    def __init__(self) -> None:
        self.congested = False
        """Whether more is sent than the link carries, as of the last call."""
        self._sent, self._sent_longer = Rate(1.0), Rate(2.0)
        self._carried = WindowedMinimum(_MINIMUM_WINDOW_S)
        """Of the negative of what was sent lately, all of it without a sign of congestion."""
        self._remb = 0
        self._remb_at = -inf
        self._signs: dict[_Source, float] = {}
        self._exceeded_since = inf
        self._loss = 0.0
        self._loss_limit: float | None = None
        self._limited_at = 0.0
        self._round_trips = WindowedMinimum(_MINIMUM_WINDOW_S)
        self._slow = False

    def on_sent(self, octets: int, now: float) -> None:
        """So many bytes were sent since the last call; a call per burst or a few a second will do."""
        self._sent.add(octets, now)
        self._sent_longer.add(octets, now)

    def on_remb(self, bitrate: int, now: float) -> None:
        """The viewer's own estimate, in bit/s (draft-alvestrand-rmcat-remb-03)."""
        bitrate = min(max(0, bitrate), _MAX_BITRATE)
        before = self._remb if self._remb_is_fresh(now) else bitrate
        self._remb, self._remb_at = bitrate, now
        sent = self._sent.bitrate(now)
        if sent <= bitrate * _EXCESS or bitrate >= before * _RISE:
            self._exceeded_since = inf
            self._sign(_Source.REMB, False, now)
            return
        # an estimator that found its limit before falls no further when it is passed again: it only ceases to rise
        self._exceeded_since = min(self._exceeded_since, now)
        # what is received rises later than what is sent
        due = min(sent, self._sent_longer.bitrate(now)) * _SHARE_RECEIVED * _BACK_OFF
        fell = bitrate < min(before * _FALL, due)
        self._sign(_Source.REMB, fell or now - self._exceeded_since > _STALLED_S, now)

    def on_report(self, fraction_lost: float, rtt: float | None, jitter_s: float, now: float) -> None:
        """A receiver report: share lost (0 to 1) since the one before, round trip and jitter in seconds.

        One call for a compound packet, with the loss of all its blocks together.
        """
        seen = self._remb_is_fresh(now)
        self._lost(fraction_lost, seen, now)
        slow = rtt is not None and 0 < rtt <= _MAX_ROUND_TRIP_S and self._is_slow(rtt, jitter_s, now)
        # what a receiver found to be its limit and a queue that grows agree, each alone may be jitter
        doubted = self._remb_is_fresh(now) and self._remb < self._sent.bitrate(now)
        queued = slow and (doubted or (self._slow and not seen))
        self._slow = slow
        if queued and not doubted:
            self._limit(_BACK_OFF * self._sent.bitrate(now) * (1 - self._loss), now)
        heavy = self._loss > (_LOSS_OF_CONGESTION if seen else _HEAVY_LOSS) and fraction_lost > _HEAVY_LOSS
        self._sign(_Source.REPORT, queued or heavy, now)

    def bitrate(self, now: float) -> int | None:
        """The estimate in bit/s; None while nothing is known."""
        self._judge(now)
        if self.congested:
            self._carried = WindowedMinimum(_MINIMUM_WINDOW_S)
        else:
            self._carried.add(-self._sent.bitrate(now), now)
        known: float | None = None
        if self._remb_is_fresh(now):
            known = max(self._remb, -self._carried.least)
        limits = [limit for limit in (known, self._loss_limit) if limit is not None]
        return int(min(*limits, _MAX_BITRATE)) if limits else None

    def _remb_is_fresh(self, now: float) -> bool:
        return now - self._remb_at < _REMB_LASTS_S

    def _sign(self, source: _Source, congested: bool, now: float) -> None:
        self._signs.pop(source, None)
        if congested:
            self._signs[source] = now + _SIGN_LASTS_S
        self._judge(now)

    def _judge(self, now: float) -> None:
        self.congested = any(until > now for until in self._signs.values())

    def _is_slow(self, rtt: float, jitter: float, now: float) -> bool:
        self._round_trips.add(rtt, now)
        tolerance = _ROUND_TRIP_GROWTH_S + 2 * (min(jitter, _MAX_JITTER_S) if jitter > 0 else 0.0)
        return rtt > self._round_trips.least + tolerance

    def _lost(self, share: float, seen: bool, now: float) -> None:
        """Goes halfway to the latest share, so that one report of a few packets decides nothing but a flood does."""
        share = min(share, 1.0) if share > 0 else 0.0
        self._loss += (share - self._loss) / 2
        carried = self._sent.bitrate(now) * (1 - share)
        if self._loss > _HEAVY_LOSS:
            self._limit(carried, now)
        elif seen and self._loss < _LIGHT_LOSS:
            self._loss_limit = None
        elif self._loss_limit is not None:
            elapsed = now - self._limited_at if self._loss < _LIGHT_LOSS else 0.0
            self._loss_limit, self._limited_at = grown(self._loss_limit, elapsed, carried), now

    def _limit(self, carried: float, now: float) -> None:
        if self._remb_is_fresh(now):
            carried = max(carried, _BACK_OFF * self._remb)  # what is sent may have fallen since the loss
        self._loss_limit = carried if self._loss_limit is None else min(carried, self._loss_limit)
        self._limited_at = now
