"""The layout of a recorded file: where each of its parts lies, and which time it covers.

Owns the values that repair, playback and export share (`FileLayout`, `Part`). Never decodes media, never changes a
file. Parsers read structure only, and return a layout for any bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

ReadBytes = Callable[[int, int], bytes]
"""`read(offset, size)` returns up to `size` bytes from `offset`; fewer at the end of the file."""

MAX_FILE_US: Final = 31 * 86_400_000_000
"""A longer file is not one of ours; a larger time in it is damage."""
_MAX_STEP_US: Final = 60_000_000
"""The most that a part lasts, or begins after the one before: a recording ends its file after 5 s of silence."""


@dataclass(frozen=True, slots=True)
class Part:
    """One fragment (`moof` and `mdat`) or one cluster: a unit that reached the disk as a whole.

    `offset` and `size` are bytes; the times are microseconds of media time since the segment's start. `key_us` is the
    time of the key frame that its video begins with (sound may come before it); None if decoding cannot start here.
    """

    offset: int
    size: int
    start_us: int
    end_us: int
    key_us: int | None

    @property
    def key(self) -> bool:
        """True if decoding can start here."""
        return self.key_us is not None


def goes_on(part: Part, before: Sequence[Part]) -> bool:
    """True unless the times of a part are damage. `before`: the parts before it in the file.

    Bytes between two parts were damaged too, so that any time may be missing there.
    """
    if not (0 <= part.start_us <= part.end_us <= min(MAX_FILE_US, part.start_us + _MAX_STEP_US)):
        return False
    if not before:
        return part.start_us <= _MAX_STEP_US
    last = before[-1]
    adjacent = last.offset + last.size == part.offset
    return last.start_us - _MAX_STEP_US <= part.start_us and (
        not adjacent or part.start_us <= last.end_us + _MAX_STEP_US
    )


@dataclass(frozen=True, slots=True)
class FileLayout:
    """The parts of one file, its header, and how far it is whole.

    `header` is the number of bytes before the first part; 0 if it is damaged. `end` is the number of bytes up to which
    the file is whole; 0 if no part of it plays. `parts` is empty for a progressive MP4, which is either whole or lost.
    `duration_us` is the media time at the end. `indexed` is True if players can seek without reading all that comes
    before, as in the files of `recorder.upkeep.progressive`.
    """

    header: int
    parts: tuple[Part, ...]
    end: int
    duration_us: int
    indexed: bool = False

    @property
    def finished(self) -> bool:
        """True if the file was closed: its index follows the last part."""
        last = self.parts[-1] if self.parts else None
        return self.indexed or (last is not None and last.offset + last.size < self.end)

    @classmethod
    def of(cls, header: int, parts: list[Part], end: int, *, indexed: bool = False) -> FileLayout:
        """Returns the layout of a file with these parts; without any, nothing in it plays."""
        if not parts:
            return cls(header, (), 0, 0)
        return cls(header, tuple(parts), end, max(part.end_us for part in parts), indexed)


LOST = FileLayout(0, (), 0, 0)
"""The layout of a file that is gone, unreadable, or has no header."""
