"""What a recorded file holds, told from its structure alone: where each part lies, what time it covers.

Owns the terms that repair, playback and export share (`FileLayout`, `Part`) and the choice of parser by file suffix.
Never decodes media, never changes a file, and reads only structure: any bytes give an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

ReadBytes = Callable[[int, int], bytes]
"""`read(offset, size)`: up to `size` bytes from `offset`; fewer at the end of the file."""


@dataclass(frozen=True, slots=True)
class Part:
    """One fragment (`moof` and `mdat`) or one cluster: what reached the disk together.

    `offset` and `size` in bytes; the others in media time since the segment's start. `key_us`: that of the key frame
    with which its video begins, maybe after sound; None if a decoder cannot start here.
    """

    offset: int
    size: int
    start_us: int
    end_us: int
    key_us: int | None

    @property
    def key(self) -> bool:
        """Whether a decoder can start here."""
        return self.key_us is not None


@dataclass(frozen=True, slots=True)
class FileLayout:
    """`header`: bytes before the first part. `end`: bytes up to which the file is whole, 0 if no part of it plays.

    `parts` is empty for a progressive MP4, which is whole or lost. `duration_us` is the media time at its end.
    `indexed`: players find any moment without reading all before it; the form of `export.make_progressive`.
    """

    header: int
    parts: tuple[Part, ...]
    end: int
    duration_us: int
    indexed: bool = False

    @classmethod
    def of(cls, header: int, parts: list[Part], end: int, *, indexed: bool = False) -> FileLayout:
        """The layout of a file of parts: it is lost without one."""
        if not parts:
            return LOST
        return cls(header, tuple(parts), end, max(part.end_us for part in parts), indexed)


LOST = FileLayout(0, (), 0, 0)
