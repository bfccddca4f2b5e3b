"""After a crash: torn tails cut, what cannot be saved moved aside.

Owns the promise that every file found after start-up plays to its end. Never deletes a recording, never touches one
that is being written (it holds the writer's lock while it works), and does nothing the second time.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recorder.segments.files import unless_written
from recorder.store.directory import DAMAGED, SCRATCH, Segment, Store
from recorder.store.index import Index, layout_in

_BEGINNING = {".mp4": b"moof", ".webm": b"\x1f\x43\xb6\x75"}  # of a part
_BEHIND_FIRST = 8


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was done to one file: `cut` bytes taken off its end, or all of it moved to `aside`.

    Both where damage lies inside: what follows it may hold whole parts, and stands aside too. `error` says why nothing
    could be done; the file is as it was.
    """

    path: Path
    cut: int = 0
    aside: Path | None = None
    error: str | None = None


def repair(store: Store, index: Index) -> Iterator[Repaired]:
    """Goes through every file whose end is not known to be whole; what is whole already is not reported."""
    for segment in list(store.walk()):
        if not index.known_whole(segment):
            try:
                done = _repaired(store, segment)
            except FileNotFoundError:
                continue
            except OSError as error:
                done = Repaired(segment.path, error=str(error))
            index.span(segment)
            if done is not None:
                yield done
    _clear_scratch(store.directory / SCRATCH)
    index.save()


def _repaired(store: Store, segment: Segment) -> Repaired | None:
    with unless_written(segment.path, "r+b") as file:
        if file is None:
            return None
        end = layout_in(file, segment.path.suffix).end
        size = os.fstat(file.fileno()).st_size
        if end == 0:
            return Repaired(segment.path, aside=segment.path.rename(_aside(store.directory, segment.path)))
        if end == size:
            return None
        file.seek(end)
        tail = file.read()
        aside = None
        if _BEGINNING[segment.path.suffix] in tail[_BEHIND_FIRST:]:
            aside = _aside(store.directory, segment.path)
            aside.write_bytes(tail)
        file.truncate(end)
        os.fsync(file.fileno())
        return Repaired(segment.path, cut=size - end, aside=aside)


def _aside(directory: Path, path: Path) -> Path:
    """A free name at the same place below `.damaged`."""
    wanted = directory / DAMAGED / path.relative_to(directory)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    for number in range(1000):
        aside = wanted if number == 0 else wanted.with_name(f"{wanted.name}.{number}")
        if not aside.exists():
            return aside
    raise OSError(errno.EEXIST, "a thousand files of that name are aside already", str(wanted))


def _clear_scratch(directory: Path) -> None:
    """Copies that a crash left half made, their originals untouched, are nobody's recordings."""
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        with unless_written(path) as file:
            if file is not None:
                path.unlink(missing_ok=True)
