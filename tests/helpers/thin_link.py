"""A model of a viewer behind a thin link: a bottleneck with a queue, and a receiver that reports as Chromium does.

Simulated time, seeded: the real estimate and the real layer choice, run against packets that queue and get lost.
The receiver finds overuse as GCC does (a trend line through 20 frames' delays), which is not how our own estimate does.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count, pairwise
from random import Random

from sfu.media.adapt.layers import KEY_FRAMES, LayerChoice
from sfu.media.adapt.link_estimate import LinkEstimate

LAYERS = (150_000, 500_000, 1_700_000)
AUDIO = 32_000
FRAME_S = 1 / 30
QUEUE_S = 0.3
BASE_S = 0.03
MTU = 1200

Capacity = Callable[[float], float]


@dataclass
class Bottleneck:
    """Drop-tail bottleneck of `capacity` bit/s, then base delay, random loss and jitter."""

    random: Random
    capacity: Capacity
    loss: float = 0.0
    jitter: float = 0.0
    free_at: float = 0.0
    full: int = 0

    def wait(self, now: float) -> float:
        return max(0.0, self.free_at - now)

    def carry(self, now: float, size: int) -> float | None:
        """Returns when the packet arrives, in seconds; None if it is lost."""
        if self.wait(now) > QUEUE_S:
            self.full += 1
            return None
        self.free_at = max(now, self.free_at) + size * 8 / self.capacity(now)
        if self.random.random() < self.loss:
            return None
        return self.free_at + BASE_S + self.random.random() * self.jitter


class Remb:
    """Chromium's receiver: REMB after 5 s or at the first overuse, each second or at once on a fall of 3 %."""

    def __init__(self) -> None:
        self.bitrate: float | None = None
        self._arrived: deque[tuple[float, int]] = deque()
        self._bits = 0
        self._first: float | None = None
        self._delays: deque[tuple[float, float]] = deque(maxlen=20)
        self._group = self._smooth = 0.0
        self._threshold, self._slope, self._over = 0.0125, 0.0, 0
        self._at = 0.0
        self._told: float | None = None
        self._told_at = 0.0

    def received(self, sent_at: float, at: float, size: int) -> float | None:
        """Counts one packet; returns what to report now, if anything."""
        self._first = at if self._first is None else self._first
        self._arrived.append((at, size))
        self._bits += size * 8
        while self._arrived[0][0] < at - 1.0:
            self._bits -= self._arrived.popleft()[1] * 8
        if sent_at - self._group < 0.005:
            return None
        self._group = sent_at
        return self._report(self._usage(sent_at, at), at)

    def _usage(self, sent_at: float, at: float) -> str:
        """Returns the use of the bandwidth by the slope of the delays: "over", "under" or "normal"."""
        self._smooth = 0.9 * self._smooth + 0.1 * (at - sent_at) if self._delays else at - sent_at
        self._delays.append((at, self._smooth))
        if len(self._delays) < 20:
            return "normal"
        mean_at = sum(x for x, _ in self._delays) / 20
        mean = sum(y for _, y in self._delays) / 20
        spread = sum((x - mean_at) ** 2 for x, _ in self._delays)
        slope = sum((x - mean_at) * (y - mean) for x, y in self._delays) / spread if spread else 0.0
        trend = slope * 60 * 4 / 1000
        rising = slope >= self._slope
        self._slope = slope
        self._over = self._over + 1 if trend > self._threshold else 0
        usage = "over" if self._over > 1 and rising else "under" if trend < -self._threshold else "normal"
        if abs(trend) < self._threshold + 0.015:
            gain = 0.0087 if abs(trend) > self._threshold else 0.039
            self._threshold += gain * (abs(trend) - self._threshold) * 1000 * FRAME_S
            self._threshold = min(max(self._threshold, 0.006), 0.6)
        return usage

    def _report(self, usage: str, at: float) -> float | None:
        received, elapsed = float(self._bits), min(at - self._at, 1.0)
        self._at = at
        if usage == "over":
            self.bitrate = min(self.bitrate or 1e12, 0.85 * received)
        elif self.bitrate is None and self._first is not None and at - self._first > 5:
            self.bitrate = received
        elif self.bitrate is not None and usage == "normal" and self.bitrate < 1.5 * received + 10_000:
            self.bitrate = min(self.bitrate * 1.08**elapsed, 1.5 * received + 10_000)
        if self.bitrate is None:
            return None
        if at - self._told_at >= 1.0 or self._told is None or self.bitrate < 0.97 * self._told:
            self._told, self._told_at = self.bitrate, at
            return self.bitrate
        return None


