"""Playback: what a store's recordings are asked for by time, for whoever shows them.

Owns the answers: who was recorded when, what is there of a span and what is not, playlists, pictures. Never changes a
recording. Every call may take its time and belongs in a thread; several threads may call at once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Final

from recorder import hls, picture
from recorder.export import export, scratch
from recorder.files import being_written
from recorder.index import Index, Span
from recorder.layouts import Layouts
from recorder.listing import Entry, Listing, Overview, gaps
from recorder.reader import ReadError
from recorder.store import Segment, Store

_EVER_US: Final = 1 << 62
_SAVE_S: Final = 30.0
_WRITTEN_LATELY_NS: Final = 60_000_000_000


class Playback:
    """`recording(room, peer)` tells whether a producer is being recorded now; by default its files do."""

    def __init__(self, store: Store, *, recording: Callable[[str, str], bool] | None = None) -> None:
        self.store = store
        self._recording = recording
        self._layouts = Layouts()
        self._sizes: dict[tuple[str, str, date], tuple[int, int]] = {}
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
            Entry(span, self.store.name(span.segment), is_writing(span.segment), span.segment.protected)
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
            hls.File(
                url(self.store.name(span.segment)),
                span.start_us,
                self._layouts.of(span.segment.path),
                growing=is_writing(span.segment),
            )
            for span in spans
        ]
        growing = until_us > now_us and self._is_recorded(room, peer)
        return hls.playlist(files, since_us, until_us, growing=growing)

    def thumbnail(self, room: str, peer: str, at_us: int, width: int | None) -> tuple[bytes, bool] | None:
        """JPEG of the key frame at or before a moment, and whether it will stay the same; None in a gap."""
        for span in reversed(self._spans(room, peer, at_us, at_us + 1)):
            with contextlib.suppress(ReadError, picture.PictureError):
                layout = self._layouts.of(span.segment.path)
                found = picture.jpeg_at(span.segment, layout, at_us - span.start_us, width)
                return found, not is_writing(span.segment)
        return None

    @contextlib.contextmanager
    def clip(self, room: str, peer: str, since_us: int, until_us: int) -> Iterator[Path]:
        """A clip of the span on the recordings' disk, gone afterwards. ExportError, MuxError, OSError."""
        index = Index(self.store)  # it is at work for long, and the others would wait
        webm = any(span.segment.path.suffix == ".webm" for span in index.spans(room, peer, since_us, until_us))
        with scratch(self.store, ".webm" if webm else ".mp4") as path:
            yield export(index, room, peer, since_us=since_us, until_us=until_us, target=path).path

    def _overview(self, room: str, peer: str) -> Overview | None:
        days = self.store.days(room, peer)
        first = next((segments[0] for day in days if (segments := self.store.of_day(room, peer, day))), None)
        last = self._last_span(room, peer, days)
        if first is None or last is None:
            return None
        names = tuple(day.isoformat() for day in days)
        size = sum(self._bytes(room, peer, day, settled=day not in days[-2:]) for day in days)
        return Overview(room, peer, names, first.start_us, last.end_us, size, self._is_recorded(room, peer))

    def _last_span(self, room: str, peer: str, days: Sequence[date]) -> Span | None:
        for day in reversed(days):
            for segment in reversed(self.store.of_day(room, peer, day)):
                with self._indexing:
                    span = self._index.span(segment)
                if span is not None:
                    return span
        return None

    def _bytes(self, room: str, peer: str, day: date, *, settled: bool) -> int:
        """On disk of a day; if nothing is written to it any more, counted again only when a file has come or gone."""
        try:
            changed_ns = self.store.directory_of(room, peer, day).stat().st_mtime_ns
        except OSError:
            return 0
        known = self._sizes.get((room, peer, day))
        if settled and known is not None and known[0] == changed_ns:
            return known[1]
        size = sum(map(_size, self.store.of_day(room, peer, day)))
        self._sizes[room, peer, day] = (changed_ns, size)
        return size

    def _is_recorded(self, room: str, peer: str) -> bool:
        if self._recording is not None:
            return self._recording(room, peer)
        last = self.store.segments(room, peer, _EVER_US, _EVER_US)[-1:]
        return any(map(is_writing, last))

    def _spans(self, room: str, peer: str, since_us: int, until_us: int) -> list[Span]:
        with self._indexing:
            spans = self._index.spans(room, peer, since_us, until_us)
            if time.monotonic() - self._saved_at > _SAVE_S:
                self._index.save()
                self._saved_at = time.monotonic()
        return spans


def is_writing(segment: Segment) -> bool:
    """Whether it still grows. Only what changed lately is asked: for a moment asking keeps repair and clean-up away."""
    try:
        lately = time.time_ns() - segment.path.stat().st_mtime_ns < _WRITTEN_LATELY_NS
        return lately and being_written(segment.path)
    except OSError:
        return False


def _size(segment: Segment) -> int:
    try:
        return segment.path.stat().st_size
    except OSError:
        return 0
