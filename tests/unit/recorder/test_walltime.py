from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.walltime import day_of, parse, parse_near, rfc3339

NOW = parse("2026-11-23T07:00:30.500Z")
MINUTE = 60_000_000


@given(st.integers(0, 253_402_300_799_000))
def test_what_is_written_is_read_again(at_ms: int) -> None:
    assert parse(rfc3339(at_ms * 1000)) == at_ms * 1000


@given(st.text(max_size=40) | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", fullmatch=True))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    try:
        at_us = parse_near(text, NOW)
    except ValueError:
        return
    assert isinstance(at_us, int)


@pytest.mark.parametrize(
    ("text", "at_us"),
    [
        ("2026-11-23T07:00:30.5Z", NOW),
        ("2026-11-23t08:00:30.500+01:00", NOW),
        ("2026-11-23 07:00:30.500000999z", NOW),
        ("now", NOW),
        ("-10m", NOW - 10 * MINUTE),
        ("-1d", NOW - 24 * 60 * MINUTE),
        ("06:59", NOW - MINUTE - 30_500_000),
        ("07:00:30", NOW - 500_000),
        ("07:01", NOW - 24 * 60 * MINUTE + 29_500_000),
    ],
)
def test_times_are_read(text: str, at_us: int) -> None:
    assert parse_near(text, NOW) == at_us


@pytest.mark.parametrize(
    "text", ["", "2026-11-23", "2026-11-23T07:00:00", "2026-02-30T00:00:00Z", "24:00", "10m", "-1y"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no time like"):
        parse_near(text, NOW)


def test_a_time_of_others_is_days_and_offsets_away() -> None:
    assert rfc3339(parse("2026-11-23T00:30:00+01:00")) == "2026-11-22T23:30:00.000Z"
    assert day_of(parse("2026-11-23T00:30:00+01:00")).isoformat() == "2026-11-22"
