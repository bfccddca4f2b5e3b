"""Queries about a store's recordings by room, producer and time, for HTTP and the command line.

Owns the answers: overviews, listings with gaps, playlists, thumbnails and clips, and the caches behind them. Never
changes a recording. Calls are slow (they read the disk): call them in threads, several at once if needed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from recorder.playback import hls, picture
from recorder.playback.export import export, needed_bytes
from recorder.playback.listing import ListedSegment, Listing, Overview, gaps
from recorder.playback.log_once import LogOnce
from recorder.playback.picture_size import PictureError
from recorder.playback.space import Space
from recorder.segments.files import being_written
from recorder.store.directory import Segment, Store
from recorder.store.index import Index, LayoutCache, Span
from recorder.store.reader import ReadError

_log = logging.getLogger(__name__)

_END_OF_TIME_US: Final = 1 << 62
_SAVE_INTERVAL_S: Final = 30.0
"""The least time between two writes of the index."""
_SETTLED_NS: Final = 2 * 86_400_000_000_000
"""A day's directory has its final size when no file has come or gone for this time."""
_RECENT_NS: Final = 60_000_000_000
"""A file that was not modified for this time counts as finished, without a test of its lock."""


@dataclass(frozen=True, slots=True)
class _Day:
    """A summary of a producer's recordings that begin on one UTC day: the first, the last two, and all bytes."""

    date: date
    changed_ns: int
    segments: tuple[Segment, ...]
    bytes: int


class Playback:
    """The queries about one store.

    `recording(room, peer)` returns True while a producer is being recorded; without it, locks on its files are used.
    """

    def __init__(self, store: Store, *, recording: Callable[[str, str], bool] | None = None) -> None:
        self.store = store
        self._recording = recording
        self._layouts = LayoutCache(store.faults)
        self._days: dict[tuple[str, str, date], _Day] = {}
        self._index = Index(store, self._layouts.of)
        self._indexing = threading.Lock()
        self._saved_at = time.monotonic()
        self._logged = LogOnce()

    def overview(self, room: str | None = None) -> list[Overview]:
        """Returns a summary of each producer recorded in `room` and its sub-rooms (None: in any room), sorted."""
        found = []
        for name, peer in self.store.producers(room):
            try:
                found.append(self._overview(name, peer))
            except Exception as error:  # noqa: BLE001  # one producer's files cost nobody the list of the others
                self.store.faults.note(self.store.directory / name / peer, error)
        return [overview for overview in found if overview is not None]

    def listing(self, room: str, peer: str, since_us: int | None, until_us: int | None) -> Listing | None:
        """Returns the recordings of a producer in [since_us, until_us); None if it was never recorded.

        None as `since_us` or `until_us` means its first or last recorded moment.
        """
        if not self.store.days(room, peer):
            return None
        spans = self._spans(room, peer, since_us or 0, _END_OF_TIME_US if until_us is None else until_us)
        if since_us is None:
            since_us = spans[0].start_us if spans else 0
        if until_us is None:
            until_us = max([since_us, *(span.end_us for span in spans)])
        entries = [
            ListedSegment(span, self.store.name(span.segment), _is_growing(span.segment), span.segment.protected)
            for span in spans
        ]
        return Listing(room, peer, since_us, until_us, tuple(entries), tuple(gaps(spans, since_us, until_us)))

    def has(self, room: str, peer: str, since_us: int, until_us: int) -> bool:
        """Returns True if anything of a producer was recorded in [since_us, until_us)."""
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
        """Returns an HLS playlist of the fragmented MP4 files in [since_us, until_us); None if there are none.

        `url` returns the URL for a segment's name. The playlist grows while the producer is recorded and `until_us` is
        in the future. `webm` includes WebM files too: no HLS player takes them, but Media Source Extensions do.
        """
        suffixes = {".mp4", ".webm"} if webm else {".mp4"}
        spans = [span for span in self._spans(room, peer, since_us, until_us) if span.segment.path.suffix in suffixes]
        files = [
            hls.HlsFile(
                url(self.store.name(span.segment)),
                span.start_us,
                self._layouts.of(span.segment.path),
                growing=_is_growing(span.segment),
            )
            for span in spans
        ]
        growing = until_us > now_us and self._is_recorded(room, peer)
        return hls.playlist(files, since_us, until_us, growing=growing)

    def whole_bytes(self, segment: Segment) -> int | None:
        """Returns the bytes up to the last whole part of a segment that is being written; None if it is finished."""
        return self._layouts.of(segment.path).end if _is_growing(segment) else None

    def thumbnail(self, room: str, peer: str, at_us: int, width: int | None) -> tuple[bytes, bool] | None:
        """Returns the JPEG of the key frame at or before a moment; None in a gap.

        The second value is True if the answer is final, because its segment is finished.
        """
        for span in reversed(self._spans(room, peer, at_us, at_us + 1)):
            layout = self._layouts.of(span.segment.path)
            try:
                jpeg = picture.jpeg_at(span.segment, layout, at_us - span.start_us, width)
            except ReadError:  # deleted meanwhile
                continue
            except PictureError as error:
                if self._logged.is_new((room, peer)):
                    _log.warning("no picture of %s/%s: %s", room, peer, error)
                continue
            except Exception as error:  # noqa: BLE001  # another file may have this moment too
                self.store.faults.note(span.segment.path, error)
                continue
            return jpeg, not _is_growing(span.segment)
        return None

    def check_clip(self, room: str, peer: str, since_us: int, until_us: int, space: Space) -> bool:
        """Returns True if anything was recorded in [since_us, until_us). Raises NoSpaceError if a clip does not fit."""
        spans = self._spans(room, peer, since_us, until_us)
        space.check(needed_bytes(spans, since_us, until_us))
        return bool(spans)

    def write_clip(
        self, path: Path, room: str, peer: str, since_us: int, until_us: int, *, space: Space | None = None
    ) -> str:
        """Copies [since_us, until_us) to the file at `path`. Returns the suffix of the form that it has.

        Raises ExportError, NoSpaceError, MuxError or OSError if there is no clip; the file is deleted then.
        """
        index = Index(self.store)  # one of its own: the shared one would be locked for the whole copy
        clip = export(index, room, peer, since_us=since_us, until_us=until_us, target=path, rename=False, space=space)
        return clip.suffix

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
        """Returns the summary of a day. That of a settled day is read again only if a file has come or gone."""
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
        last = self.store.segments(room, peer, _END_OF_TIME_US, _END_OF_TIME_US)[-1:]
        return any(map(_is_growing, last))

    def _spans(self, room: str, peer: str, since_us: int, until_us: int) -> list[Span]:
        with self._indexing:
            spans = self._index.spans(room, peer, since_us, until_us)
            if time.monotonic() - self._saved_at > _SAVE_INTERVAL_S:
                self._index.save()
                self._saved_at = time.monotonic()
        return spans


def _is_growing(segment: Segment) -> bool:
    """Returns True if a segment is being written.

    Tests the lock of recently modified files only, since the test itself locks the file against repair and clean-up
    for a moment.
    """
    try:
        recent = time.time_ns() - segment.path.stat().st_mtime_ns < _RECENT_NS
        return recent and being_written(segment.path)
    except OSError:
        return False
