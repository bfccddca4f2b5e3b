"""Layouts of files that are asked for again: kept while the file is the same, continued where it has only grown.

Owns the memory that takes, of a bounded number of files. A recording that runs changes each second and is asked for as
often: reading all of it each time would cost more than writing it.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recorder.store.file_layout import LOST, Layout
from recorder.store.index import layout_in

_MOST: Final = 160  # files; 150 KB for each whose parts are those of ten minutes


@dataclass(frozen=True, slots=True)
class _Known:
    """A file as it was when its layout was found out."""

    inode: int
    size: int
    changed_ns: int
    layout: Layout


class Layouts:
    """Safe for several threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[Path, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, path: Path) -> Layout:
        """Where the parts of a file lie; LOST for one that is gone, unreadable or nonsense."""
        with self._lock:
            known = self._known.get(path)
        try:
            with path.open("rb") as file:
                stat = os.fstat(file.fileno())
                if known is not None and known.inode == stat.st_ino:
                    if (known.size, known.changed_ns) == (stat.st_size, stat.st_mtime_ns):
                        return known.layout
                    grown = known.layout if known.size <= stat.st_size else LOST
                else:
                    grown = LOST
                layout = layout_in(file, path.suffix, grown)
        except OSError:
            return LOST
        with self._lock:
            self._known[path] = _Known(stat.st_ino, stat.st_size, stat.st_mtime_ns, layout)
            self._known.move_to_end(path)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return layout
