"""Repair after a crash or power loss: only parts that decode stay, and files without any move to `.damaged`.

Owns the promise that every recording plays to its end after start-up. Torn ends are cut off; damaged parts inside a
file become boxes that players skip, so that nothing behind them moves. Never deletes a recording, never touches one
that is being written (it holds the writer's lock while it works). A second run changes nothing.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from recorder.segments.files import unless_written
from recorder.store.access import create, make_directories
from recorder.store.directory import DAMAGED, Segment, Store
from recorder.store.index import Index
from recorder.store.scratch import Scratch
from recorder.upkeep.salvage import Salvage, salvage, skipped


@dataclass(frozen=True, slots=True)
class Repaired:
    """The repair of one file: `cut` bytes were cut off its end, or the whole file was moved to `aside`.

    With both, the bytes that were cut off seem to hold parts, none of them whole, and were saved in `aside`. `skipped`:
    bytes of damaged parts inside the file, which players skip now. `error` is the reason why the file could not be
    repaired; it is unchanged then.
    """

    path: Path
    cut: int = 0
    aside: Path | None = None
    error: str | None = None
    skipped: int = 0


def repair(store: Store, index: Index) -> Iterator[Repaired]:
    """Repairs every file that is not known to be whole. Yields the repairs, not the files that need none."""
    Scratch(store.directory).clear_stale()
    segments = list(store.walk())
    newest = _newest(segments)
    for segment in segments:
        if not index.known_whole(segment):
            try:
                done = _repaired(store, segment, check_data=segment in newest)
            except FileNotFoundError:
                continue
            except Exception as error:  # noqa: BLE001  # one file costs nobody the repair of the others
                done = Repaired(segment.path, error=str(error) or repr(error))
            index.note_whole(segment)
            if done is not None:
                yield done
    index.save()


def _newest(segments: Iterable[Segment]) -> set[Segment]:
    """Returns the latest segment of each producer: it may be finished and yet not all on the disk."""
    newest: dict[tuple[str, str], Segment] = {}
    for segment in segments:
        source = segment.room, segment.peer
        if source not in newest or newest[source].start_us < segment.start_us:
            newest[source] = segment
    return set(newest.values())


def _repaired(store: Store, segment: Segment, *, check_data: bool) -> Repaired | None:
    path = segment.path
    with unless_written(path, "r+b") as file:
        if file is None:
            return None
        number, status = file.fileno(), os.fstat(file.fileno())

        def read(offset: int, size: int) -> bytes:
            return os.pread(number, size, offset)

        found = salvage(read, status.st_size, path.suffix, check_data=check_data)
        if not found.end:
            return Repaired(path, aside=path.rename(_aside(store.directory, path)))
        if found.end == status.st_size and not found.holes:
            return None
        aside = _saved(store, path, file, found.end) if found.unread else None
        _change(number, path.suffix, found)
        os.utime(number, ns=(status.st_atime_ns, status.st_mtime_ns))  # clean-up takes it for the end of the recording
        hidden = sum(end - begin for begin, end in found.holes)
        return Repaired(path, cut=status.st_size - found.end, aside=aside, skipped=hidden)


def _change(file: int, suffix: str, found: Salvage) -> None:
    """Makes players skip the holes, then cuts off the end: a crash in between leaves a file to be repaired again."""
    for begin, end in found.holes:
        os.pwrite(file, skipped(suffix, end - begin), begin)
    os.fsync(file)
    os.ftruncate(file, found.end)
    os.fsync(file)


def _saved(store: Store, path: Path, file: BinaryIO, begin: int) -> Path:
    """Copies the bytes from `begin` on to `.damaged`."""
    aside = _aside(store.directory, path)
    file.seek(begin)
    with create(aside) as copy:
        shutil.copyfileobj(file, copy)
    return aside


def _aside(directory: Path, path: Path) -> Path:
    """Returns a free path at the same place below `.damaged`, and makes its directory."""
    wanted = directory / DAMAGED / path.relative_to(directory)
    make_directories(wanted.parent)
    for number in range(1000):
        aside = wanted if number == 0 else wanted.with_name(f"{wanted.name}.{number}")
        if not aside.exists():
            return aside
    raise OSError(errno.EEXIST, "1000 files of this name are there already", str(wanted))
