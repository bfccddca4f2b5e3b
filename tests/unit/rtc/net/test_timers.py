"""Ticks: callbacks run when the loop is awake anyway, and by a timer if nothing wakes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from sfu.rtc.net.timers import Ticks


class Loop:
    """A loop whose time is set by the test."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None], list[bool]]] = []
        self.errors: list[dict[str, Any]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Any:
        cancelled: list[bool] = []
        self.timers.append((when, callback, cancelled))
        return type("Handle", (), {"cancel": lambda _: cancelled.append(True)})()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    @property
    def waits_for(self) -> list[float]:
        return [when for when, _, cancelled in self.timers if not cancelled]

    def sleep_on(self) -> None:
        (timer,) = [timer for timer in self.timers if not timer[2]]
        self.timers.clear()
        self.now = timer[0]
        timer[1]()


class Clocks:
    def __init__(self) -> None:
        self.loop = Loop()
        self.ticks = Ticks(cast("Any", self.loop))
        self.calls: list[tuple[str, float]] = []

    def every(self, interval: float, name: str) -> None:
        self.ticks.every(interval, lambda: self.calls.append((name, round(self.loop.now - 100, 3))))


def test_somebody_elses_wake_up_is_used_and_no_other_comes() -> None:
    clocks = Clocks()
    clocks.every(0.2, "tick")
    for _ in range(30):
        clocks.loop.now += 0.03
        clocks.ticks.look()
    assert clocks.calls == [("tick", 0.21), ("tick", 0.42), ("tick", 0.63), ("tick", 0.84)]
    assert len(clocks.loop.waits_for) == 1
    assert min(clocks.loop.waits_for) > clocks.loop.now


def test_a_loop_that_nobody_wakes_wakes_itself_a_little_late() -> None:
    clocks = Clocks()
    clocks.every(0.2, "tick")
    clocks.every(1.0, "sweep")
    while clocks.loop.now < 102.2:
        clocks.loop.sleep_on()
    ticks = [at for name, at in clocks.calls if name == "tick"]
    assert ticks == pytest.approx([0.25 * n for n in range(1, 10)])
    assert [at for name, at in clocks.calls if name == "sweep"] == pytest.approx([1.0, 2.0])


def test_what_one_raises_is_told_and_harms_no_other() -> None:
    clocks = Clocks()

    def fail() -> None:
        raise ZeroDivisionError

    clocks.ticks.every(0.1, fail)
    clocks.every(0.1, "tick")
    for _ in range(2):
        clocks.loop.now += 0.11
        clocks.ticks.look()
    assert clocks.calls == [("tick", 0.11), ("tick", 0.22)]
    assert [type(error["exception"]) for error in clocks.loop.errors] == [ZeroDivisionError] * 2


def test_nobody_is_called_after_the_end() -> None:
    clocks = Clocks()
    clocks.ticks.every(0.1, clocks.ticks.close)  # in the middle of it, too
    clocks.every(0.1, "tick")
    clocks.loop.now += 1.0
    clocks.ticks.look()
    clocks.loop.now += 1.0
    clocks.ticks.look()
    assert clocks.calls == []
    assert clocks.loop.waits_for == []
