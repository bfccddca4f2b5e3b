"""A recording's segments on the disk: its actions carried out, one file after another.

Owns the open segment. Never decides what goes into one (`recorder.segments.recording` does) and never runs in the
event loop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recorder.segments.files import DiskFile, PartFile, being_written
from recorder.segments.muxer import Muxer, MuxError
from recorder.segments.recording import Open, Write
from recorder.segments.writer import SYNC_EVERY, SegmentWriter
from recorder.store.directory import Segment, Store


@dataclass(frozen=True, slots=True)
class Finished:
    """A segment that will not grow any more: up to when it reaches (us of UTC since 1970), and its bytes."""

    segment: Segment
    end_us: int
    size: int


@dataclass(frozen=True, slots=True)
class Disk:
    """Where recordings go. `create` makes their files; `sync_every`: seconds that a loss of power may cost.

    `has_room`: whether it is worth to try again after the disk was full.
    """

    store: Store
    sync_every: float = SYNC_EVERY
    create: Callable[[Path], PartFile] = DiskFile
    has_room: Callable[[], bool] = lambda: True


class SegmentFiles:
    """The files of one producer. All but `abandon` may raise OSError or MuxError: that is to be called then."""

    def __init__(self, disk: Disk, room: str, peer: str) -> None:
        self.octets = 0
        """Bytes that reached files."""
        self._disk = disk
        self._room = room
        self._peer = peer
        self._segment: Segment | None = None
        self._writer: SegmentWriter | None = None
        self._end_us = 0

    @property
    def start_us(self) -> int | None:
        """Wall time at which the open segment begins; None if none is open."""
        return None if self._segment is None else self._segment.start_us

    @property
    def written(self) -> bool:
        """Whether anything of the open segment has reached its file."""
        return self._writer is not None and self._writer.size > 0

    def open(self, action: Open) -> None:
        """Begins a segment; its file comes with its first part."""
        muxer = Muxer(action.tracks, start_us=action.start_us, title=f"{self._room}/{self._peer}")
        self._segment = self._disk.store.new(self._room, self._peer, action.start_us, muxer.suffix)
        disk = self._disk
        self._writer = SegmentWriter(self._segment.path, muxer, create=disk.create, sync_every=disk.sync_every)
        self._end_us = action.start_us

    def write(self, action: Write, now: float) -> None:
        """One unit."""
        if self._segment is not None and self._writer is not None:
            self.octets += self._writer.write(
                action.track, action.pts_us, action.data, key=action.key, now=now, duration_us=action.duration_us
            )
            self._end_us = max(self._end_us, self._segment.start_us + action.pts_us + (action.duration_us or 0))

    def sync_if_due(self, now: float) -> None:
        """To be called each second."""
        if self._writer is not None:
            self._writer.sync_if_due(now)

    def finish(self) -> Finished | None:
        """Ends the open segment; None if there is none, or nothing of it is on the disk."""
        segment, writer = self._segment, self._writer
        if segment is None or writer is None:
            return None
        before = writer.size
        writer.close()
        self._segment = self._writer = None
        self.octets += writer.size - before
        return Finished(segment, self._end_us, writer.size) if writer.size else None

    def abandon(self) -> Finished | None:
        """The same after an error: what reached the file stays, and one that nothing reached goes."""
        segment, writer = self._segment, self._writer
        self._segment = self._writer = None
        if segment is None or writer is None:
            return None
        with contextlib.suppress(OSError, MuxError):
            writer.close()
        if writer.size:
            return Finished(segment, self._end_us, writer.size) if segment.path.exists() else None
        with contextlib.suppress(OSError):
            if segment.path.stat().st_size == 0 and not being_written(segment.path):
                segment.path.unlink()
        return None
