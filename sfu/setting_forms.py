"""The forms in which settings are written: lists, tables, bit rates and durations as one line of text.

Owns these types for `sfu.settings`. Knows no setting.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from sfu.units import parse_bit_rate, parse_duration


def _split(value: object) -> object:
    """Returns a list: `a, b` and `["a", "b"]` mean the same."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    return json.loads(text) if text.startswith("[") else [part.strip() for part in text.split(",") if part.strip()]


def table(value: object) -> object:
    """Returns a table, which in the environment is JSON or `key=value,key=value`."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("{"):
        return json.loads(text)
    return dict(part.split("=", 1) for part in text.split(",") if part.strip())


def _bit_rate(value: object) -> object:
    """Returns bit/s: `2.5M` and 2500000 mean the same."""
    return parse_bit_rate(value) if isinstance(value, str) else value


def _bit_rates(value: object) -> object:
    """Returns (least, most) bit/s of `300k-2M`; the least of `2M` is 0."""
    if not isinstance(value, str):
        return (0, value) if isinstance(value, int) else value
    least, dash, most = value.partition("-")
    return (parse_bit_rate(least), parse_bit_rate(most)) if dash else (0, parse_bit_rate(least))


def _in_order(rates: tuple[int, int]) -> tuple[int, int]:
    if rates[0] > rates[1]:
        raise ValueError("the lower bit rate comes first, e.g. 300k-2M")
    return rates


def _seconds(value: object) -> object:
    """Returns seconds: `1h30m` and 5400 mean the same."""
    return parse_duration(value) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Bitrate = Annotated[int, BeforeValidator(_bit_rate)]
BitrateRange = Annotated[tuple[int, int], BeforeValidator(_bit_rates), AfterValidator(_in_order)]
RoomBitrateRanges = Annotated[dict[str, BitrateRange], NoDecode, BeforeValidator(table)]
Seconds = Annotated[float, BeforeValidator(_seconds)]


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


OptionalPath = Annotated[Path | None, BeforeValidator(_none_if_empty)]


def file_text(value: object) -> object:
    """Returns the first line of a file for `@file`, and any other value as it is. Raises ValueError."""
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    try:
        lines = Path(value[1:]).read_text(encoding="utf-8").strip().splitlines()
    except (OSError, UnicodeError) as error:
        raise ValueError(f"cannot read {value[1:]}: {getattr(error, 'strerror', None) or error}") from None
    if not lines:
        raise ValueError(f"{value[1:]} is empty")
    return lines[0]


Text = Annotated[str, BeforeValidator(file_text)]
