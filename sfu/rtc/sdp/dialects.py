"""The lines of SDP text, whatever dialect a peer writes.

Owns the differences between browsers, GStreamer, Pion and embedded senders: capital letters, padding, attributes of the
session that count for each section, lines that are malformed or not needed. Takes time in proportion to the text.
Never decides what is served.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_MEDIA_LINE = re.compile(r"m=([!-~]{1,32}) +([0-9]{1,5})(?:/[0-9]+)? +([!-~]{1,64})((?: +[!-~]{1,64})+) *")

# RFC 8851 section 10, RFC 8853 section 5.1. A longer rid does not fit a one-byte header extension (RFC 8285 section
# 4.2). Rids that are bound to payload types (pt=) are not supported.
_RID = re.compile(r"[A-Za-z0-9_-]{1,16}")
_SIMULCAST = re.compile(r"(?:recv +[!-~]+ +)?send +([!-~]+)(?: +recv +[!-~]+)?")
_MAX_RIDS = 4

Attributes = Mapping[str, Sequence[str]]
"""The values of each attribute, in the order of their lines; names are in lower case."""


@dataclass(frozen=True, slots=True)
class Part:
    """The session part or one section: its first line, and the attributes of all its lines."""

    first: str
    attributes: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MediaLine:
    """The m-line of a section (RFC 8866 section 5.14); `kind` is in lower case."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]

    @property
    def is_rtp(self) -> bool:
        """Returns True if its formats can be RTP payload types."""
        return self.kind in {"audio", "video"}


def parts(lines: Iterable[str]) -> Iterator[Part]:
    """Yields the session part, whose first line is the origin, then each section."""
    part = Part("")
    for line in lines:
        if line.startswith("m="):
            yield part
            part = Part(line)
        elif line.startswith("a="):
            name, _, value = line[2:].partition(":")
            part.attributes.setdefault(name.strip().lower(), []).append(value.strip())
        elif line.startswith("o=") and not part.first:
            part = Part(line, part.attributes)
    yield part


def media_line(text: str) -> MediaLine:
    """Returns the parts of an m-line. Raises ValueError if it is malformed."""
    match = _MEDIA_LINE.fullmatch(text)
    if match is None:
        raise ValueError("malformed m-line")
    return MediaLine(match[1].lower(), int(match[2]), match[3], tuple(match[4].split()))


def matches(pattern: re.Pattern[str], values: Iterable[str]) -> list[re.Match[str]]:
    """Returns the match of each value that has the shape of `pattern`."""
    return [match for value in values if (match := pattern.fullmatch(value))]


def last(pattern: re.Pattern[str], values: Sequence[str]) -> str | None:
    """Returns the last value that has the shape of `pattern`; None if there is none."""
    return next((value for value in reversed(values) if pattern.fullmatch(value)), None)


def rids(attributes: Attributes) -> tuple[str, ...]:
    """Returns the layers that the peer would send, of alternatives the first; empty if any of it is malformed."""
    declared = {name for value in attributes.get("rid", ()) if (name := _sent_rid(value))}
    lists = matches(_SIMULCAST, attributes.get("simulcast", ()))
    layers = lists[0][1].split(";") if lists else [""]
    names = tuple(layer.partition(",")[0].removeprefix("~") for layer in layers)
    if len(set(names)) < len(names) or not declared.issuperset(names):
        return ()
    return names[:_MAX_RIDS]


def _sent_rid(value: str) -> str | None:
    """Returns the name of a layer that the peer would send in any format; None for other values of `rid`."""
    name, _, rest = value.partition(" ")
    direction, _, restrictions = rest.lstrip().partition(" ")
    bound = any(restriction.lstrip().startswith("pt=") for restriction in restrictions.split(";"))
    return name if direction == "send" and not bound and _RID.fullmatch(name) else None
