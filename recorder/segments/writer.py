"""Segments of one producer on their way to the disk: units in, parts appended, synced at an interval.

Owns the open segment: its file, when a part reaches it, and when it is synced. Never decides which units go into it
(`recorder.segments.recording` does), never reads a clock, never runs in the event loop: any call may wait for the disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recorder.segments.files import DiskFile, PartFile, being_written
from recorder.segments.muxer import Muxer
from recorder.segments.outputs import PART_US, MuxError
from recorder.segments.recording import Open, Write
from recorder.store.directory import Segment, Store
from sfu.rtc.sdp.codec import Kind

SYNC_EVERY_S: Final = 5.0
_NEXT_PART_S: Final = PART_US / 1e6 + 0.1
"""Time until the next chance to sync: one part, and the frame that closes it."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A segment that will not grow any more: its end (microseconds of UTC since 1970) and its size in bytes."""

    segment: Segment
    end_us: int
    size: int


@dataclass(frozen=True, slots=True)
class Disk:
    """The place of recordings. `sync_every`: seconds of a recording that a power loss may cost; `create` makes files.

    `has_room`: True if another attempt is worthwhile after the disk was full.
    """

    store: Store
    sync_every: float = SYNC_EVERY_S
    create: Callable[[Path], PartFile] = DiskFile
    has_room: Callable[[], bool] = lambda: True


class SegmentWriter:
    """The writer of one segment. Its file is created with the first whole part: a segment without one leaves no file.

    `sync_every`: seconds of recording that a power loss may cost; 0 syncs each part. `now` is in seconds, from a clock
    that never goes back. An OSError (disk full, directory gone) or MuxError ends the segment: only whole parts are in
    the file; `close` still has to be called.
    """

    def __init__(
        self,
        path: Path,
        muxer: Muxer,
        *,
        create: Callable[[Path], PartFile] = DiskFile,
        sync_every: float = SYNC_EVERY_S,
    ) -> None:
        self.path = path
        self.size = 0
        """Bytes in the file."""
        self.length_us = 0
        """End of the latest unit, in microseconds from the segment's start."""
        self._muxer = muxer
        self._create = create
        self._file: PartFile | None = None
        self._sync_every = sync_every
        self._synced = 0.0
        self._unsynced = False
        self._failed = False

    def write(
        self, kind: Kind, pts_us: int, data: bytes, *, key: bool, now: float, duration_us: int | None = None
    ) -> int:
        """Adds one unit and returns the bytes that were written to the file: 0 unless it closed a part."""
        try:
            parts = self._muxer.write(kind, pts_us, data, key=key, duration_us=duration_us)
            if parts:
                self._append(parts)
                self.sync_if_due(now)
        except BaseException:
            self._failed = True
            raise
        self.length_us = max(self.length_us, pts_us + (duration_us or 0))
        return len(parts)

    def sync_if_due(self, now: float) -> None:
        """Syncs the file if waiting for the next part could cost more than `sync_every`.

        Call it each second too: a silent producer closes no part.
        """
        if self._file is not None and self._unsynced and now - self._synced + _NEXT_PART_S > self._sync_every:
            self._file.sync()
            self._synced = now
            self._unsynced = False

    def close(self) -> None:
        """Writes the last part, syncs and closes the file; idempotent. Raises OSError or MuxError."""
        try:
            rest = self._muxer.close()
            if rest and not self._failed:
                self._append(rest)
            if self._file is not None:
                self._file.sync()
                if self._muxer.ending and not self._failed:  # only now: what it names must be on the disk
                    self._file.replace_start(self._muxer.ending)
                    self._file.sync()
        finally:
            if self._file is not None:
                self._file.close()
            self._file = None

    def _append(self, parts: bytes) -> None:
        if self._file is None:
            self._file = self._create(self.path)
            self._synced = float("-inf")
        self._file.append(parts)
        self.size += len(parts)
        self._unsynced = True


class SegmentFiles:
    """The segments of one producer, one open at a time.

    Every method but `abandon` may raise OSError or MuxError; `abandon` has to be called then.
    """

    def __init__(self, disk: Disk, room: str, peer: str) -> None:
        self.octets = 0
        """Bytes written to files."""
        self._disk = disk
        self._room = room
        self._peer = peer
        self._current: tuple[Segment, SegmentWriter] | None = None

    @property
    def start_us(self) -> int | None:
        """Returns the wall time at which the open segment begins, in microseconds; None if none is open."""
        return None if self._current is None else self._current[0].start_us

    @property
    def written(self) -> bool:
        """True if a part of the open segment is in its file."""
        return self._current is not None and self._current[1].size > 0

    def open(self, action: Open) -> None:
        """Begins a segment; its file is created with its first part."""
        muxer = Muxer(action.tracks, start_us=action.start_us, title=f"{self._room}/{self._peer}")
        disk = self._disk
        segment = disk.store.new(self._room, self._peer, action.start_us, muxer.suffix)
        self._current = segment, SegmentWriter(segment.path, muxer, create=disk.create, sync_every=disk.sync_every)

    def write(self, action: Write, now: float) -> None:
        """Adds one unit to the open segment."""
        if self._current is not None:
            self.octets += self._current[1].write(
                action.track, action.pts_us, action.data, key=action.key, now=now, duration_us=action.duration_us
            )

    def sync_if_due(self, now: float) -> None:
        """Syncs the open file if it is due. Call it each second."""
        if self._current is not None:
            self._current[1].sync_if_due(now)

    def finish(self) -> Finished | None:
        """Ends the open segment; returns None if there is none or it has no part."""
        if self._current is None:
            return None
        segment, writer = self._current
        before = writer.size
        writer.close()
        self._current = None
        self.octets += writer.size - before
        return _finished(segment, writer)

    def abandon(self) -> Finished | None:
        """Ends the open segment after an error, as `finish` does; an empty file is removed."""
        if self._current is None:
            return None
        (segment, writer), self._current = self._current, None
        with contextlib.suppress(OSError, MuxError):
            writer.close()
        if writer.size:
            return _finished(segment, writer) if segment.path.exists() else None
        with contextlib.suppress(OSError):
            if segment.path.stat().st_size == 0 and not being_written(segment.path):
                segment.path.unlink()
        return None


def _finished(segment: Segment, writer: SegmentWriter) -> Finished | None:
    return Finished(segment, segment.start_us + writer.length_us, writer.size) if writer.size else None
