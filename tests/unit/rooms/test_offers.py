"""Offers in turn: a flood waits, is refused, and takes no more than its share of the time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sfu.rooms.offers import PATIENCE_S, OfferClass, OfferQueue
from sfu.signaling.bodies import Offer
from sfu.signaling.messages import Envelope
from sfu.signaling.topics import Leaf, Role

COST_S = 0.002
NEW, SENDER, LIVE, SESSION = OfferClass.NEW, OfferClass.SENDER, OfferClass.LIVE, OfferClass.SESSION


class Desk:
    """A queue whose offers take `COST_S` each, with a clock and a timer of its own."""

    def __init__(self) -> None:
        self.now = self.cpu = 0.0
        self.handled: list[str] = []
        self.refused: list[tuple[str, float | None]] = []
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self.queue = OfferQueue(
            self._handle,
            lambda leaf, _, retry_after: self.refused.append((leaf.peer, retry_after)),
            clock=lambda: self.now,
            cpu_clock=lambda: self.cpu,
            call_later=lambda delay_s, call: self._timers.append((self.now + delay_s, call)),
        )

    def _handle(self, leaf: Leaf, envelope: Envelope) -> None:
        self.handled.append(leaf.peer)
        self.cpu += COST_S

    def put(self, peer: str, urgency: OfferClass = NEW, room: str = "front") -> None:
        self.queue.put(Leaf(room, Role.VIEW, peer), Envelope(peer, Offer("v=0")), urgency)

    def run(self, until: float) -> None:
        """Lets the time pass."""
        while self._timers and min(at for at, _ in self._timers) <= until:
            at, call = min(self._timers, key=lambda timer: timer[0])
            self._timers.remove((at, call))
            self.now = max(self.now, at)
            call()
        self.now = until


@pytest.mark.parametrize(("urgency", "at_once"), [(NEW, 200), (SENDER, 150), (LIVE, 400), (SESSION, 200)])
def test_so_many_offers_are_handled_at_once(urgency: OfferClass, at_once: int) -> None:
    desk = Desk()
    for number in range(at_once):
        desk.put(f"eve{number}", urgency)
    assert len(desk.handled) == at_once


def test_a_flood_of_new_peers_takes_its_share_of_the_time_and_no_more() -> None:
    desk = Desk()
    for number in range(20 * 200):
        desk.run(number / 200)
        desk.put(f"eve{number}", room=f"r{number}")
    before = len(desk.handled)
    desk.put("anna", LIVE)
    desk.put("bert", SESSION)
    desk.put("camera", SENDER)
    assert desk.handled[before:] == ["anna", "bert", "camera"], "they do not wait for the flood"
    assert before * COST_S <= 0.5 + 20 * 0.02 + COST_S
    assert len(desk.handled) + len(desk.refused) + desk.queue.waiting == 20 * 200 + 3
    assert desk.queue.waiting <= 256
    assert 20 <= sum(retry_after is not None for _, retry_after in desk.refused) <= 20 * 21, "a flood needs no answers"


def test_a_burst_after_a_restart_is_answered_within_some_seconds() -> None:
    desk = Desk()
    for number in range(300):
        desk.run(number / 100)
        desk.put(f"viewer{number}", room=f"r{number % 20}")
    desk.run(desk.now + PATIENCE_S)
    answered, told = set(desk.handled), {peer for peer, retry_after in desk.refused if retry_after is not None}
    assert len(answered) >= 250
    assert answered | told == {f"viewer{number}" for number in range(300)}


def test_rooms_take_turns() -> None:
    desk = Desk()
    for number in range(900):
        desk.put(f"eve{number}", LIVE, room="crowd")
    before = len(desk.handled)
    desk.put("anna", LIVE, room="quiet")
    desk.run(0.2)
    assert "anna" in desk.handled[before : before + 3]


def test_of_one_leaf_the_latest_offer_waits() -> None:
    desk = Desk()
    for _ in range(1000):
        desk.put("eve")
    assert desk.queue.waiting == 1
    desk.queue.drop(Leaf("front", Role.VIEW, "eve"))
    assert desk.queue.waiting == 0
    desk.run(100.0)
    assert desk.refused == []


def test_an_older_offer_of_a_leaf_is_never_handled_after_a_newer_one() -> None:
    desk = Desk()
    for number in range(300):
        desk.put(f"eve{number}")
    desk.put("anna", NEW)
    assert "anna" not in desk.handled
    desk.put("anna", LIVE)
    desk.run(60.0)
    assert desk.handled.count("anna") == 1


def test_an_offer_that_waited_too_long_is_refused_with_a_time() -> None:
    desk = Desk()
    for number in range(440):
        desk.put(f"eve{number}")
    handled = len(desk.handled)
    desk.run(60.0)
    assert desk.queue.waiting == 0
    assert len(desk.refused) == 440 - len(desk.handled) > 0
    assert len(desk.handled) - handled <= PATIENCE_S * 0.02 / COST_S + 1
    assert desk.refused[0][1] == 1.0
