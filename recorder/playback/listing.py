"""Lists of a producer's recordings, as values and as JSON (docs/openapi.yaml).

Owns the computation of gaps and the shape of that JSON, the same over HTTP and on the command line. Never looks at a
file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from recorder.store.index import Span
from sfu.units import rfc3339

MEDIA_TYPES: Final = {".mp4": "video/mp4", ".webm": "video/webm"}
"""The media type of a segment, by the suffix of its file."""
_MIN_GAP_US: Final = 1_000_000
"""A shorter hole is a cut between two segments, not a gap."""


@dataclass(frozen=True, slots=True)
class Overview:
    """A summary of all recordings of a producer: UTC days, first and last wall time, and bytes on disk.

    `recording`: True while the producer is being recorded.
    """

    room: str
    peer: str
    days: tuple[str, ...]
    start_us: int
    end_us: int
    bytes: int
    recording: bool

    def json(self) -> dict[str, Any]:
        """Returns `{"room","peer","days","start","end","bytes","recording"}`."""
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
    """A segment in a listing. `writing`: True while it is being written."""

    span: Span
    name: str
    """The name that `Store.find` takes."""
    writing: bool
    protected: bool

    def json(self) -> dict[str, Any]:
        """Returns `{"start","end","bytes","protected","writing","type"}`."""
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
    """The recordings of a producer in [start_us, end_us): whole segments, and the gaps between as (start, end)."""

    room: str
    peer: str
    start_us: int
    end_us: int
    entries: tuple[ListedSegment, ...]
    gaps: tuple[tuple[int, int], ...]

    def json(self, where: Callable[[ListedSegment], dict[str, str]]) -> dict[str, Any]:
        """Returns `{"room","peer","start","end","segments":[...],"gaps":[...]}`.

        `where` returns the fields that say how a segment is reached, such as its URL or path.
        """
        return {
            "room": self.room,
            "peer": self.peer,
            "start": rfc3339(self.start_us),
            "end": rfc3339(self.end_us),
            "segments": [entry.json() | where(entry) for entry in self.entries],
            "gaps": [{"start": rfc3339(start), "end": rfc3339(end)} for start, end in self.gaps],
        }


def gaps(spans: Sequence[Span], since_us: int, until_us: int) -> list[tuple[int, int]]:
    """Returns the gaps of a second or more in [since_us, until_us), as (start, end): no span covers them."""
    found = []
    for span in sorted(spans, key=lambda span: span.start_us):
        start_us = min(span.start_us, until_us)
        if start_us - since_us >= _MIN_GAP_US:
            found.append((since_us, start_us))
        since_us = max(since_us, span.end_us)
    if until_us - since_us >= _MIN_GAP_US:
        found.append((since_us, until_us))
    return found
