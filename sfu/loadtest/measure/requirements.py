"""What a user demands of a load test, as text: `delivered>=0.995,p99<50ms`. Pure: text and figures in, verdicts out."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

FIGURES: Mapping[str, tuple[str, str]] = {
    "delivered": ("share of the cameras' packets that reached each viewer", ""),
    "joined": ("share of the viewers that connected", ""),
    "failed": ("viewers that did not connect", ""),
    "lost": ("packets missing by sequence number", ""),
    "reordered": ("packets that came late", ""),
    "duplicated": ("packets that came twice", ""),
    "corrupt": ("sampled packets that could not be decrypted, or were not the camera's", ""),
    "p50": ("latency of half the packets", "ms"),
    "p99": ("latency of 99 % of the packets", "ms"),
    "max": ("longest latency", "ms"),
    "join_p50": ("offer sent to connected, half the viewers", "ms"),
    "join_p95": ("offer sent to connected, 95 % of the viewers", "ms"),
    "first_p50": ("offer sent to first packet, half the viewers", "ms"),
    "first_p95": ("offer sent to first packet, 95 % of the viewers", "ms"),
    "cpu": ("server's CPU in % of one core", "%"),
    "us_per_packet": ("server's CPU for each packet forwarded", "us"),
    "rss": ("server's memory", "MB"),
}
"""What can be demanded: its meaning, and its unit."""

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
    """A demand that cannot be understood; the message is for people."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One demand: a figure's name, a comparison, a bound in the figure's own unit, and how the user wrote it."""

    name: str
    comparison: str
    bound: float
    text: str

    def met(self, value: float | None) -> bool:
        """Whether a figure is as demanded; one that could not be measured is not."""
        return value is not None and _COMPARISONS[self.comparison](value, self.bound)


def parse(text: str) -> tuple[Requirement, ...]:
    """Demands, separated by commas. RequirementError for anything else."""
    return tuple(_clause(clause) for clause in text.split(",") if clause.strip()) or _nothing(text)


def missed(requirements: tuple[Requirement, ...], figures: Mapping[str, float | None]) -> list[str]:
    """Each demand that is not met, with what was measured."""
    return [
        f"{requirement.text}: {_shown(requirement.name, figures.get(requirement.name))}"
        for requirement in requirements
        if not requirement.met(figures.get(requirement.name))
    ]


def _clause(text: str) -> Requirement:
    match = _CLAUSE.fullmatch(text)
    if match is None:
        raise RequirementError(f"{text.strip()!r}: looks like delivered>=0.995 or p99<50ms")
    name, comparison, number, unit = match.groups()
    if name not in FIGURES:
        raise RequirementError(f"{name!r} is not measured; these are: {', '.join(FIGURES)}")
    scale = _SCALES[FIGURES[name][1]].get(unit.lower())
    if scale is None:
        raise RequirementError(f"{text.strip()!r}: {name} has no unit {unit!r}")
    return Requirement(name, _ALIASES.get(comparison, comparison), float(number) * scale, text.strip())


def _nothing(text: str) -> tuple[Requirement, ...]:
    raise RequirementError(f"{text!r} demands nothing")


def _shown(name: str, value: float | None) -> str:
    return "not measured" if value is None else f"{value:.6g} {FIGURES[name][1]}".rstrip()
