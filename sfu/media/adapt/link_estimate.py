"""The bandwidth estimate of one viewer's link, from the viewer's feedback.

Owns the estimate, after draft-ietf-rmcat-gcc-02: from the viewer's own estimate (REMB), and from loss and round trips
(receiver reports), with or without a REMB. Transport-wide feedback is not used: it would need different packets for
each viewer. Never sends anything and never reads a clock: `now` comes in, in seconds. False feedback from a viewer
harms only that viewer's estimate, which stays bounded.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from math import inf

from sfu.media.windowed_minimum import WindowedMinimum

_GROWTH_PER_S = 0.08
_MAX_GROWTH_S = 5.0
_MAX_GROWTH_FACTOR = 1.5
"""A larger multiple of the bitrate that arrives would be a guess."""
_MIN_GROWTH_BPS = 10_000
_MINIMUM_WINDOW_S = 10.0


class Rate:
    """The mean bitrate of the last `window` seconds."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._parts: deque[tuple[float, int]] = deque()
        self._total = 0

    def add(self, octets: int, at: float) -> None:
        """Counts bytes sent at `at`. Calls within 1/16 of the window are kept as one."""
        if self._parts and at - self._parts[-1][0] < self._window / 16:
            at, before = self._parts.pop()
            self._parts.append((at, before + octets))
        else:
            self._parts.append((at, octets))
        self._total += octets
        self._expire(at)

    def bitrate(self, now: float) -> float:
        """Returns the bitrate in bit/s."""
        self._expire(now)
        return self._total * 8 / self._window

    def _expire(self, now: float) -> None:
        while self._parts and self._parts[0][0] <= now - self._window:
            self._total -= self._parts.popleft()[1]


def grown(estimate: float, elapsed: float, seen: float) -> float:
    """Returns the estimate (bit/s) grown by 8 % a second, at least `seen`, at most 1.5 times `seen` and 10 kbit/s."""
    growth = 1 + _GROWTH_PER_S * min(max(0.0, elapsed), _MAX_GROWTH_S)
    return max(estimate, seen, min(estimate * growth, _MAX_GROWTH_FACTOR * seen + _MIN_GROWTH_BPS))


_MAX_BITRATE_BPS = 10_000_000_000
_BACK_OFF_FACTOR = 0.85

_REMB_LASTS_S = 5.0
_SIGN_LASTS_S = 1.2
"""Time that a congestion sign stays valid. Must be shorter than `layers._SETTLE_S`; sources repeat once a second."""

_FALL_FACTOR = 0.97
_RISE_FACTOR = 1.002
_EXCESS_FACTOR = 1.1
_RECEIVED_SHARE = 0.88
"""A receiver falls to 0.85 of what it receives. If it received all that we sent, only a key frame was queued."""
_STALLED_S = 1.2

_HEAVY_LOSS_SHARE = 0.10
_LIGHT_LOSS_SHARE = 0.02
_CONGESTION_LOSS_SHARE = 0.25
"""Less loss than this is attributed to a bad radio link if a fresh REMB does not confirm it."""

_ROUND_TRIP_GROWTH_S = 0.1
_MAX_ROUND_TRIP_S = 10.0
_MAX_JITTER_S = 0.1


class _Source(Enum):
    REMB = auto()
    REPORT = auto()


