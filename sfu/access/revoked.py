"""Revoked tokens: a file with the id of each, and until when it must be remembered.

Owns that file, which the server reads again when a command has written it. Never knows what a token allows.
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from sfu.access.tokens import valid_id
from sfu.private_files import write_private

_FILE: Final = "revoked"
_FOREVER: Final = float("inf")


class Revoked:
    """The revoked tokens of one server, as they stand in its state directory."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since 1970."""
        self._path = directory / _FILE
        self._clock = clock
        self._until: dict[str, float] = {}
        self._seen: tuple[int, int] | None = None
        self.refresh()

    def __contains__(self, jti: str) -> bool:
        return jti in self._until

    def refresh(self) -> None:
        """Reads the file again if it has changed. Keeps what it knows while the file cannot be read."""
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_ino)
            if seen == self._seen:
                return
            known = _read(self._path)
        except OSError:
            return
        self._seen = seen
        self._until = self._living(self._until | known)

    def add(self, jti: str, until: float) -> bool:
        """Revokes a token that expires at `until`, in seconds since 1970. Returns False if it was revoked before.

        Raises OSError if the file cannot be written, and ValueError if that is no id of a token.
        """
        if not valid_id(jti):
            raise ValueError("this is no id of a token")
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(self._path.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = _read(self._path) if self._path.exists() else {}
            if jti in known:
                self._until |= known
                return False
            # Without those that have expired: the file grows no longer than tokens live.
            known = self._living(known) | {jti: until}
            write_private(self._path, _text(known))
        self._until |= known
        return True

    def _living(self, known: Mapping[str, float]) -> dict[str, float]:
        now = self._clock()
        return {jti: until for jti, until in known.items() if until > now}


def _read(path: Path) -> dict[str, float]:
    """Reads all lines; a damaged one is an id that no token has. Raises OSError."""
    text = path.read_text("utf-8", errors="replace")
    return dict(_line(line) for line in text.splitlines() if line.strip())


def _line(line: str) -> tuple[str, float]:
    jti, _, text = line.strip().partition(" ")
    return jti, float(text) if text.isascii() and text.isdigit() else _FOREVER


def _text(known: Mapping[str, float]) -> str:
    lines = (f"{jti} {math.ceil(until)}" if until < _FOREVER else jti for jti, until in known.items())
    return "".join(f"{line}\n" for line in lines)
