"""Small files that only this user can read: keys, logins, users.

Owns how they are written: whole, or not at all.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Writes a file of mode 0600 in a directory of mode 0700, in place of the one before. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = new_private(path, text)
    try:
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def new_private(path: Path, text: str) -> Path:
    """Writes the text to the disk, in a new file of mode 0600 beside `path`; returns its path. Raises OSError."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return beside
