"""Scratch files: copies on their way to somebody. Recordings never give way to them, but they give way to recordings.

Owns `.scratch` in one directory: its files, the space they take, and their end. Everything in it may be deleted at any
time; who uses a file then finds it empty and without a name. Never touches anything outside of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from recorder.store.access import FILE_MODE, make_directories

SCRATCH: Final = ".scratch"
_BLOCK_BYTES: Final = 512
"""The unit of `st_blocks`, on every file system."""


class Scratch:
    """The scratch files in `.scratch` below one directory, which need not exist yet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / SCRATCH

    @contextlib.contextmanager
    def file(self, suffix: str) -> Iterator[Path]:
        """Makes an empty file for the time of a `with` block. It is locked meanwhile: it is not stale."""
        make_directories(self.directory)
        path = self.directory / f"{secrets.token_hex(8)}{suffix}"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield path
        finally:
            _discard(path)  # does nothing if it was moved, or dropped already
            os.close(file)

    def bytes_on_disk_of(self, other: Path) -> int:
        """Returns the bytes that all files take of the disk of another directory; 0 if they are on another disk."""
        with contextlib.suppress(OSError):
            if self.directory.stat().st_dev == other.stat().st_dev:
                return sum(status.st_blocks * _BLOCK_BYTES for _, status in self._files())
        return 0

    def drop(self) -> None:
        """Deletes all files, also those in use, and frees their space at once."""
        for path, _ in self._files():
            _discard(path)

    def clear_stale(self) -> None:
        """Deletes the files that nobody uses: a crash left them."""
        for path, _ in self._files():
            with contextlib.suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _discard(path)

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        try:
            paths = list(self.directory.iterdir())
        except OSError:
            return
        for path in paths:
            with contextlib.suppress(OSError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield path, status


def _discard(path: Path) -> None:
    """Empties and deletes a file: emptied, it takes no space even while somebody has it open."""
    with contextlib.suppress(OSError):
        os.truncate(path, 0)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
