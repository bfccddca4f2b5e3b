"""A finished segment rewritten as a progressive file, which players can seek in without reading all of it.

Owns the copy and its exchange for the original, with the same name, content and modification time. Never touches a
segment that is being written. Slow: call it in a thread.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from recorder.segments.files import unless_written
from recorder.segments.muxer import Copy
from recorder.segments.outputs import MuxError
from recorder.store.directory import Segment, Store
from recorder.store.index import layout_of
from recorder.store.reader import Reader
from recorder.store.scratch import Scratch

_TOLERANCE_US: Final = 200_000
"""The copy may seem this much shorter than the original: its format counts the last frame's duration differently."""


def make_progressive(store: Store, segment: Segment) -> bool:
    """Replaces a finished segment's file by its progressive form.

    Returns False if there is nothing to do: the file is progressive already, still being written, or gone. Raises
    MuxError, ReadError or OSError if the copy fails; the segment is then unchanged.
    """
    try:
        with unless_written(segment.path) as file:
            before = layout_of(segment.path)
            if file is None or before.indexed or not before.end:
                return False
            with Scratch(store.directory).file(segment.path.suffix) as path:
                _copy(segment, path)
                if layout_of(path).duration_us < before.duration_us - _TOLERANCE_US:
                    raise MuxError(f"the progressive copy of {segment.path} is shorter than the original")
                _replace(segment.path, path)
    except FileNotFoundError:
        return False
    return True


def _copy(segment: Segment, target: Path) -> None:
    title = f"{segment.room}/{segment.peer}"
    with Reader(segment.path) as reader:
        copy = Copy(target, reader.streams, start_us=segment.start_us, title=title, suffix=target.suffix)
        with contextlib.closing(copy):
            for kind, pts_us, data, key, dts_us in reader.packets():
                copy.write(kind, pts_us, data, key=key, dts_us=dts_us)


def _replace(original: Path, made: Path) -> None:
    """Replaces `original` by `made` once that is on the disk.

    Keeps the modification time, from which clean-up derives the end of the recording.
    """
    stat = original.stat()
    with made.open("rb") as file:
        os.fsync(file.fileno())
    made.chmod(stat.st_mode & 0o777)
    os.utime(made, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    made.replace(original)
