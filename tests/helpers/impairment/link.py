"""One direction of a network: decides for each packet if it is lost and when it comes out. Pure: `now` comes in.

The same seed and the same packets at the same times give the same fates; each kind of fault has dice of its own, so
that one more fault leaves the others as they were.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from random import Random
from typing import Self

OVERHEAD = 28
"""Bytes of IPv4 and UDP headers, which a line's rate carries too."""
_SWING_S = 0.1
"""Seconds from one random point of the delay's curve to the next: a queue elsewhere fills and drains, no jump."""


@dataclass(frozen=True, slots=True)
class Bursts:
    """Gilbert-Elliott: at each packet a good time turns bad with probability `enter`, a bad one good with `leave`."""

    enter: float
    leave: float
    loss: float = 1.0
    """Probability that a packet of a bad time is lost."""

    @classmethod
    def of(cls, share: float, length: float) -> Self:
        """Returns losses of `share` of all packets, `length` in a row on average."""
        return cls(share / (1 - share) / length, 1 / length)


@dataclass(frozen=True, slots=True)
class Link:
    """One direction. Shares are of packets, times in seconds, rates in bit/s, sizes in bytes."""

    loss: float = 0.0
    bursts: Bursts | None = None
    delay: float = 0.0
    jitter: float = 0.0
    """The delay wanders within `delay` +- `jitter`, never below 0."""
    reorder: float = 0.0
    """Share of packets that roll a delay of their own within the jitter and wait for nobody before them."""
    duplicate: float = 0.0
    rate: float | None = None
    queue: int = 32_000
    """Bytes that may wait for the rate; further packets are lost (drop-tail)."""


@dataclass(frozen=True, slots=True)
class Line:
    """Both directions of a client's network: `up` to the server, `down` from it."""

    up: Link = Link()
    down: Link = Link()

    @classmethod
    def both(cls, link: Link) -> Self:
        return cls(link, link)

    def downwards(self, **changes: object) -> Line:
        """The line with these values of `down` changed."""
        return replace(self, down=replace(self.down, **changes))  # type: ignore[arg-type]


class Impairment:
    """A link at work. `counters`: in, out (copies too), lost, burst_lost, queue_full, duplicated, overtaken."""

    def __init__(self, link: Link, seed: str) -> None:
        self.link = link
        """May be changed at any time; what is under way stays as it is."""
        self.counters: Counter[str] = Counter()
        self._dice = {name: Random(f"{seed}/{name}") for name in ("loss", "bursts", "reorder", "duplicate", "curve")}
        self._bad = False
        self._free_at = 0.0
        self._last_out = 0.0
        self._curve: tuple[float, float, float] | None = None

    def take(self, size: int, now: float) -> tuple[float, ...]:
        """The times at which a packet of `size` bytes comes out: none when it is lost, two when it is duplicated."""
        self.counters["in"] += 1
        sent = self._sent(size, now)
        fault = "queue_full" if sent is None else self._lost()
        if sent is None or fault:
            self.counters[fault] += 1
            return ()
        times = [self._out(sent)]
        if self._roll("duplicate", self.link.duplicate):
            self.counters["duplicated"] += 1
            times.append(self._out(sent))
        self.counters["out"] += len(times)
        return tuple(times)

    def _sent(self, size: int, now: float) -> float | None:
        """When the last bit has left for the line; None when the queue before it is full."""
        rate = self.link.rate
        if rate is None:
            return now
        start = max(self._free_at, now)
        if (start - now) * rate / 8 + size > self.link.queue:
            return None
        self._free_at = start + (size + OVERHEAD) * 8 / rate
        return self._free_at

    def _lost(self) -> str:
        """The counter's name, or nothing."""
        lost = self._roll("loss", self.link.loss)
        if self.link.bursts is not None and self._in_burst(self.link.bursts):
            return "burst_lost"
        return "lost" if lost else ""

    def _in_burst(self, bursts: Bursts) -> bool:
        dice = self._dice["bursts"]
        turn, loss = dice.random(), dice.random()
        self._bad = turn >= bursts.leave if self._bad else turn < bursts.enter
        return self._bad and loss < bursts.loss

    def _out(self, sent: float) -> float:
        curve = self._wander(sent)
        if self._roll("reorder", self.link.reorder):
            out = sent + self._delay(self._dice["reorder"].uniform(-1, 1))
            self.counters["overtaken"] += out < self._last_out
            return out
        self._last_out = max(self._last_out, sent + self._delay(curve))
        return self._last_out

    def _delay(self, swing: float) -> float:
        return max(0.0, self.link.delay + self.link.jitter * swing)

    def _wander(self, now: float) -> float:
        """Where between -1 and 1 the delay is now: straight from one random point to the next."""
        dice = self._dice["curve"]
        if self._curve is None:
            self._curve = (now, dice.uniform(-1, 1), dice.uniform(-1, 1))
        start, value, following = self._curve
        while now - start >= _SWING_S:
            start, value, following = start + _SWING_S, following, dice.uniform(-1, 1)
        self._curve = (start, value, following)
        return value + (following - value) * max(0.0, now - start) / _SWING_S

    def _roll(self, name: str, share: float) -> bool:
        """Draws a random number even if it has no effect, so that a changed link leaves the later ones the same."""
        return self._dice[name].random() < share
