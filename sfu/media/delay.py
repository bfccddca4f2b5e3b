"""What a link carries, told from when packets arrived: the delay-based half of the estimate of a viewer's bandwidth.

Owns the queue seen in arrival times and the rate that they acknowledge, after draft-ietf-rmcat-gcc-02 section 5. Never
reads a clock: `now` comes in, in seconds. Arrival times are a viewer's word: whatever they are, the estimate stays
between nothing and a little more than what was sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf, isfinite

Arrival = tuple[float, float | None, int]
"""When a packet was sent, when it arrived on the receiver's clock (None: it did not), and its size in bytes."""

_BACK_OFF = 0.85
_GROWTH_PER_S = 0.08
_MAX_GROWTH_S = 5.0
_UNSEEN = 1.5
"""Beyond this many times what arrives, growth would be a guess."""
_UNSEEN_BPS = 10_000

_LIGHT_LOSS = 0.02
_WINDOW_S = 0.5

_BIN_S = 0.2
_BINS = 5
_STANDING_BINS = 3
_QUEUE_S = 0.05
_RISE_S = 0.015
_LEVEL_S = 0.005
_FLOOR_LASTS_S = 10.0
_MAX_TRANSIT_STEP_S = 5.0
"""A transit that changes by more is a clock that was set."""


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


class Floor:
    """The least value of the last ten to twenty seconds."""

    def __init__(self) -> None:
        self.value = inf
        self._recent = inf
        self._since = -inf

    def add(self, value: float, at: float) -> None:
        """Counts one value."""
        if at - self._since > _FLOOR_LASTS_S:
            self.value, self._recent, self._since = self._recent, inf, at
        self._recent = min(self._recent, value)
        self.value = min(self.value, value)


class _Queue:
    """Whether a queue stands or grows on the way, from transits: arrival less departure, on clocks that differ.

    Looks at the shortest transit of each fifth of a second, which neither jitter nor the length of a frame's own burst
    disturbs, against the shortest of late, which a clock's drift cannot move by much.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._floor = Floor()
        self._last: float | None = None
        self._bins: deque[tuple[int, float]] = deque(maxlen=_BINS)

    def add(self, sent_at: float, transit: float) -> float:
        """Takes a packet into account and returns how long it queued, in seconds."""
        if self._last is not None and abs(transit - self._last) > _MAX_TRANSIT_STEP_S:
            self._reset()
        self._last = transit
        self._floor.add(transit, sent_at)
        number = int(sent_at // _BIN_S)
        if not self._bins or number > self._bins[-1][0]:
            self._bins.append((number, transit))
        elif number == self._bins[-1][0]:
            self._bins[-1] = (number, min(transit, self._bins[-1][1]))
        return transit - self._floor.value

    @property
    def stands(self) -> bool:
        """Longer than one key frame takes, not a single packet found the way free, nor does the queue drain."""
        late = [transit for _, transit in self._bins][-_STANDING_BINS:]
        if len(late) < _STANDING_BINS:
            return False
        return min(late) > self._floor.value + _QUEUE_S and late[-1] > late[-2] - _LEVEL_S

    @property
    def grows(self) -> bool:
        """It stands, and has grown within the last bins."""
        return self.stands and self._bins[-1][1] > min(transit for _, transit in self._bins) + _RISE_S


class Arrivals:
    """The estimate from arrival times: backs off below what arrives when a queue grows, else creeps up."""

    def __init__(self) -> None:
        self.estimate: float | None = None
        self._queue = _Queue()
        self._acknowledged = Rate(_WINDOW_S)
        self._first_at: float | None = None
        self._arrived = self._updated_at = -inf

    def add(self, packets: Sequence[Arrival], now: float) -> None:
        """Counts what arrived, each at its time of arrival on our own clock, less the bare transit."""
        latest = -inf
        for sent_at, received_at, size in packets:
            if received_at is None or not isfinite(received_at):
                continue
            latest = min(max(sent_at + self._queue.add(sent_at, received_at - sent_at), sent_at, latest), now)
            self._acknowledged.add(size, latest)
        if latest > -inf:
            self._first_at = latest if self._first_at is None else self._first_at
            self._arrived = latest

    def judge(self, loss: float, now: float) -> bool:
        """Brings the estimate up to date; returns whether the link is congested."""
        if self._first_at is None:
            return False
        acknowledged = self._acknowledged.bitrate(self._arrived)
        congested = self._queue.grows or (self._queue.stands and loss > _LIGHT_LOSS)
        elapsed, self._updated_at = now - self._updated_at, now
        if congested:
            self.estimate = min(self.estimate or inf, _BACK_OFF * acknowledged)
        elif self.estimate is not None:
            self.estimate = grown(self.estimate, elapsed, acknowledged)
        elif self._arrived - self._first_at >= _WINDOW_S:
            self.estimate = acknowledged
        return congested


def grown(estimate: float, elapsed: float, seen: float) -> float:
    """At least what is seen to be carried, else more by 8 % a second, but not far beyond what is."""
    growth = 1 + _GROWTH_PER_S * min(max(0.0, elapsed), _MAX_GROWTH_S)
    return max(estimate, seen, min(estimate * growth, _UNSEEN * seen + _UNSEEN_BPS))
