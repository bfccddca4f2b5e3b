"""One segment on its way to the disk: units in, parts appended, made durable at an interval.

Owns when a part reaches the file and when the file is synced. Never decides what belongs into the segment
(`recorder.segments.recording` does), never reads a clock, never runs in the event loop: every call may wait for the
disk.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recorder.segments.files import DiskFile, PartFile
from recorder.segments.muxer import PART_US, Muxer
from sfu.rtc.sdp.codec import Kind

SYNC_EVERY = 5.0
_NEXT_PART = PART_US / 1e6 + 0.1
"""Seconds until the next chance to sync: a part, and the frame that closes it."""


class SegmentWriter:
    """Writes `muxer`'s parts to a file that exists from the first whole part on: a segment without one leaves none.

    `sync_every`: seconds of recording that a loss of power may cost; 0 syncs each part. `now` in seconds, from a clock
    that never goes back. An OSError (disk full, directory gone) or MuxError ends the segment: what reached the file is
    whole; `close` still has to be called.
    """

    def __init__(
        self,
        path: Path,
        muxer: Muxer,
        *,
        create: Callable[[Path], PartFile] = DiskFile,
        sync_every: float = SYNC_EVERY,
    ) -> None:
        self.path = path
        self.size = 0
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
        """Takes one unit; bytes that reached the file with it (0 unless a part closed)."""
        try:
            parts = self._muxer.write(kind, pts_us, data, key=key, duration_us=duration_us)
            if parts:
                self._append(parts)
                self.sync_if_due(now)
        except BaseException:
            self._failed = True
            raise
        return len(parts)

    def sync_if_due(self, now: float) -> None:
        """Makes the file durable if waiting for the next part could cost more than `sync_every`.

        To be called each second too: a producer that falls silent closes no part.
        """
        if self._file is not None and self._unsynced and now - self._synced + _NEXT_PART > self._sync_every:
            self._file.sync()
            self._synced = now
            self._unsynced = False

    def close(self) -> None:
        """Writes what is left, makes it durable, and gives the file free; idempotent. OSError, MuxError."""
        try:
            rest = self._muxer.close()
            if rest and not self._failed:
                self._append(rest)
            if self._file is not None:
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
