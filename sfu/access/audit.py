"""The audit log: who did what, one line of JSON each.

Owns the form of a line. Never writes a secret: callers give names, rooms, addresses and ids of tokens, never tokens.
"""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from sfu.access.rights import Claims

_MAX_TEXT: Final = 200
_PER_INTERVAL: Final = 600
_INTERVAL_S: Final = 60.0
"""At most this many lines a minute: strangers cause refusals, and must not fill the disk."""


class Audit(Protocol):
    """A writer of audit lines."""

    def __call__(self, event: str, claims: Claims | None = None, **fields: str | int | float | None) -> None:
        """Writes one event of one person; `claims` give `sub` and `jti`. Never raises."""


class AuditLog:
    """The audit log of one server: lines in a file, or on stderr."""

    def __init__(self, path: Path | None, clock: Callable[[], float]) -> None:
        """`clock`: seconds since 1970. Raises OSError if the file cannot be written."""
        self._clock = clock
        self._path = path
        self._recent: deque[float] = deque()
        self._left_out = 0
        if path is not None:
            os.close(_opened(path))

    def __call__(self, event: str, claims: Claims | None = None, **fields: str | int | float | None) -> None:
        """See `Audit`."""
        now = self._clock()
        while self._recent and now - self._recent[0] >= _INTERVAL_S:
            self._recent.popleft()
        if len(self._recent) >= _PER_INTERVAL:
            self._left_out += 1
            return
        self._recent.append(now)
        line: dict[str, object] = {"at": _time(now), "event": event}
        if claims is not None:
            line |= {"sub": claims.sub, "jti": claims.jti}
        line |= {name: _short(value) for name, value in fields.items() if value is not None}
        if self._left_out:
            line["left_out"] = self._left_out
        try:
            self._write(f"{json.dumps(line)}\n")
        except (OSError, ValueError):  # ValueError: stderr is closed
            self._left_out += 1
        else:
            self._left_out = 0

    def _write(self, line: str) -> None:
        """Writes at the end of the file that has the name now: logs are moved away by other programs."""
        if self._path is None:
            sys.stderr.write(line)
            return
        descriptor = _opened(self._path)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _short(value: object) -> object:
    return value[:_MAX_TEXT] if isinstance(value, str) else value


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