@dataclass
class ThinLinkViewer:
    """One run of a viewer: what was chosen, what was sent, and what the link did."""

    seed: int
    capacity: Capacity
    says: str = "remb"
    """"remb" or "reports": what it sends beside receiver reports, if anything."""
    layers: tuple[int, ...] = LAYERS
    loss: float = 0.0
    jitter: float = 0.0
    chosen: list[tuple[float, int]] = field(default_factory=list)
    """Layer chosen, at each change."""
    shown: list[tuple[float, int]] = field(default_factory=list)
    """Layer sent, at each change."""
    full_at: list[float] = field(default_factory=list)
    """When the queue was full."""

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.link = Bottleneck(self.random, self.capacity, self.loss, self.jitter)
        self.estimate, self.choice, self.remb = LinkEstimate(), LayerChoice(), Remb()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._layer = self._target = len(self.layers) - 1
        self._switch_at = self._key_at = 0.0
        self._expected = self._lost = 0

    def run(self, seconds: float) -> ThinLinkViewer:
        self._at(self.random.random(), self._report)
        for frame in range(int(seconds / FRAME_S)):
            now = frame * FRAME_S + self.random.random() * 0.004
            while self._events and self._events[0][0] <= now:
                at, _, event = heapq.heappop(self._events)
                event(at)
            self._frame(now)
            if frame % 3 == 0:
                self._choose(now)
        return self

    def _at(self, at: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (at, next(self._order), event))

    def _choose(self, now: float) -> None:
        known = self.estimate.bitrate(now)
        share = None if known is None else max(0, known - AUDIO)
        measured = [int(bitrate * self.random.uniform(0.95, 1.05)) for bitrate in self.layers]
        target = self.choice.update(share, self.estimate.congested, measured, now)
        if target != self._target or not self.chosen:
            self.chosen.append((now, target))
            # until the camera answers the request for a key frame; a slide show needs none
            self._switch_at = now + (0 if target == KEY_FRAMES else self.random.uniform(0.05, 0.4))
            self._target = target

    def _frame(self, now: float) -> None:
        key = now >= self._key_at + 4.0
        if self._layer != self._target and now >= self._switch_at:
            self._layer, key = self._target, self._target != KEY_FRAMES
            self.shown.append((now, self._layer))
        self._key_at = now if key else self._key_at
        size = self.layers[max(self._layer, 0)] * FRAME_S / 8 * self.random.uniform(0.6, 1.4) * (5 if key else 1)
        sizes = [160] * (2 if int(now / FRAME_S) % 3 else 1)
        if key or self._layer != KEY_FRAMES:
            sizes += [MTU] * int(size // MTU) + [int(size % MTU) + 50]
        for number, part in enumerate(sizes):
            self._send(now + number * 0.0003, part)

    def _send(self, now: float, size: int) -> None:
        full = self.link.full
        arrives = self.link.carry(now, size)
        if self.link.full > full:
            self.full_at.append(now)
        self.estimate.on_sent(size, now)
        self._expected += 1
        self._lost += arrives is None
        if arrives is not None and self.says == "remb":
            self._at(arrives, lambda at: self._received(now, at, size))

    def _received(self, sent_at: float, at: float, size: int) -> None:
        remb = self.remb.received(sent_at, at, size)
        if remb is not None:
            self._at(at + BASE_S, lambda now: self._heard(now, lambda: self.estimate.on_remb(int(remb), now)))

    def _heard(self, now: float, what: Callable[[], None]) -> None:
        what()
        self._choose(now)

    def _report(self, now: float) -> None:
        loss = self._lost / self._expected if self._expected else 0.0
        self._expected = self._lost = 0
        rtt = 2 * BASE_S + self.link.wait(now) + self.random.random() * self.jitter
        self._heard(now, lambda: self.estimate.on_report(loss, rtt, self.jitter / 3, now))
        self._at(now + self.random.uniform(0.5, 1.5), self._report)

    def reached(self, layer: int, after: float, *, down: bool = False) -> float:
        """Returns the seconds from `after` until the layer was first sent (or, with `down`, one below it)."""
        current = [shown for at, shown in self.shown if at <= after][-1:] or [len(self.layers) - 1]
        if current[0] <= layer if down else current[0] >= layer:
            return 0.0
        fitting = (at for at, shown in self.shown if at > after and (shown <= layer if down else shown >= layer))
        return next(fitting, float("inf")) - after

    def falls(self, start: float, end: float) -> list[float]:
        """Returns when a lower layer was chosen: the failed trials, on a link that does not change."""
        return [at for (_, a), (at, b) in pairwise(self.chosen) if b < a and start <= at < end]
