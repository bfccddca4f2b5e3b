"""Text and numbers: durations, bit rates and moments as people and programs write them.

Owns the conversion in both directions: seconds, bit/s, RFC 3339 and NTP times. Never reads a clock: now is an argument.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import Final

_NUMBER: Final = r"(\d+(?:\.\d+)?)"
_UNIT_S: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(rf"(?:{_NUMBER}(?:ms|[smhdw])\s*)+")
_DURATION_PART: Final = re.compile(rf"{_NUMBER}(ms|[smhdw])")
_UNIT_BPS: Final = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000}
_BIT_RATE: Final = re.compile(rf"{_NUMBER}\s*([kKMG]?)(?:bit/s|bps)?")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_DAY_US: Final = 86_400_000_000
_FIRST_US: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _US
_LAST_US: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _US
_NTP_EPOCH_S: Final = 2_208_988_800
"""Seconds from 1900, where NTP begins, to 1970."""
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", re.ASCII)
_AGO: Final = re.compile(r"-(\d{1,5})([smhd])", re.ASCII)


def parse_duration(text: str) -> float:
    """Returns the seconds of a duration such as `500ms` or `1h30m`. Raises ValueError if it is not one."""
    text = text.strip()
    if _DURATION.fullmatch(text) is None:
        raise ValueError("a duration looks like 500ms, 90s, 10m, 1h30m or 30d")
    return sum(float(number) * _UNIT_S[unit] for number, unit in _DURATION_PART.findall(text))


def parse_bit_rate(text: str) -> int:
    """Returns the bit/s of a bit rate such as `800k`, `2.5M` or `64000 bit/s`. Raises ValueError if it is not one."""
    match = _BIT_RATE.fullmatch(text.strip())
    if match is None:
        raise ValueError("a bit rate looks like 800k or 2.5M")
    return int(float(match[1]) * _UNIT_BPS[match[2]])


def rfc3339(at_us: int) -> str:
    """Returns a moment as `2026-11-23T07:00:00.000Z`, cut off to milliseconds.

    `at_us`: microseconds since 1970, as everywhere in this module.
    """
    at = _EPOCH + timedelta(microseconds=at_us)
    return f"{at.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def parse_rfc3339(text: str) -> int:
    """Returns the moment that RFC 3339 section 5.6 writes so, in microseconds since 1970.

    Raises ValueError if the text is anything else; seconds and an offset from UTC are required.
    """
    if _RFC3339.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a time like 2026-11-23T07:00:00Z")
    leaps = text[17:19] == "60"  # a leap second, which our clocks count as the first second of the next day
    usual = f"{text[:17]}59{text[19:]}" if leaps else text
    at_us = (datetime.fromisoformat(usual.upper()) - _EPOCH) // _US + leaps * 1_000_000
    if leaps and at_us % _DAY_US >= 1_000_000:
        raise ValueError(f"{text!r} is not a time: leap seconds are at the end of a day in UTC")
    if not _FIRST_US <= at_us <= _LAST_US:  # an offset from UTC can lead out of what a calendar has
        raise ValueError(f"{text!r} is outside of the years 1 to 9999 in UTC")
    return at_us


def parse_moment(text: str, now_us: int) -> int:
    """Returns the moment meant on a command line, in microseconds since 1970. Raises ValueError if it is none.

    Takes RFC 3339, `now`, `-10m` (s, m, h, d before now) and `07:30[:15]`, the last time UTC clocks showed it.
    """
    if text == "now":
        return now_us
    if ago := _AGO.fullmatch(text):
        return now_us - int(ago[1]) * int(_UNIT_S[ago[2]]) * 1_000_000
    if clock := _CLOCK.fullmatch(text):
        shown = time(int(clock[1]), int(clock[2]), int(clock[3] or 0), tzinfo=UTC)
        today = (_EPOCH + timedelta(microseconds=now_us)).date()
        at_us = (datetime.combine(today, shown) - _EPOCH) // _US
        return at_us if at_us <= now_us else at_us - _DAY_US
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time like 2026-11-23T07:00:00Z, 07:00, -10m or now") from None


def ntp_time(at_s: float) -> int:
    """Returns a 64-bit NTP time (RFC 3550 section 4): 32 bits of seconds since 1900, 32 bits of fraction.

    `at_s`: seconds since 1970. The seconds wrap in 2036.
    """
    return int((at_s + _NTP_EPOCH_S) * (1 << 32)) & 0xFFFF_FFFF_FFFF_FFFF
