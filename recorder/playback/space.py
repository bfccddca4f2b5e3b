"""The space that a clip may take of a disk, so that recordings keep theirs.

Owns the comparison with what is free, and its words. Never deletes anything.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class NoSpaceError(RuntimeError):
    """The disk has no space for a clip; the message says what to do."""


def _free_bytes(directory: Path) -> int:
    return shutil.disk_usage(directory).free


@dataclass(frozen=True, slots=True)
class Space:
    """The disk of a directory, of which `keep_free` bytes stay free."""

    directory: Path
    keep_free: int = 0
    free_bytes: Callable[[Path], int] = _free_bytes

    @classmethod
    def of(cls, scratch: Path, directory: Path, keep_free: int) -> Space:
        """Returns what a clip in `scratch` may take: recordings need their space only if they are on the same disk."""
        existing = next(parent for parent in (scratch, *scratch.absolute().parents) if parent.is_dir())
        return cls(existing, keep_free if existing.stat().st_dev == directory.stat().st_dev else 0)

    def check(self, needed: int) -> None:
        """Raises NoSpaceError unless more than the bytes to keep are free without the `needed` ones."""
        left = self.free_bytes(self.directory) - self.keep_free
        if left <= needed:
            raise NoSpaceError(
                f"the disk has no space for this clip: it needs {needed / 1e6:.0f} MB more, and clips may take "
                f"{max(0, left) / 1e6:.0f} MB: ask for a shorter time span, wait until other clips are read, or set "
                "SFU_RECORDING__SCRATCH to a directory on another disk"
            )
