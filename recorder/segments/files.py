"""Files of running recordings: whole parts appended, synced on request, locked while they grow.

Owns the lock against repair, clean-up and other processes: an exclusive `flock` on the open file, which the kernel
releases even if the process is killed. Never knows what the bytes mean. Tests replace `DiskFile` by a file that loses
unsynced bytes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from recorder.store.access import FILE_MODE, make_directories

_ATTEMPTS = 10
_DIRECTORY_LEVELS = 6
"""Parent directories that may be new and are synced with a new file."""


class PartFile(Protocol):
    """The file of a running recording."""

    def append(self, data: bytes) -> None:
        """Adds whole parts; after an OSError the file is as long as before."""

    def replace_start(self, data: bytes) -> None:
        """Replaces the first bytes of the file by as many others."""

    def sync(self) -> None:
        """Returns once everything written would survive a power loss."""

    def close(self) -> None:
        """Closes and unlocks the file; idempotent."""


class DiskFile:
    """A new file at `path`, created with its directories. Raises OSError, and FileExistsError if the name is taken."""

    def __init__(self, path: Path) -> None:
        self._file = _created(path)
        self._path = path
        self._size = 0
        self._named = False

    def append(self, data: bytes) -> None:
        """Adds whole parts; after an OSError the file is as long as before."""
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

    def replace_start(self, data: bytes) -> None:
        """Replaces the first bytes of the file by as many others."""
        os.pwrite(self._file, data, 0)

    def sync(self) -> None:
        """Returns once everything appended, and the file's name, would survive a power loss.

        Raises FileNotFoundError if the file was deleted: further parts would be lost.
        """
        os.fdatasync(self._file)
        if os.fstat(self._file).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "deleted while it was being written", str(self._path))
        if not self._named:
            for directory in [*self._path.parents][:_DIRECTORY_LEVELS]:
                _sync_directory(directory)
            self._named = True

    def close(self) -> None:
        """Closes the file, which releases its lock; idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@contextlib.contextmanager
def unless_written(path: Path, mode: str = "rb") -> Iterator[BinaryIO | None]:
    """Opens a file and locks it against writers; yields None if it is being written. May raise OSError."""
    with path.open(mode) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file  # type: ignore[misc]  # both modes in use are binary


def being_written(path: Path) -> bool:
    """True if a recording still grows; False if its file is gone."""
    try:
        with unless_written(path) as file:
            return file is None
    except FileNotFoundError:
        return False


def _created(path: Path) -> int:
    """Creates a locked, empty file and returns its descriptor.

    Tries again if clean-up removes the empty directory first, or repair moves the file aside before it is locked.
    """
    for _ in range(_ATTEMPTS):
        try:
            make_directories(path.parent)
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
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
    raise FileNotFoundError(errno.ENOENT, "removed again after each attempt to create it", str(path))


def _sync_directory(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot
            os.fsync(file)
    finally:
        os.close(file)
