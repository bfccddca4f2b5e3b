"""What there is of a producer's recordings, as values and as the JSON that programs read (CONTRACT, "HTTP").

Owns gaps and the shape of that JSON, the same over HTTP and on the command line. Never looks at a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from recorder.store.index import Span
from sfu.units import rfc3339

MEDIA_TYPES: Final = {".mp4": "video/mp4", ".webm": "video/webm"}
"""Media types by a segment's suffix."""
_SHORTEST_GAP_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Overview:
    """All that is recorded of a producer: UTC days, wall times, and bytes on disk."""

    room: str
    peer: str
    days: tuple[str, ...]
    start_us: int
    end_us: int
    bytes: int
    recording: bool

    def json(self) -> dict[str, Any]:
        """`{"room","peer","days","start","end","bytes","recording"}`."""
        return {
            "room": self.room,
            "peer": self.peer,
            "days": list(self.days),
            "start": rfc3339(self.start_us),
            "end": rfc3339(self.end_us),
            "bytes": self.bytes,
            "recording": self.recording,
        }


@dataclass(frozen=True, slots=True)
class ListedSegment:
    """A segment in a listing."""

    span: Span
    name: str
    """What `Store.find` finds it by."""
    writing: bool
    protected: bool

    def json(self) -> dict[str, Any]:
        """`{"start","end","bytes","protected","writing","type"}`."""
        return {
            "start": rfc3339(self.span.start_us),
            "end": rfc3339(self.span.end_us),
            "bytes": self.span.size,
            "protected": self.protected,
            "writing": self.writing,
            "type": MEDIA_TYPES[self.span.segment.path.suffix],
        }


@dataclass(frozen=True, slots=True)
class Listing:
    """What there is of [start_us, end_us): segments whole, and the gaps between them, as (start, end)."""

    room: str
    peer: str
    start_us: int
    end_us: int
    entries: tuple[ListedSegment, ...]
    gaps: tuple[tuple[int, int], ...]

    def json(self, where: Callable[[ListedSegment], dict[str, str]]) -> dict[str, Any]:
        """`{"room","peer","start","end","segments":[...],"gaps":[...]}`; `where` adds how a segment is reached."""
        return {
            "room": self.room,
            "peer": self.peer,
            "start": rfc3339(self.start_us),
            "end": rfc3339(self.end_us),
            "segments": [entry.json() | where(entry) for entry in self.entries],
            "gaps": [{"start": rfc3339(start), "end": rfc3339(end)} for start, end in self.gaps],
        }


def gaps(spans: Sequence[Span], since_us: int, until_us: int) -> list[tuple[int, int]]:
    """The parts of [since_us, until_us) that no span covers, those shorter than a second left out."""
    found = []
    for span in sorted(spans, key=lambda span: span.start_us):
        start_us = min(span.start_us, until_us)
        if start_us - since_us >= _SHORTEST_GAP_US:
            found.append((since_us, start_us))
        since_us = max(since_us, span.end_us)
    if until_us - since_us >= _SHORTEST_GAP_US:
        found.append((since_us, until_us))
    return found
