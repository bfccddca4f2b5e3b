"""Fragments of an MP4 file (ISO/IEC 14496-12 section 8.8): samples in, each `moof` with its `mdat` out.

Owns the bytes after the header, which FFmpeg makes: through its interface each sample would be an object, and copied
five times. Never knows what a sample means, and never writes.
"""

from __future__ import annotations

from itertools import pairwise
from struct import Struct
from typing import Final

_KEY: Final = 0x02000000  # sample_depends_on: on no other
_NOT_KEY: Final = 0x01010000  # on others, sample_is_non_sync_sample
_TFHD: Final = 0x020020  # default-base-is-moof, default-sample-flags
_VIDEO_RUN: Final = 0x000701  # data offset; each sample's duration, size, flags
_SOUND_RUN: Final = 0x000301  # without flags
_BOX = Struct(">I4s")
_HEAD = Struct(">I4sI4sII")  # moof, mfhd
_TRAF = Struct(">I4sI4sIIII4sIQI4sIIi")  # traf, tfhd, tfdt version 1, trun up to its samples
_ENTRY = Struct(">QQBBB")
_RANDOM_ACCESS = Struct(">I4sIIII")
_LENGTH = Struct(">I")
_MOST: Final = 0xFFFFFFFF


def with_lengths(data: bytes) -> list[bytes]:
    """A unit in Annex B as ISO/IEC 14496-15 has it: each NAL unit after its length."""
    pieces: list[bytes] = []
    for piece in data.split(b"\0\0\1")[1:]:
        unit = piece.rstrip(b"\0")  # of a start code of four bytes, or padding: no unit ends so
        pieces += (_LENGTH.pack(len(unit)), unit)
    return pieces


class Run:
    """One track's samples in the fragment that is open. `number`: its track_ID; `annex_b`: what units are in."""

    __slots__ = ("_annex_b", "flags", "number", "pieces", "places", "sizes", "times", "video")

    def __init__(self, number: int, *, video: bool, annex_b: bool) -> None:
        self.number = number
        self.video = video
        self._annex_b = annex_b
        self.times: list[int] = []
        """In ticks, rising."""
        self.sizes: list[int] = []
        self.flags: list[int] = []
        self.pieces: list[bytes] = []
        self.places: list[tuple[int, int, int]] = []
        """(time, offset of the `moof`, number of the `traf`) of each fragment that holds any."""

    def add(self, ticks: int, data: bytes, key: bool) -> None:
        """One more unit."""
        self.times.append(ticks)
        self.flags.append(_KEY if key else _NOT_KEY)
        if self._annex_b:
            pieces = with_lengths(data) or [data]
            self.sizes.append(sum(map(len, pieces)))
            self.pieces += pieces
        else:
            self.sizes.append(len(data))
            self.pieces.append(data)

    def box(self, offset: int, lasts: int) -> bytes:
        """The `traf`: data from `offset` after the beginning of the `moof` on, the last sample of `lasts` ticks."""
        times = self.times
        durations = [later - earlier for earlier, later in pairwise(times)]
        durations.append(lasts)
        if max(durations) > _MOST:
            durations = [min(duration, _MOST) for duration in durations]
        columns = (durations, self.sizes, self.flags) if self.video else (durations, self.sizes)
        width = len(columns)
        words = [0] * (width * len(times))
        for column, values in enumerate(columns):
            words[column::width] = values
        size = self.box_size
        head = _TRAF.pack(
            size, b"traf", 20, b"tfhd", _TFHD, self.number, _KEY, 20, b"tfdt", 1 << 24, times[0],
            size - 48, b"trun", _VIDEO_RUN if self.video else _SOUND_RUN, len(times), offset,
        )  # fmt: skip
        return head + Struct(f">{len(words)}I").pack(*words)

    @property
    def box_size(self) -> int:
        """Bytes of the `traf`."""
        return _TRAF.size + (12 if self.video else 8) * len(self.times)

    def clear(self) -> None:
        """Begins the next fragment."""
        self.times, self.sizes, self.flags, self.pieces = [], [], [], []

    def index(self) -> bytes:
        """The `tfra`: where each fragment lies (section 8.8.10)."""
        entries = b"".join(_ENTRY.pack(*place, 1, 1) for place in self.places)
        head = _RANDOM_ACCESS.pack(24 + len(entries), b"tfra", 1 << 24, self.number, 0, len(self.places))
        return head + entries


class Fragments:
    """What follows the header, of `header` bytes, of a file with these tracks, in the order of their track_IDs."""

    def __init__(self, header: int, runs: list[Run]) -> None:
        self._offset = header
        self._sequence = 0
        self._runs = runs

    def take(self, lasts: list[int]) -> bytes:
        """The open fragment; the next one begins. `lasts`: how many ticks the last sample of each track goes on."""
        runs = [(run, ticks) for run, ticks in zip(self._runs, lasts, strict=True) if run.times]
        if not runs:
            return b""
        self._sequence += 1
        head = _HEAD.size + sum(run.box_size for run, _ in runs)
        boxes = [_HEAD.pack(head, b"moof", 16, b"mfhd", 0, self._sequence)]
        data: list[bytes] = []
        at = head + _BOX.size
        for number, (run, ticks) in enumerate(runs, 1):
            boxes.append(run.box(at, ticks))
            run.places.append((run.times[0], self._offset, number))
            at += sum(run.sizes)
            data += run.pieces
            run.clear()
        self._offset += at
        return b"".join((*boxes, _BOX.pack(at - head, b"mdat"), *data))

    def index(self) -> bytes:
        """The `mfra`, which ends a file: with it players find any time at once (section 8.8.9)."""
        tables = b"".join(run.index() for run in self._runs)
        size = 8 + len(tables) + 16
        return _BOX.pack(size, b"mfra") + tables + Struct(">I4sII").pack(16, b"mfro", 0, size)
