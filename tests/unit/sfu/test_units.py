"""Text and numbers: what is written is read again, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.units import parse_bit_rate, parse_duration, parse_moment, parse_rfc3339, rfc3339

NOW = parse_rfc3339("2026-11-23T07:00:30.500Z")
MINUTE = 60_000_000


@given(st.integers(0, 253_402_300_799_000))
def test_what_is_written_is_read_again(at_ms: int) -> None:
    assert parse_rfc3339(rfc3339(at_ms * 1000)) == at_ms * 1000


@given(st.text(max_size=40) | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", fullmatch=True))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    try:
        at_us = parse_moment(text, NOW)
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
    assert parse_moment(text, NOW) == at_us


@pytest.mark.parametrize(
    "text", ["", "2026-11-23", "2026-11-23T07:00:00", "2026-02-30T00:00:00Z", "24:00", "10m", "-1y"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time like"):
        parse_moment(text, NOW)


def test_a_leap_second_is_the_first_of_the_next_day() -> None:
    midnight = parse_rfc3339("2017-01-01T00:00:00Z")
    assert parse_rfc3339("2016-12-31T23:59:60Z") == parse_rfc3339("2017-01-01T08:59:60+09:00") == midnight
    assert parse_rfc3339("2016-12-31T23:59:60.5Z") == midnight + 500_000
    with pytest.raises(ValueError, match="leap seconds are at the end of a day"):
        parse_rfc3339("2016-12-31T12:00:60Z")


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2028-02-29", "2036-02-07"])
def test_a_clock_time_on_a_command_line_is_utc_also_when_summer_time_begins_or_ends(day: str) -> None:
    now = parse_rfc3339(f"{day}T02:30:00Z")
    assert now - parse_moment("02:00", now) == 30 * MINUTE
    assert now - parse_moment("23:59:59", now) == 150 * MINUTE + 1_000_000


def test_a_time_of_others_is_days_and_offsets_away() -> None:
    assert rfc3339(parse_rfc3339("2026-11-23T00:30:00+01:00")) == "2026-11-22T23:30:00.000Z"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("1.5m", 90), ("1h30m", 5400), ("1h 30m", 5400), (" 2w ", 1_209_600)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("2.5M", 2_500_000),
        ("800k", 800_000),
        ("800K", 800_000),
        ("64000", 64_000),
        ("1 Gbit/s", 10**9),
        ("9kbps", 9000),
    ],
)
def test_bit_rates_are_read(text: str, bits: int) -> None:
    assert parse_bit_rate(text) == bits


@pytest.mark.parametrize("text", ["fast", "", "M", "infM", "1e999", "-1k", "2.5m"])
def test_other_texts_are_not_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="800k"):
        parse_bit_rate(text)
    with pytest.raises(ValueError, match="90s"):
        parse_duration(text.replace("m", "x"))
