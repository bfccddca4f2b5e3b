"""The watch over a disk: a hang is told once when it begins and once when it ends, and a busy disk is none."""

from __future__ import annotations

from recorder.capture.hang import HANG_S, HangWatch


def test_a_hang_begins_and_ends_once() -> None:
    watch = HangWatch()
    waits = [0.0, 1.0, HANG_S - 0.1, 0.0, HANG_S, HANG_S + 0.5, HANG_S + 1, 30.0, 0.0, 0.0, 3.0, 3.5, 0.1]
    assert [watch.check(wait) for wait in waits] == [
        None, None, None, None, None, True, None, None, False, None, None, True, False,
    ]  # fmt: skip
    assert watch.count == 2


def test_a_process_that_stood_still_is_no_hang() -> None:
    watch = HangWatch()
    assert [watch.check(wait) for wait in (0.0, 60.0, 0.0, 0.0)] == [None] * 4
    assert watch.count == 0
