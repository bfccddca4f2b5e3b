"""The guard of retained state: when our value is said again, and that two servers do not go on for ever."""

from __future__ import annotations

import itertools
import sys

from sfu.signaling.state_guard import StateGuard

TOPIC = "sfu/bridge/state"


def corrections(guard: StateGuard, seconds: int, forge: int = 1) -> list[int]:
    """Somebody writes on the topic every `forge` seconds. Returns the seconds in which our value is said again."""
    said: list[int] = []
    due: float | None = None
    for tenth in range(seconds * 10):
        now = tenth / 10
        if tenth % (forge * 10) == 0:
            wait = guard.heard(TOPIC, b"offline", b"online", now)
            due = now + wait if wait is not None else due
        if due is not None and now >= due:
            due = None
            if guard.due(TOPIC, b"online", now):
                said.append(tenth // 10)
    return said


def test_each_forged_value_is_corrected_within_two_seconds() -> None:
    said = corrections(StateGuard(), 60, forge=3)
    assert said == [second for second in range(60) if second % 3 == 0]


def test_two_servers_slow_down() -> None:
    said = corrections(StateGuard(), 600)
    assert all(later > earlier for earlier, later in itertools.pairwise(said))
    assert 28 <= len([second for second in said if second < 30]) <= 30
    assert len([second for second in said if second >= 60]) <= 55  # every 10 s


def test_our_own_value_that_comes_back_late_is_no_foreign_one() -> None:
    guard = StateGuard()
    assert guard.heard(TOPIC, b"1", b"2", 0.0) == 0.5
    assert guard.heard(TOPIC, b"2", b"2", 0.1) is None
    assert not guard.due(TOPIC, b"2", 0.5)
    assert guard.heard(TOPIC, b"2", b"2", 0.6) is None


def test_a_value_that_we_have_said_meanwhile_is_not_said_again_for_it() -> None:
    guard = StateGuard()
    guard.heard(TOPIC, b"3", b"2", 0.0)
    assert not guard.due(TOPIC, b"3", 0.5)
    assert not guard.waiting(TOPIC)


def test_invented_topics_are_bounded_in_number_and_in_time() -> None:
    guard = StateGuard()
    waits = [guard.heard(f"sfu/{number}/state", b"{}", b"", 0.0) for number in range(5000)]
    waiting = [f"sfu/{number}/state" for number, wait in enumerate(waits) if wait is not None]
    assert len(waiting) == 2000
    assert sum(guard.due(topic, b"", 0.5) for topic in waiting) == 100
    assert sum(guard.waiting(topic) for topic in waiting) == 1900
    assert sum(guard.due(topic, b"", 1.5) for topic in waiting) == 100


def test_the_values_of_others_are_not_kept() -> None:
    guard, value = StateGuard(), bytes(256 * 1024)
    before = sys.getrefcount(value)
    guard.heard(TOPIC, value, b"", 0.0)
    assert sys.getrefcount(value) == before
    assert guard.due(TOPIC, b"", 0.5)
