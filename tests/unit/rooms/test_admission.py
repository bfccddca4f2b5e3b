"""The cost of a leaf without a session has bounds."""

from __future__ import annotations

from sfu.rooms.admission import RATE_WINDOW_S, EarlyCandidates, HalfOpen, MessageRates
from sfu.signaling.bodies import Candidate
from sfu.signaling.topics import Leaf, Role


def leaf(number: int) -> Leaf:
    return Leaf("front", Role.VIEW, f"peer-{number}")


def test_so_many_messages_in_any_window_and_no_more() -> None:
    rates = MessageRates(3)
    assert [rates.allow(leaf(0), now) for now in (0.0, 4.0, 8.0, 9.0, 9.9)] == [True, True, True, False, False]
    assert rates.allow(leaf(1), 9.9)
    assert rates.allow(leaf(0), 10.0)
    assert not rates.allow(leaf(0), 13.0)


def test_a_leaf_over_its_limit_gets_one_retry_after_per_window() -> None:
    rates = MessageRates(2)
    rates.allow(leaf(0), 0.0)
    rates.allow(leaf(0), 5.0)
    assert rates.retry_after(leaf(0), 6.0) == 4.0
    assert rates.retry_after(leaf(0), 15.9) is None
    assert rates.retry_after(leaf(0), 16.0) is not None


def test_a_flood_of_leaves_over_their_limit_gets_few_answers() -> None:
    rates = MessageRates(1)
    answers = [rates.retry_after(leaf(number), 0.0) for number in range(5000)]
    assert len([wait for wait in answers if wait is not None]) == rates.known == 100
    assert rates.retry_after(leaf(5000), 1.0) is not None


def test_quiet_leaves_are_forgotten_and_a_flood_of_leaves_has_a_bound() -> None:
    rates = MessageRates(2, leaves=100)
    for number in range(1000):
        assert rates.allow(leaf(number), 0.0)
        assert rates.known <= 100
    rates.forget(RATE_WINDOW_S)
    assert rates.known == 0


def test_candidates_wait_for_their_offer_for_a_while() -> None:
    early = EarlyCandidates(leaves=2, each=2, age=30.0)
    words = [Candidate(str(number)) for number in range(3)]
    for word in words:
        early.keep(leaf(0), word, 0.0)
    early.keep(leaf(1), words[0], 10.0)
    early.keep(leaf(2), words[0], 20.0)  # one leaf too many
    assert early.take(leaf(0), 20.0) == words[1:]
    assert early.take(leaf(0), 20.0) == []
    assert early.take(leaf(1), 40.0) == []
    early.keep(leaf(3), words[0], 50.0)
    early.forget(80.0)
    assert early.known == 0


def test_beyond_200_half_open_sessions_the_oldest_must_end_once_they_had_their_time() -> None:
    half_open = HalfOpen()
    for number in range(210):
        half_open.add(leaf(number), number / 100, live=False)
    for number in range(5):
        half_open.remove(leaf(number))
    assert half_open.surplus(3.0) == []
    assert half_open.surplus(3.07) == [leaf(5), leaf(6), leaf(7)]
    assert half_open.surplus(60.0) == [leaf(number) for number in range(5, 10)]


def test_peers_that_join_a_live_room_are_counted_apart() -> None:
    half_open = HalfOpen()
    for number in range(1000):
        half_open.add(leaf(number), 0.0, live=True)
    assert half_open.surplus(60.0) == []
