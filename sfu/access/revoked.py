"""Revoked tokens: a file with the id of each, and until when it must be remembered.

Owns that file, which the server reads again when a command has written it. Never knows what a token allows.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

_FILE: Final = "revoked"
_FOREVER: Final = float("inf")


class Revoked:
    """The revoked tokens of one server, as they stand in its state directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _FILE
        self._until: dict[str, float] = {}
        self._seen: tuple[int, int] | None = None
        self.refresh()

    def __contains__(self, jti: str) -> bool:
        return jti in self._until

    def refresh(self) -> None:
        """Reads the file again if it has changed. Keeps what it knows while the file cannot be read."""
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size)
            if seen == self._seen:
                return
            text = self._path.read_text("utf-8")
        except (OSError, UnicodeError):
            return
        self._seen = seen
        self._until |= dict(_line(line) for line in text.splitlines() if line.strip())

    def add(self, jti: str, until: float) -> bool:
        """Revokes a token that expires at `until`, in seconds since 1970. Returns False if it was revoked before.

        Raises OSError if the file cannot be written, and ValueError if that is no id of a token.
        """
        if not jti or any(character.isspace() for character in jti):
            raise ValueError(f"{jti!r} is no id of a token")
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            known = dict(_line(line) for line in file if line.strip())
            self._until |= known
            if jti in known:
                return False
            file.write(f"{jti} {until:.0f}\n" if until < _FOREVER else f"{jti}\n")
            file.flush()
            os.fsync(file.fileno())
        self._until[jti] = until
        return True


def _line(line: str) -> tuple[str, float]:
    jti, _, until = line.strip().partition(" ")
    return jti, float(until) if until.isdigit() else _FOREVER
