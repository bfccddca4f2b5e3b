"""The order and pace in which offers are handled: a flood of them must not take the time that media needs.

Owns the offers that wait, and a budget of CPU time for each class of them. Never reads an offer. The loop's timer and
both clocks come in as arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Generic, TypeVar

from sfu.media.token_bucket import TokenBucket
from sfu.signaling.topics import Leaf

Message = TypeVar("Message")
"""An offer, with all that belongs to it."""

PATIENCE_S: Final = 5.0
"""Time that an offer may wait; then its peer is asked to try again."""
_PACE_S: Final = 0.001
"""Shortest time between two offers that waited: media goes first."""
_REFUSALS_PER_S: Final = 20.0
"""Waiting offers that are refused in words; beyond them silently, since a flood needs no answers."""
_RETRY_AFTER_S: Final = 1.0


class OfferClass(IntEnum):
    """The classes of offers, most urgent first. None of them can use the time of another."""

    SESSION = 0
    """Of a peer that is connected."""
    LIVE = 1
    """To a room where media flows, or has flowed."""
    SENDER = 2
    """Of a peer that may send, to any other room."""
    NEW = 3
    """All others. Anybody can invent rooms and peers."""


@dataclass(frozen=True, slots=True)
class _Limits:
    """`share` of the loop's time on average, `burst_s` of it at once, `waiting` offers at most."""

    share: float
    burst_s: float
    waiting: int


# On 2 GHz an offer costs 1 ms; its answer, handshake, room state and end cost two (in a live room) to four times as
# much again. So after a restart 400 cameras and 500 viewers get in at once, and then 30 and 20 a second; into live
# rooms 1,000, and then 100 a second.
_LIMITS: Final = {
    OfferClass.SESSION: _Limits(0.1, 0.5, 1024),
    OfferClass.LIVE: _Limits(0.1, 1.0, 1024),
    OfferClass.SENDER: _Limits(0.03, 0.4, 256),
    OfferClass.NEW: _Limits(0.02, 0.5, 256),
}


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Message]):
    offer: Message
    since: float


class _Lane(Generic[Message]):
    """The waiting offers of one class, one for each leaf, and the CPU time that is left for them."""

    def __init__(self, limits: _Limits, *, newest_first: bool) -> None:
        self.budget = TokenBucket(limits.share, limits.burst_s)
        self.limits = limits
        self._newest_first = newest_first
        self._rooms: dict[str, dict[Leaf, _Waiting[Message]]] = {}
        self.waiting = 0

    def put(self, leaf: Leaf, waiting: _Waiting[Message]) -> None:
        """Adds an offer of a leaf that has none here."""
        self._rooms.setdefault(leaf.room, {})[leaf] = waiting
        self.waiting += 1

    def drop(self, leaf: Leaf) -> None:
        """Removes the offer of a leaf, if one waits."""
        room = self._rooms.get(leaf.room, {})
        if room.pop(leaf, None) is not None:
            self.waiting -= 1
            if not room:
                del self._rooms[leaf.room]

    def next(self) -> tuple[Leaf, _Waiting[Message]]:
        """Removes and returns the next offer: rooms in turn; of new peers the newest, which still waits."""
        room = next(reversed(self._rooms)) if self._newest_first else next(iter(self._rooms))
        return self._taken(room)

    def oldest(self) -> tuple[Leaf, _Waiting[Message]]:
        """Removes and returns an offer that has waited for long."""
        return self._taken(next(iter(self._rooms)))

    def _taken(self, name: str) -> tuple[Leaf, _Waiting[Message]]:
        room = self._rooms.pop(name)
        leaf = next(iter(room))
        waiting = room.pop(leaf)
        self.waiting -= 1
        if room:
            self._rooms[name] = room
        return leaf, waiting


class OfferQueue(Generic[Message]):
    """The offers of all peers. Handles each at once while its class has time left, else in turn."""

    def __init__(
        self,
        handle: Callable[[Leaf, Message], None],
        refuse: Callable[[Leaf, Message, float | None], None],
        *,
        clock: Callable[[], float],
        cpu_clock: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        """`refuse` is given the seconds after which the peer should try again, or None if it should not be answered.

        `cpu_clock` is that of this thread.
        """
        self._handle = handle
        self._refuse = refuse
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._call_later = call_later
        self._lanes: dict[OfferClass, _Lane[Message]] = {each: _lane(each) for each in OfferClass}
        self._refusals = TokenBucket(_REFUSALS_PER_S, _REFUSALS_PER_S)
        self._timed = False

    @property
    def waiting(self) -> int:
        """Returns the number of offers that wait."""
        return sum(lane.waiting for lane in self._lanes.values())

    def put(self, leaf: Leaf, offer: Message, urgency: OfferClass) -> None:
        """Handles an offer now or later, or refuses it; of one leaf at most one waits."""
        now = self._clock()
        self.drop(leaf)  # from another class, before it comes after this one
        lane = self._lanes[urgency]
        lane.budget.fill(now)
        if lane.budget.tokens > 0 and not lane.waiting:
            self._run(lane, leaf, offer)
            return
        if lane.waiting >= lane.limits.waiting:
            self._give_up(*lane.oldest(), now)
        lane.put(leaf, _Waiting(offer, now))
        self._set_timer()

    def drop(self, leaf: Leaf) -> None:
        """Forgets the offer of a leaf that waits: its peer has left."""
        for lane in self._lanes.values():
            lane.drop(leaf)

    def clear(self) -> None:
        """Forgets all that wait."""
        for urgency in self._lanes:
            self._lanes[urgency] = _lane(urgency)

    def _run(self, lane: _Lane[Message], leaf: Leaf, offer: Message) -> None:
        started = self._cpu_clock()
        self._handle(leaf, offer)
        lane.budget.tokens -= self._cpu_clock() - started

    def _set_timer(self) -> None:
        if self._timed:
            return
        waits = [-lane.budget.tokens / lane.budget.rate for lane in self._lanes.values() if lane.waiting]
        if waits:
            self._timed = True
            self._call_later(max(_PACE_S, min(waits)), self._on_timer)

    def _on_timer(self) -> None:
        self._timed = False
        now = self._clock()
        for lane in self._lanes.values():
            lane.budget.fill(now)
        ready = next((lane for lane in self._lanes.values() if lane.waiting and lane.budget.tokens > 0), None)
        if ready is not None:
            leaf, waiting = ready.next()
            if now - waiting.since > PATIENCE_S:
                self._give_up(leaf, waiting, now)
            else:
                self._run(ready, leaf, waiting.offer)
        self._set_timer()

    def _give_up(self, leaf: Leaf, waiting: _Waiting[Message], now: float) -> None:
        self._refusals.fill(now)
        answered = self._refusals.tokens >= 1
        self._refusals.tokens -= answered
        self._refuse(leaf, waiting.offer, _RETRY_AFTER_S if answered else None)


def _lane(urgency: OfferClass) -> _Lane[Any]:
    return _Lane(_LIMITS[urgency], newest_first=urgency >= OfferClass.SENDER)
