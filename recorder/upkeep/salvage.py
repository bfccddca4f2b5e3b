"""The choice of what a damaged file keeps: every whole part, also those behind a damaged one.

Owns the search for the next whole part, and the check of the parts that a power loss may have cost. Never changes a
file: `recorder.upkeep.repair` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from struct import pack
from typing import Final

from recorder.store import mp4, webm
from recorder.store.file_layout import LOST, FileLayout, Part, ReadBytes
from recorder.store.sound import FrameBytes, is_sound

UNSYNCED_US: Final = 60_000_000
"""The media at the end of a file that a power loss may have cost, with room for slow disks."""
_CHUNK_BYTES: Final = 1 << 20
_MAX_HOLES: Final = 100
_MAX_UINT32: Final = 0xFFFFFFFF
_VOID: Final = 0xEC
_LONG_VOID_BYTES: Final = 9
"""The head of a Void element whose size takes eight bytes."""
_MAX_CANDIDATES: Final = 1000
"""Marks without a whole part behind them, after which the search ends."""


@dataclass(frozen=True, slots=True)
class Salvage:
    """The bytes of a file that are kept: the first `end`, 0 if nothing plays, without `holes`, as (offset, end).

    `unread`: True if marks of parts follow, none of which is whole.
    """

    end: int
    holes: tuple[tuple[int, int], ...] = ()
    unread: bool = False


@dataclass(frozen=True, slots=True)
class _Format:
    """A container: its parser, its frames, the bytes that a part begins with, and where in a part they stand."""

    layout: Callable[[ReadBytes, int, FileLayout], FileLayout]
    frames: Callable[[ReadBytes, int, Part], list[FrameBytes] | None]
    mark: bytes
    mark_at: int


_FORMATS: Final = {
    ".mp4": _Format(mp4.layout, mp4.frames, b"moof", 4),
    ".webm": _Format(webm.layout, webm.frames, b"\x1f\x43\xb6\x75", 0),
}


def salvage(read: ReadBytes, size: int, suffix: str, *, check_data: bool, unsynced_us: int = UNSYNCED_US) -> Salvage:
    """Returns the bytes of a file of `size` bytes that are to be kept.

    `check_data`: True if the file may have been written when power was lost: then data of the last parts is read. An
    unfinished file always may.
    """
    form = _FORMATS[suffix]
    layout, holes, unread = _resumed(form, read, size)
    if not layout.parts:
        return Salvage(layout.end, unread=unread)
    lost: list[Part] = []
    if check_data or holes or not layout.finished:
        since_us = 0 if holes else layout.duration_us - unsynced_us
        last_ones = (part for part in layout.parts if part.end_us >= since_us)
        lost = [part for part in last_ones if not _has_data(form, read, layout.header, part)]
    kept = [part for part in layout.parts if part not in lost]
    if not kept:
        return Salvage(0)
    end = layout.end if kept[-1] is layout.parts[-1] else kept[-1].offset + kept[-1].size
    holes += ((part.offset, part.offset + part.size) for part in lost)
    return Salvage(end, tuple(sorted(hole for hole in holes if hole[0] < end)), unread)


def _resumed(form: _Format, read: ReadBytes, size: int) -> tuple[FileLayout, list[tuple[int, int]], bool]:
    """Returns the layout with the parts behind damaged ones, the holes between, and True if marks follow its end."""
    layout, holes = form.layout(read, size, LOST), list[tuple[int, int]]()
    while (begin := layout.end or layout.header) and begin < size:
        found, tried = None, 0
        for candidate in _marks(form, read, begin, size):
            tried += 1
            resumed = form.layout(read, size, replace(layout, end=candidate))
            if len(resumed.parts) > len(layout.parts):
                found = resumed
                holes.append((begin, candidate))
                break
            if tried >= _MAX_CANDIDATES:
                break
        if found is None or len(holes) >= _MAX_HOLES:
            return found or layout, holes, tried > 0
        layout = found
    return layout, holes, False


def _marks(form: _Format, read: ReadBytes, begin: int, size: int) -> Iterator[int]:
    """Yields where parts seem to begin, after `begin`."""
    at = begin + form.mark_at + 1
    while at < size:
        data = read(at, _CHUNK_BYTES + len(form.mark) - 1)
        found = data.find(form.mark)
        while found >= 0:
            yield at + found - form.mark_at
            found = data.find(form.mark, found + 1)
        at += _CHUNK_BYTES


def _has_data(form: _Format, read: ReadBytes, header: int, part: Part) -> bool:
    frames = form.frames(read, header, part)
    return frames is not None and is_sound(read(part.offset, part.size), part.offset, frames)


def skipped(suffix: str, size: int) -> bytes:
    """Returns the bytes that make players skip `size` bytes from where they are written: the head of an empty box.

    It is a `free` box (ISO/IEC 14496-12 section 8.1.2) or a Void element (RFC 9559 section 5.1).
    """
    if suffix == ".mp4":
        return pack(">I4s", size, b"free") if size <= _MAX_UINT32 else pack(">I4sQ", 1, b"free", size)
    if size < _LONG_VOID_BYTES:
        return bytes((_VOID, 0x80 | size - 2))
    return pack(">BQ", _VOID, 1 << 56 | size - _LONG_VOID_BYTES)
