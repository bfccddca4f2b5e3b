"""Repair after a crash: cuts off torn tails, and moves files that cannot be saved to `.damaged`.

Owns the promise that every recording plays to its end after start-up. Never deletes a recording, never touches one that
is being written (it holds the writer's lock while it works). A second run changes nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recorder.segments.files import unless_written
from recorder.store.directory import DAMAGED, SCRATCH, Segment, Store
from recorder.store.index import Index, layout_in

_PART_MARKS = {".mp4": b"moof", ".webm": b"\x1f\x43\xb6\x75"}
"""The bytes that each part begins with, by the suffix of the file."""
_FIRST_PART_BYTES = 8
"""The torn tail's own part begins within these bytes; a mark after them means that another part follows."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """The repair of one file: `cut` bytes were cut off its end, or the whole file was moved to `aside`.

    With both, the damage was inside the file: the bytes after it may hold whole parts and were saved in `aside`.
    `error` is the reason why the file could not be repaired; it is unchanged then.
    """

    path: Path
    cut: int = 0
    aside: Path | None = None
    error: str | None = None


def repair(store: Store, index: Index) -> Iterator[Repaired]:
    """Repairs every file that is not known to be whole. Yields the repairs, not the files that need none."""
    for segment in list(store.walk()):
        if not index.known_whole(segment):
            try:
                done = _repaired(store, segment)
            except FileNotFoundError:
                continue
            except Exception as error:  # noqa: BLE001  # one file costs nobody the repair of the others
                done = Repaired(segment.path, error=str(error) or repr(error))
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
        if _PART_MARKS[segment.path.suffix] in tail[_FIRST_PART_BYTES:]:
            aside = _aside(store.directory, segment.path)
            aside.write_bytes(tail)
        file.truncate(end)
        os.fsync(file.fileno())
        return Repaired(segment.path, cut=size - end, aside=aside)


def _aside(directory: Path, path: Path) -> Path:
    """Returns a free path at the same place below `.damaged`, and makes its directory."""
    wanted = directory / DAMAGED / path.relative_to(directory)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    for number in range(1000):
        aside = wanted if number == 0 else wanted.with_name(f"{wanted.name}.{number}")
        if not aside.exists():
            return aside
    raise OSError(errno.EEXIST, "1000 files of this name are there already", str(wanted))


def _clear_scratch(directory: Path) -> None:
    """Deletes the scratch files that a crash left unfinished; their originals are untouched."""
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink():
                with unless_written(path) as file:
                    if file is not None:
                        path.unlink(missing_ok=True)
