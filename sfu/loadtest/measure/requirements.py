"""Requirements on a load test, as text: `delivered>=0.995,p99<50ms`.

Owns the parser and the comparison with figures. Pure.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

FIGURES: Mapping[str, tuple[str, str]] = {
    "delivered": ("share of the cameras' packets that viewers received", ""),
    "joined": ("share of the viewers that connected", ""),
    "failed": ("viewers that did not connect", ""),
    "lost": ("packets missing by sequence number", ""),
    "reordered": ("packets that arrived after later ones", ""),
    "duplicated": ("packets that arrived twice", ""),
    "corrupt": ("sampled packets that could not be decrypted or differ from the sent ones", ""),
    "p50": ("median latency of packets", "ms"),
    "p99": ("99th percentile of packet latency", "ms"),
    "max": ("longest packet latency", "ms"),
    "join_p50": ("median time from offer to connected", "ms"),
    "join_p95": ("95th percentile of the time from offer to connected", "ms"),
    "first_p50": ("median time from offer to first packet", "ms"),
    "first_p95": ("95th percentile of the time from offer to first packet", "ms"),
    "cpu": ("the server's CPU in % of one core", "%"),
    "us_per_packet": ("the server's CPU time per forwarded packet", "us"),
    "rss": ("the server's memory", "MB"),
}
"""Figures that can be required: meaning and unit by name."""

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}
_ALIASES = {"=": "=="}
_SCALES: Mapping[str, Mapping[str, float]] = {
    "ms": {"": 1.0, "ms": 1.0, "us": 0.001, "s": 1000.0},
    "us": {"": 1.0, "us": 1.0, "ms": 1000.0},
    "MB": {"": 1.0, "mb": 1.0, "kb": 0.001, "gb": 1000.0},
    "%": {"": 1.0, "%": 1.0},
    "": {"": 1.0, "%": 0.01},
}
_CLAUSE = re.compile(r"\s*([a-z]\w*)\s*(>=|<=|==|=|>|<)\s*(\d+(?:\.\d+)?)\s*([A-Za-z%]*)\s*")


class RequirementError(ValueError):
    """A requirement is invalid. The message is for users."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement. `bound` is in the figure's own unit; `text` is the user's own text."""

    name: str
    comparison: str
    bound: float
    text: str

    def met(self, value: float | None) -> bool:
        """Returns True if a figure meets the requirement; False if it was not measured."""
        return value is not None and _COMPARISONS[self.comparison](value, self.bound)


def parse(text: str) -> tuple[Requirement, ...]:
    """Returns the requirements of a text, separated by commas. Raises RequirementError if one is invalid."""
    return tuple(_clause(clause) for clause in text.split(",") if clause.strip()) or _nothing(text)


def missed(requirements: tuple[Requirement, ...], figures: Mapping[str, float | None]) -> list[str]:
    """Returns each requirement that is not met, as text, with the measured figure."""
    return [
        f"{requirement.text}: {_shown(requirement.name, figures.get(requirement.name))}"
        for requirement in requirements
        if not requirement.met(figures.get(requirement.name))
    ]


def _clause(text: str) -> Requirement:
    match = _CLAUSE.fullmatch(text)
    if match is None:
        raise RequirementError(f"{text.strip()!r}: a requirement looks like delivered>=0.995 or p99<50ms")
    name, comparison, number, unit = match.groups()
    if name not in FIGURES:
        raise RequirementError(f"{name!r} is no figure; figures are: {', '.join(FIGURES)}")
    scale = _SCALES[FIGURES[name][1]].get(unit.lower())
    if scale is None:
        raise RequirementError(f"{text.strip()!r}: {name} has no unit {unit!r}")
    return Requirement(name, _ALIASES.get(comparison, comparison), float(number) * scale, text.strip())


def _nothing(text: str) -> tuple[Requirement, ...]:
    raise RequirementError(f"{text!r} contains no requirement")


def _shown(name: str, value: float | None) -> str:
    return "not measured" if value is None else f"{value:.6g} {FIGURES[name][1]}".rstrip()
