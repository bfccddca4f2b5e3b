"""Wall time as people and programs write it: RFC 3339 in UTC, and what is short enough for a command line.

Owns the way between text and microseconds since 1970. Never asks what time it is: now comes in.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", re.ASCII)
_AGO: Final = re.compile(r"-(\d{1,5})([smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def rfc3339(at_us: int) -> str:
    """`2026-11-23T07:00:00.000Z`: milliseconds, cut off."""
    at = _EPOCH + timedelta(microseconds=at_us)
    return f"{at.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def parse(text: str) -> int:
    """The moment that RFC 3339 writes so (section 5.6; seconds and an offset are part of it). ValueError else."""
    if _RFC3339.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no time like 2026-11-23T07:00:00Z")
    return (datetime.fromisoformat(text.upper()) - _EPOCH) // _US


def parse_near(text: str, now_us: int) -> int:
    """The same, or `now`, `-10m` (s, m, h, d ago), or `07:30[:15]`: the last time that UTC clocks showed it."""
    if text == "now":
        return now_us
    if ago := _AGO.fullmatch(text):
        return now_us - int(ago[1]) * _SECONDS[ago[2]] * 1_000_000
    if clock := _CLOCK.fullmatch(text):
        shown = time(int(clock[1]), int(clock[2]), int(clock[3] or 0), tzinfo=UTC)
        at_us = (datetime.combine(day_of(now_us), shown) - _EPOCH) // _US
        return at_us if at_us <= now_us else at_us - 86_400_000_000
    try:
        return parse(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time like 2026-11-23T07:00:00Z, 07:00, -10m or now") from None


def day_of(at_us: int) -> date:
    """The UTC day of a moment."""
    return (_EPOCH + timedelta(microseconds=at_us)).date()
