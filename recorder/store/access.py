"""The modes of new files: readable for their owner and its group, never for other accounts, less what `umask` takes.

Owns how files and directories are made. Never changes those that exist.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Final

FILE_MODE: Final = 0o640
_DIRECTORY_MODE: Final = 0o750


def make_directories(path: Path) -> None:
    """Makes a directory and those above it that do not exist yet. May raise OSError."""
    if not path.is_dir():
        if path.parent != path:
            make_directories(path.parent)
        path.mkdir(_DIRECTORY_MODE, exist_ok=True)


def create(path: Path) -> BinaryIO:
    """Opens a file for writing: empty, and made if it does not exist yet. May raise OSError."""
    return open(path, "wb", opener=_opener)  # Path.open takes no opener


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, FILE_MODE)
