"""Playback: what a store's recordings are asked for by time, for whoever shows them.

Owns the answers: who was recorded when, what is there of a span and what is not, playlists, pictures. Never changes a
recording. Every call may take its time and belongs in a thread; several threads may call at once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from recorder.playback import hls, picture
from recorder.playback.export import export
from recorder.playback.listing import ListedSegment, Listing, Overview, gaps
from recorder.segments.files import being_written
from recorder.store.directory import Segment, Store
from recorder.store.index import Index, LayoutCache, Span
from recorder.store.reader import ReadError

_EVER_US: Final = 1 << 62
_SAVE_S: Final = 30.0
_SETTLED_NS: Final = 2 * 86_400_000_000_000  # after its last file came a day's directory has its final size
_WRITTEN_LATELY_NS: Final = 60_000_000_000


@dataclass(frozen=True, slots=True)
class _Day:
    """A producer's recordings that begin on a UTC day: the first and the last ones of them, and bytes in all."""

    date: date
    changed_ns: int
    segments: tuple[Segment, ...]
    bytes: int


class Playback:
    """`recording(room, peer)` tells whether a producer is being recorded now; by default its files do."""

    def __init__(self, store: Store, *, recording: Callable[[str, str], bool] | None = None) -> None:
        self.store = store
        self._recording = recording
        self._layouts = LayoutCache()
        self._days: dict[tuple[str, str, date], _Day] = {}
        self._index = Index(store, self._layouts.of)
        self._indexing = threading.Lock()
        self._saved_at = time.monotonic()

    def overview(self, room: str | None = None) -> list[Overview]:
        """Everyone who was ever recorded, or those in `room` and its sub-rooms; in order."""
        return [found for producer in self.store.producers(room) if (found := self._overview(*producer)) is not None]

    def listing(self, room: str, peer: str, since_us: int | None, until_us: int | None) -> Listing | None:
        """A span of a producer; without an edge from its first moment, or to its last. None if it has none at all."""
        if not self.store.days(room, peer):
            return None
        spans = self._spans(room, peer, since_us or 0, _EVER_US if until_us is None else until_us)
        if since_us is None:
            since_us = spans[0].start_us if spans else 0
        if until_us is None:
            until_us = max([since_us, *(span.end_us for span in spans)])
        entries = [
            ListedSegment(span, self.store.name(span.segment), _writing(span.segment), span.segment.protected)
            for span in spans
        ]
        return Listing(room, peer, since_us, until_us, tuple(entries), tuple(gaps(spans, since_us, until_us)))

    def has(self, room: str, peer: str, since_us: int, until_us: int) -> bool:
        """Whether anything of a producer was recorded in a span."""
        return bool(self._spans(room, peer, since_us, until_us))

    def playlist(
        self,
        room: str,
        peer: str,
        since_us: int,
        until_us: int,
        *,
        url: Callable[[str], str],
        now_us: int,
        webm: bool = False,
    ) -> str | None:
        """An HLS playlist of the fragmented MP4s of a span; `url` makes one of a segment's name. None without any.

        It grows while the producer is recorded and the span has not passed. `webm`: WebM's clusters too, which no
        player of HLS knows, for one that hands them to Media Source Extensions.
        """
        held = {".mp4", ".webm"} if webm else {".mp4"}
        spans = [span for span in self._spans(room, peer, since_us, until_us) if span.segment.path.suffix in held]
        files = [
            hls.HlsFile(
                url(self.store.name(span.segment)),
                span.start_us,
                self._layouts.of(span.segment.path),
                growing=_writing(span.segment),
            )
            for span in spans
        ]
        growing = until_us > now_us and self._is_recorded(room, peer)
        return hls.playlist(files, since_us, until_us, growing=growing)

    def written(self, segment: Segment) -> int | None:
        """Bytes of whole parts in a segment that is being written; None for one that is finished."""
        return self._layouts.of(segment.path).end if _writing(segment) else None

    def thumbnail(self, room: str, peer: str, at_us: int, width: int | None) -> tuple[bytes, bool] | None:
        """JPEG of the key frame at or before a moment, and whether it will stay the same; None in a gap."""
        for span in reversed(self._spans(room, peer, at_us, at_us + 1)):
            with contextlib.suppress(ReadError, picture.PictureError):
                layout = self._layouts.of(span.segment.path)
                found = picture.jpeg_at(span.segment, layout, at_us - span.start_us, width)
                return found, not _writing(span.segment)
        return None

    @contextlib.contextmanager
    def clip(self, room: str, peer: str, since_us: int, until_us: int) -> Iterator[Path]:
        """A clip of the span on the recordings' disk, gone afterwards. ExportError, MuxError, OSError."""
        index = Index(self.store)  # it is at work for long, and the others would wait
        webm = any(span.segment.path.suffix == ".webm" for span in index.spans(room, peer, since_us, until_us))
        with self.store.scratch(".webm" if webm else ".mp4") as path:
            yield export(index, room, peer, since_us=since_us, until_us=until_us, target=path).path

    def _overview(self, room: str, peer: str) -> Overview | None:
        days = [self._day(room, peer, day) for day in self.store.days(room, peer)]
        days = [day for day in days if day.segments]
        last = self._last_span(days)
        if last is None:
            return None
        names = tuple(day.date.isoformat() for day in days)
        size = sum(day.bytes for day in days)
        recorded = self._is_recorded(room, peer)
        return Overview(room, peer, names, days[0].segments[0].start_us, last.end_us, size, recorded)

    def _last_span(self, days: Sequence[_Day]) -> Span | None:
        for segment in (segment for day in reversed(days) for segment in reversed(day.segments)):
            with self._indexing:
                span = self._index.span(segment)
            if span is not None:
                return span
        return None

    def _day(self, room: str, peer: str, day: date) -> _Day:
        """A day to which nothing is written any more is looked at again only when a file has come or gone."""
        try:
            changed_ns = self.store.directory_of(room, peer, day).stat().st_mtime_ns
        except OSError:
            return _Day(day, 0, (), 0)
        known = self._days.get((room, peer, day))
        if known is not None and known.changed_ns == changed_ns < time.time_ns() - _SETTLED_NS:
            return known
        edges, size = self.store.summary(room, peer, day)
        found = _Day(day, changed_ns, tuple(edges), size)
        self._days[room, peer, day] = found
        return found

    def _is_recorded(self, room: str, peer: str) -> bool:
        if self._recording is not None:
            return self._recording(room, peer)
        last = self.store.segments(room, peer, _EVER_US, _EVER_US)[-1:]
        return any(map(_writing, last))

    def _spans(self, room: str, peer: str, since_us: int, until_us: int) -> list[Span]:
        with self._indexing:
            spans = self._index.spans(room, peer, since_us, until_us)
            if time.monotonic() - self._saved_at > _SAVE_S:
                self._index.save()
                self._saved_at = time.monotonic()
        return spans


def _writing(segment: Segment) -> bool:
    """Whether it still grows. Only what changed lately is asked: for a moment asking keeps repair and clean-up away."""
    try:
        lately = time.time_ns() - segment.path.stat().st_mtime_ns < _WRITTEN_LATELY_NS
        return lately and being_written(segment.path)
    except OSError:
        return False
