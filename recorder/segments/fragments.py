"""Fragments of an MP4 file (ISO/IEC 14496-12 section 8.8): samples in, each `moof` with its `mdat` out.

Owns the bytes after the header. FFmpeg makes the header only: through its interface each sample would be an object and
be copied five times. Never decodes a sample, never writes to a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from struct import Struct
from typing import Final

_KEY: Final = 0x02000000  # sample_depends_on: no other sample
_NOT_KEY: Final = 0x01010000  # sample_depends_on: others; sample_is_non_sync_sample
_TFHD: Final = 0x020020  # default-base-is-moof, default-sample-flags
_VIDEO_RUN: Final = 0x000701  # data offset; each sample's duration, size, flags
_AUDIO_RUN: Final = 0x000301  # the same without flags
_REORDERED_RUN: Final = 0x01000F01  # version 1: the same as video, and a signed composition offset
_BOX = Struct(">I4s")
_HEAD = Struct(">I4sI4sII")  # moof, mfhd
_TRAF = Struct(">I4sI4sIIII4sIQI4sIIi")  # traf, tfhd, tfdt version 1, trun up to its samples
_ENTRY = Struct(">QQBBB")
_RANDOM_ACCESS = Struct(">I4sIIII")
_LENGTH = Struct(">I")
_MAX_UINT32: Final = 0xFFFFFFFF


def annex_b_to_length_prefixed(data: bytes) -> list[bytes]:
    """Turns a unit from Annex B into the form of ISO/IEC 14496-15; returns each length and NAL unit in turn."""
    pieces: list[bytes] = []
    for piece in data.split(b"\0\0\1")[1:]:
        unit = piece.rstrip(b"\0")  # zeros of the next start code, or padding: no NAL unit ends in 0
        pieces += (_LENGTH.pack(len(unit)), unit)
    return pieces


def decode_times(times: Sequence[int], after: int, shown: int) -> list[int]:
    """Returns the decode times of samples shown at `times`, in ticks: rising, later than `after`.

    None is later than its own sample is shown, or one that follows; those that follow the last are shown after `shown`.
    Only where this cannot be are they later.
    """
    decoded = list(times)
    least = shown + 2
    for index in range(len(times) - 1, -1, -1):
        least = decoded[index] = min(least - 1, times[index])
    for index, ticks in enumerate(decoded):
        after = decoded[index] = max(after + 1, ticks)
    return decoded


class Run:
    """The samples of one track in the open fragment. `number`: its track_ID; `annex_b`: True for units in Annex B."""

    __slots__ = (
        "_annex_b", "_before", "_decoded", "_highest", "_reordered",
        "flags", "number", "pieces", "places", "sizes", "times", "video",
    )  # fmt: skip

    def __init__(self, number: int, *, video: bool, annex_b: bool) -> None:
        self.number = number
        self.video = video
        self._annex_b = annex_b
        self.times: list[int] = []
        """Presentation times of the samples in ticks, in the order in which they are decoded."""
        self._highest = self._before = -1
        """The latest presentation time of the file, and the one that it overtook."""
        self._reordered = False
        """True once a sample was shown before one that was decoded earlier."""
        self._decoded = -1
        """Decode time of the last sample of the fragments before."""
        self.sizes: list[int] = []
        self.flags: list[int] = []
        self.pieces: list[bytes] = []
        self.places: list[tuple[int, int, int]] = []
        """(time, offset of the `moof`, number of the `traf`) of each fragment with samples of this track."""

    def add(self, ticks: int, data: bytes, key: bool) -> None:
        """Adds a unit at `ticks`."""
        self.times.append(ticks)
        if ticks > self._highest:
            self._before, self._highest = self._highest, ticks
        else:
            self._reordered = True
        self.flags.append(_KEY if key else _NOT_KEY)
        if self._annex_b:
            pieces = annex_b_to_length_prefixed(data) or [data]
            self.sizes.append(sum(map(len, pieces)))
            self.pieces += pieces
        else:
            self.sizes.append(len(data))
            self.pieces.append(data)

    def box(self, offset: int, last_duration: int) -> bytes:
        """Returns the `traf`. Its data begins `offset` bytes after the `moof`; `last_duration` is in ticks."""
        times, decoded = self.times, self.times
        if self._reordered:
            decoded = decode_times(times, self._decoded, self._before)
            last_duration = max(1, self._highest + self._distance(last_duration) - decoded[-1])
        self._decoded = decoded[-1]
        durations = [later - earlier for earlier, later in pairwise(decoded)]
        durations.append(last_duration)
        if max(durations) > _MAX_UINT32:
            durations = [min(duration, _MAX_UINT32) for duration in durations]
        columns = [durations, self.sizes, self.flags] if self.video else [durations, self.sizes]
        kind = _VIDEO_RUN if self.video else _AUDIO_RUN
        if self._reordered:
            kind = _REORDERED_RUN
            columns.append([shown - at & _MAX_UINT32 for shown, at in zip(times, decoded, strict=True)])
        width = len(columns)
        words = [0] * (width * len(times))
        for column, values in enumerate(columns):
            words[column::width] = values
        size = self.box_size
        head = _TRAF.pack(
            size, b"traf", 20, b"tfhd", _TFHD, self.number, _KEY, 20, b"tfdt", 1 << 24, decoded[0],
            size - 48, b"trun", kind, len(times), offset,
        )  # fmt: skip
        return head + Struct(f">{len(words)}I").pack(*words)

    @property
    def box_size(self) -> int:
        """Returns the size of the `traf` in bytes."""
        return _TRAF.size + (16 if self._reordered else 12 if self.video else 8) * len(self.times)

    def _distance(self, guess: int) -> int:
        """Returns the usual distance of two pictures in the order in which they are shown, in ticks."""
        ordered = sorted(self.times)
        distances = sorted(later - earlier for earlier, later in pairwise(ordered))
        return distances[len(distances) // 2] if distances else guess

    def clear(self) -> None:
        """Removes the samples, for the next fragment."""
        self.times, self.sizes, self.flags, self.pieces = [], [], [], []

    def index(self) -> bytes:
        """Returns the `tfra`: the offset of each fragment (section 8.8.10)."""
        entries = b"".join(_ENTRY.pack(*place, 1, 1) for place in self.places)
        head = _RANDOM_ACCESS.pack(24 + len(entries), b"tfra", 1 << 24, self.number, 0, len(self.places))
        return head + entries


class Fragments:
    """The fragments of one file. `header`: bytes of its header; `runs`: its tracks in the order of their track_IDs."""

    def __init__(self, header: int, runs: list[Run]) -> None:
        self._offset = header
        self._sequence = 0
        self._runs = runs

    def end(self, last_durations: list[int]) -> bytes:
        """Ends the open fragment and returns it. `last_durations`: ticks of the last sample of each track."""
        runs = [(run, ticks) for run, ticks in zip(self._runs, last_durations, strict=True) if run.times]
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
        """Returns the `mfra`, the end of a file: players use it to seek (section 8.8.9)."""
        tables = b"".join(run.index() for run in self._runs)
        size = 8 + len(tables) + 16
        return _BOX.pack(size, b"mfra") + tables + Struct(">I4sII").pack(16, b"mfro", 0, size)
