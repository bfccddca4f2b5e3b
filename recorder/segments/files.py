"""Files of recordings that run: whole parts appended, made durable when asked, locked while they grow.

Owns the lock that keeps repair, clean-up and other processes away: an exclusive `flock` on the open file, which the
kernel drops when its holder dies, however it dies. Never knows what the bytes mean. Tests put another file layer in
its place, to lose what was not made durable.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

_ATTEMPTS = 10


class PartFile(Protocol):
    """What a recording is written to."""

    def append(self, data: bytes) -> None:
        """Adds whole parts; after an OSError the file ends where it ended before."""

    def sync(self) -> None:
        """Returns once everything appended would survive a loss of power."""

    def close(self) -> None:
        """Gives the file free; idempotent."""


class DiskFile:
    """A new file at `path`, made with its directories. OSError, FileExistsError if the name is taken."""

    def __init__(self, path: Path) -> None:
        self._file = _created(path)
        self._path = path
        self._size = 0
        self._named = False

    def append(self, data: bytes) -> None:
        """Adds whole parts; after an OSError the file ends where it ended before."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)
            raise
        self._size += len(data)

    def sync(self) -> None:
        """Returns once everything appended, and the file's name, would survive a loss of power.

        FileNotFoundError if somebody has deleted it: nobody would ever find what is still to come.
        """
        os.fdatasync(self._file)
        if os.fstat(self._file).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "deleted while it was written", str(self._path))
        if not self._named:
            for directory in [*self._path.parents][:6]:
                _sync_directory(directory)
            self._named = True

    def close(self) -> None:
        """Closes the file and so drops its lock; idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@contextlib.contextmanager
def unless_written(path: Path, mode: str = "rb") -> Iterator[BinaryIO | None]:
    """The open file, kept from every writer meanwhile; None if someone is writing it. OSError if it cannot open."""
    with path.open(mode) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file  # type: ignore[misc]  # both modes in use are binary


def being_written(path: Path) -> bool:
    """Whether a recording still grows; False if it is gone."""
    try:
        with unless_written(path) as file:
            return file is None
    except FileNotFoundError:
        return False


def _created(path: Path) -> int:
    """A new, locked, empty file.

    Clean-up may take the empty directory away before the file is in it, and repair may meet the file before its lock
    and move it aside: both are tried again.
    """
    for _ in range(_ATTEMPTS):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        except FileNotFoundError:
            pass
        except OSError:
            os.close(file)
            raise
        os.close(file)
    raise FileNotFoundError(errno.ENOENT, "taken away again and again", str(path))


def _sync_directory(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a file system that cannot
            os.fsync(file)
    finally:
        os.close(file)
