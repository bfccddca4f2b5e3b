"""Files and folders of a store that cannot be read: each is counted and logged once, and the rest goes on.

Owns the count and the log line. Never decides what to do instead: callers leave the file or folder out.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

_MAX_KNOWN: Final = 10_000
"""Paths that are remembered; more are left out without a word."""


class Faults:
    """The files and folders of one store that could not be read since the start. Safe for several threads."""

    def __init__(self) -> None:
        self._known: set[Path] = set()

    @property
    def count(self) -> int:
        """Returns the number of files and folders."""
        return len(self._known)

    def note(self, path: Path, error: BaseException) -> None:
        """Counts and logs a path once; one that is gone is no fault."""
        if isinstance(error, FileNotFoundError) or path in self._known or len(self._known) >= _MAX_KNOWN:
            return
        self._known.add(path)
        _log.warning("%a cannot be read and is left out: %s", str(path), str(error) or repr(error))
