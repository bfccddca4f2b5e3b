"""Refusals in the log: each name once, each event once a minute, all of them counted."""

from __future__ import annotations

import pytest

from sfu.http.refusals import MAX_NAMES, Refusals


def test_an_event_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    refusals = Refusals(lambda: now)
    for now in (0.0, 1.0, 59.9, 60.0, 61.0, 120.0):
        refusals.each_minute("full", "full at %s", now)
    refusals.each_minute("other", "other")
    assert [record.message for record in caplog.records] == ["full at 0.0", "full at 60.0", "full at 120.0", "other"]
    assert refusals.counters == {"full": 6, "other": 1}


def test_a_name_is_logged_once_and_so_many_names_at_most(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(lambda: 0.0)
    for number in [*range(2 * MAX_NAMES), *range(2 * MAX_NAMES)]:
        refusals.once("host", str(number), "host %s", number)
    assert [record.message for record in caplog.records] == [f"host {number}" for number in range(MAX_NAMES)]
    assert refusals.counters["host"] == 4 * MAX_NAMES
