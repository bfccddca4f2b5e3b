"""The index of a store: when each segment ends and how large it is, without reading any file twice.

Owns `.index.json`, one in each day's directory, and the cache of file layouts. The index may be lost, stale or
unwritable at any time: an entry counts only while its file still has the size and modification time noted in it. Never
holds anything that cannot be read from the files again.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from recorder.store import mp4, webm
from recorder.store.access import create
from recorder.store.directory import INDEX, Segment, Store
from recorder.store.faults import Faults
from recorder.store.file_layout import LOST, MAX_FILE_US, FileLayout, ReadBytes

_Entries = dict[str, list[int]]
"""Whole files by name: [size in bytes, modification time in ns, duration in us]."""
_MAX_LAYOUTS: Final = 160
"""Files whose layouts are kept in memory; about 150 KB for each file of ten minutes."""
_LONGEST_OVERLAP_US: Final = 2 * 3600 * 1_000_000
"""Segments overlap where the clock was set back: those that begin this long before a moment are asked for their end."""
_SHORTEST_OVERLAP_US: Final = 200_000
"""A shorter overlap is sound that runs on past the cut."""
_MAX_INDEX_BYTES: Final = 32 * 1024 * 1024
"""A larger index is not one of ours: a day of files of a second each has 5 MB."""


@dataclass(frozen=True, slots=True)
class Span:
    """A segment with the wall time at which it ends, and its size in bytes."""

    segment: Segment
    end_us: int
    size: int

    @property
    def start_us(self) -> int:
        """Wall time of its first unit, in microseconds since 1970."""
        return self.segment.start_us


def layout_of(path: Path, faults: Faults | None = None) -> FileLayout:
    """Returns the layout of a file; LOST if it is gone, no recording, or unreadable, which `faults` notes."""
    try:
        with path.open("rb") as file:
            return layout_in(file, path.suffix)
    except Exception as error:  # noqa: BLE001  # one file costs nobody the others
        if faults is not None:
            faults.note(path, error)
        return LOST


def layout_in(file: BinaryIO, suffix: str, known: FileLayout = LOST) -> FileLayout:
    """Returns the layout of an open file, parsed by the suffix of its name.

    `known`: its layout when it was shorter; only what was added since is read.
    """
    parse: Callable[[ReadBytes, int, FileLayout], FileLayout] = webm.layout if suffix == ".webm" else mp4.layout

    def read(offset: int, size: int) -> bytes:
        return os.pread(file.fileno(), size, offset)

    return parse(read, os.fstat(file.fileno()).st_size, known)


class Index:
    """The spans of a store's segments.

    Used by one thread at a time; several processes may share the directory. `layout_of` replaces the function of this
    module, for example by `LayoutCache.of`.
    """

    def __init__(self, store: Store, layout_of: Callable[[Path], FileLayout] | None = None) -> None:
        self._store = store
        self._layout_of = layout_of
        self._days: dict[Path, _Entries] = {}
        self._changed: set[Path] = set()

    def spans(self, room: str, peer: str, since_us: int, until_us: int) -> list[Span]:
        """Returns the spans of a producer that overlap [since_us, until_us), in order and uncut.

        Opens only files that are new or have changed since the last call.
        """
        if since_us >= until_us:
            return []
        segments = self._store.segments(room, peer, since_us - _LONGEST_OVERLAP_US, until_us)
        last_us = max((segment.start_us for segment in segments if segment.start_us <= since_us), default=since_us)
        spans = [span for segment in segments if (span := self.span(segment)) is not None]
        return [
            span for span in spans if span.end_us > since_us + (0 if span.start_us >= last_us else _SHORTEST_OVERLAP_US)
        ]

    def span(self, segment: Segment) -> Span | None:
        """Returns the span of a segment; None if its file is gone or nothing in it plays."""
        path = segment.path
        try:
            status = path.stat()
        except OSError as error:
            self._store.faults.note(path, error)
            return None
        duration_us = self._known(segment, status)
        if duration_us is None:
            layout = self._layout(path)
            duration_us = layout.duration_us
            if layout.finished:  # others may grow, or wait for repair
                self._note(path, status, layout)
        return Span(segment, segment.start_us + duration_us, status.st_size) if duration_us else None

    def note_whole(self, segment: Segment) -> None:
        """Takes note that a file will not grow any more, though it may never have been closed: repair has seen it."""
        with contextlib.suppress(OSError):
            self._note(segment.path, segment.path.stat(), self._layout(segment.path))

    def known_whole(self, segment: Segment) -> bool:
        """Returns True if the file has not changed since it was found to be whole."""
        try:
            return self._known(segment, segment.path.stat()) is not None
        except OSError:
            return False

    def save(self) -> None:
        """Writes the changed indexes. A directory that is gone or cannot be written keeps its old one."""
        for day in self._changed:
            present = {name: entry for name, entry in self._days[day].items() if os.path.lexists(day / name)}
            scratch = day / f"{INDEX}.{os.getpid()}"
            with contextlib.suppress(OSError):
                with create(scratch) as file:
                    file.write(json.dumps(present).encode())
                scratch.replace(day / INDEX)
            self._days[day] = present
        self._changed.clear()

    def _layout(self, path: Path) -> FileLayout:
        return layout_of(path, self._store.faults) if self._layout_of is None else self._layout_of(path)

    def _note(self, path: Path, status: os.stat_result, layout: FileLayout) -> None:
        if layout.duration_us and layout.end == status.st_size:
            self._entries(path.parent)[path.name] = [status.st_size, status.st_mtime_ns, layout.duration_us]
            self._changed.add(path.parent)

    def _known(self, segment: Segment, status: os.stat_result) -> int | None:
        entry = self._entries(segment.path.parent).get(segment.path.name)
        return entry[2] if entry is not None and entry[:2] == [status.st_size, status.st_mtime_ns] else None

    def _entries(self, day: Path) -> _Entries:
        if day not in self._days:
            self._days[day] = _loaded(day / INDEX)
        return self._days[day]


def _loaded(path: Path) -> _Entries:
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_INDEX_BYTES:
            return {}
        entries = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(entries, dict):
        return {}
    return {name: entry for name, entry in entries.items() if _plausible(entry)}


def _plausible(entry: object) -> bool:
    """True if an entry has the form of ours, and a duration that a file can have."""
    if not isinstance(entry, list) or len(entry) != 3 or any(type(value) is not int for value in entry):
        return False
    return 0 < int(entry[2]) <= MAX_FILE_US


@dataclass(frozen=True, slots=True)
class _CachedLayout:
    """A layout, and the file as it was when that was read."""

    inode: int
    size: int
    changed_ns: int
    layout: FileLayout


class LayoutCache:
    """The layouts of the `capacity` files used last. Safe for several threads. `faults` notes unreadable ones."""

    def __init__(self, faults: Faults | None = None, *, capacity: int = _MAX_LAYOUTS) -> None:
        self._faults = faults or Faults()
        self._capacity = capacity
        self._known: OrderedDict[Path, _CachedLayout] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, path: Path) -> FileLayout:
        """Returns the layout of a file, as `layout_of` does; of a file that grew, only the new parts are read."""
        with self._lock:
            known = self._known.get(path)
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if known is not None and known.inode == status.st_ino:
                    if (known.size, known.changed_ns) == (status.st_size, status.st_mtime_ns):
                        return known.layout
                    grown = known.layout if known.layout.end and known.size <= status.st_size else LOST
                else:
                    grown = LOST
                layout = layout_in(file, path.suffix, grown)
        except Exception as error:  # noqa: BLE001  # one file costs nobody the others
            self._faults.note(path, error)
            return LOST
        with self._lock:
            self._known[path] = _CachedLayout(status.st_ino, status.st_size, status.st_mtime_ns, layout)
            self._known.move_to_end(path)
            while len(self._known) > self._capacity:
                self._known.popitem(last=False)
        return layout