class LinkEstimate:
    """The bitrate that one viewer's transport carries, all its streams together.

    A bitrate that is sent without congestion is carried, so the estimate is at least that. It shows head-room of at
    most half of that bitrate, because a receiver can only measure the packets that are sent.
    """

    def __init__(self) -> None:
        self.congested = False
        """True if more is sent than the link carries. Updated by each call."""
        self._sent, self._sent_longer = Rate(1.0), Rate(2.0)
        self._carried = WindowedMinimum(_MINIMUM_WINDOW_S)
        """Minimum of the negative bitrate sent without a sign of congestion, which is a maximum."""
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
        """Notes the bytes sent since the last call. To be called for each burst, or a few times a second."""
        self._sent.add(octets, now)
        self._sent_longer.add(octets, now)

    def on_remb(self, bitrate: int, now: float) -> None:
        """Takes the viewer's own estimate, in bit/s (draft-alvestrand-rmcat-remb-03)."""
        bitrate = min(max(0, bitrate), _MAX_BITRATE_BPS)
        before = self._remb if self._remb_is_fresh(now) else bitrate
        self._remb, self._remb_at = bitrate, now
        sent = self._sent.bitrate(now)
        if sent <= bitrate * _EXCESS_FACTOR or bitrate >= before * _RISE_FACTOR:
            self._exceeded_since = inf
            self._sign(_Source.REMB, False, now)
            return
        # An estimator that has found its limit does not fall when it is exceeded again: it only stops rising.
        self._exceeded_since = min(self._exceeded_since, now)
        # The received bitrate rises later than the sent one.
        due = min(sent, self._sent_longer.bitrate(now)) * _RECEIVED_SHARE * _BACK_OFF_FACTOR
        fell = bitrate < min(before * _FALL_FACTOR, due)
        self._sign(_Source.REMB, fell or now - self._exceeded_since > _STALLED_S, now)

    def on_report(self, fraction_lost: float, rtt: float | None, jitter_s: float, now: float) -> None:
        """Takes a receiver report: share lost (0 to 1) since the previous one, round trip and jitter in seconds.

        To be called once for each compound packet, with the loss of all its blocks together.
        """
        seen = self._remb_is_fresh(now)
        self._lost(fraction_lost, seen, now)
        slow = rtt is not None and 0 < rtt <= _MAX_ROUND_TRIP_S and self._is_slow(rtt, jitter_s, now)
        # A receiver's limit and a growing queue are congestion together; either alone may be jitter.
        doubted = self._remb_is_fresh(now) and self._remb < self._sent.bitrate(now)
        queued = slow and (doubted or (self._slow and not seen))
        self._slow = slow
        if queued and not doubted:
            self._limit(_BACK_OFF_FACTOR * self._sent.bitrate(now) * (1 - self._loss), now)
        threshold = _CONGESTION_LOSS_SHARE if seen else _HEAVY_LOSS_SHARE
        heavy = self._loss > threshold and fraction_lost > _HEAVY_LOSS_SHARE
        self._sign(_Source.REPORT, queued or heavy, now)

    def bitrate(self, now: float) -> int | None:
        """Returns the estimate in bit/s; None while nothing is known."""
        self._judge(now)
        if self.congested:
            self._carried = WindowedMinimum(_MINIMUM_WINDOW_S)
        else:
            self._carried.add(-self._sent.bitrate(now), now)
        known: float | None = None
        if self._remb_is_fresh(now):
            known = max(self._remb, -self._carried.least)
        limits = [limit for limit in (known, self._loss_limit) if limit is not None]
        return int(min(*limits, _MAX_BITRATE_BPS)) if limits else None

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
        """Moves the smoothed loss halfway to the latest share, so that one report of a few packets decides nothing."""
        share = min(share, 1.0) if share > 0 else 0.0
        self._loss += (share - self._loss) / 2
        carried = self._sent.bitrate(now) * (1 - share)
        if self._loss > _HEAVY_LOSS_SHARE:
            self._limit(carried, now)
        elif seen and self._loss < _LIGHT_LOSS_SHARE:
            self._loss_limit = None
        elif self._loss_limit is not None:
            elapsed = now - self._limited_at if self._loss < _LIGHT_LOSS_SHARE else 0.0
            self._loss_limit, self._limited_at = grown(self._loss_limit, elapsed, carried), now

    def _limit(self, carried: float, now: float) -> None:
        if self._remb_is_fresh(now):
            carried = max(carried, _BACK_OFF_FACTOR * self._remb)  # the sent bitrate may have fallen since the loss
        self._loss_limit = carried if self._loss_limit is None else min(carried, self._loss_limit)
        self._limited_at = now
