"""A parser for the boxes of an MP4 file (ISO/IEC 14496-12) that a recording uses.

Owns where fragments begin and end, which are whole, and which time they cover. Never reads samples, never writes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from recorder.store.file_layout import LOST, MAX_FILE_US, FileLayout, Part, ReadBytes, goes_on
from recorder.store.sound import FrameBytes

_HEAD = struct.Struct(">I4s")
_MAX_HEADER_BYTES = 64 * 1024 * 1024
"""A larger `moov` or `moof` is taken for damage; reading it would need as much memory."""
_MAX_BOXES = 1 << 22
"""More boxes in one file are damage: the parts of three weeks."""
_DAMAGE = (struct.error, IndexError, KeyError, ValueError, ArithmeticError)
"""What reading a damaged header raises."""
_NOT_SYNC = 0x00010000  # sample_is_non_sync_sample, 8.8.3.1
_BASE_OFFSET, _DESCRIPTION, _DURATION, _SIZE, _FLAGS = 0x01, 0x02, 0x08, 0x10, 0x20  # tfhd, 8.8.7
_DATA_OFFSET, _FIRST_FLAGS = 0x01, 0x04  # trun, 8.8.8
_PREFIXED = (b"avc1", b"avc3", b"hvc1", b"hev1")  # sample entries of ISO/IEC 14496-15
_OFFSETS = 0x800  # each sample's composition offset, signed in version 1; none of ours is as large as to differ
_PER_SAMPLE = (0x100, 0x200, 0x400, _OFFSETS)  # its duration, size, flags, composition offset


class Box(NamedTuple):
    """A box; `body` is the offset of its contents, `end` that of the first byte after it."""

    kind: bytes
    offset: int
    body: int
    end: int


@dataclass(frozen=True, slots=True)
class _Track:
    """The defaults for the samples of a track, from the header (`mdhd`, `hdlr`, `trex`)."""

    rate: int
    video: bool
    prefixed: bool
    """True if NAL units have their lengths before them."""
    duration: int
    flags: int


@dataclass(frozen=True, slots=True)
class _Run:
    """The samples of one track in one fragment; `data_end` counts bytes from the start of the `moof`."""

    start_us: int
    first_us: int
    """When the first sample is shown; others of the run may be shown earlier."""
    end_us: int
    data_end: int
    video: bool
    key: bool


def layout(read: ReadBytes, size: int, known: FileLayout = LOST) -> FileLayout:
    """Returns the layout of an MP4 file of `size` bytes, fragmented or progressive; LOST if nothing plays.

    `known`: its layout when it was shorter, if it has only grown since.
    """
    goes_on_at = known.end or known.header
    boxes = [*_boxes(read, 0, known.header or size), *(_boxes(read, goes_on_at, size) if goes_on_at else ())]
    moov = next((box for box in boxes if box.kind == b"moov"), None)
    if moov is None or moov.end - moov.offset > _MAX_HEADER_BYTES:
        return LOST
    header = read(moov.body, moov.end - moov.body)
    try:
        tracks = _tracks(header)
        if _child(header, b"mvex") is None:
            return _progressive(boxes, header)
        return _fragmented(read, boxes, moov, tracks, known)
    except _DAMAGE:
        return LOST


def _progressive(boxes: list[Box], header: bytes) -> FileLayout:
    if not any(box.kind == b"mdat" for box in boxes):
        return LOST
    mvhd = _child(header, b"mvhd") or b""
    rate, duration = struct.unpack_from(">IQ", mvhd, 20) if mvhd[0] else struct.unpack_from(">II", mvhd, 12)
    duration_us = duration * 1_000_000 // rate
    return FileLayout(0, (), boxes[-1].end, duration_us, indexed=True) if duration_us <= MAX_FILE_US else LOST


def _fragmented(
    read: ReadBytes, boxes: list[Box], moov: Box, tracks: dict[int, _Track], known: FileLayout
) -> FileLayout:
    """Returns the layout up to the first `moof` that is damaged or not followed by its own `mdat`."""
    parts = list(known.parts)
    end = known.end or moov.end
    following = iter(box for box in boxes if box.offset >= moov.end)
    for box in following:
        if box.kind == b"moof":
            data = next(following, None)
            part = _part(read, box, data, tracks) if data is not None and data.kind == b"mdat" else None
            if part is None or not goes_on(part, parts):
                break
            parts.append(part)
            end = part.offset + part.size
        elif box.kind == b"mfra":
            end = box.end
        elif box.kind == b"mdat":
            break
    return FileLayout.of(moov.end, parts, end)


def _part(read: ReadBytes, moof: Box, data: Box, tracks: dict[int, _Track]) -> Part | None:
    """Returns a fragment; None if its header is damaged or describes more bytes than its data has."""
    if moof.end - moof.offset > _MAX_HEADER_BYTES:
        return None
    try:
        runs = list(_runs(read(moof.body, moof.end - moof.body), tracks))
    except _DAMAGE:
        return None
    if not runs or any(run.data_end > data.end - moof.offset for run in runs):
        return None
    start_us = min(run.start_us for run in runs)
    if any(track.video for track in tracks.values()):
        key_us = next((run.first_us if run.key else None for run in runs if run.video), None)
    else:
        key_us = start_us
    return Part(
        offset=moof.offset,
        size=data.end - moof.offset,
        start_us=start_us,
        end_us=max(run.end_us for run in runs),
        key_us=key_us,
    )


def frames(read: ReadBytes, header: int, part: Part) -> list[FrameBytes] | None:
    """Returns where the samples of a part lie; None if its boxes contradict each other.

    `header`: the bytes before the first part of the file.
    """
    moov = next(box for box in _boxes(read, 0, header) if box.kind == b"moov")
    moof, data = _boxes(read, part.offset, part.offset + part.size)
    found: list[FrameBytes] = []
    try:
        tracks = _tracks(read(moov.body, moov.end - moov.body))
        for traf in _children(read(moof.body, moof.end - moof.body), b"traf"):
            head, run = _child(traf, b"tfhd") or b"", _child(traf, b"trun") or b""
            track, _, size, _ = _defaults(head, tracks)
            at, sizes = _sample_sizes(run, size)
            if at < data.body - moof.offset or at + sum(sizes) > part.size:
                return None
            for one in sizes:
                found.append(FrameBytes(at, at + one, track.video, track.prefixed))
                at += one
    except _DAMAGE:
        return None
    return found


def _sample_sizes(run: bytes, size: int) -> tuple[int, list[int]]:
    """Returns where the data of a `trun` begins, from the start of the `moof`, and the bytes of each sample."""
    present, count, offset = struct.unpack_from(">IIi", run)
    fields = [bool(present & flag) for flag in _PER_SAMPLE]
    if not fields[1]:
        return offset, [size] * min(count, len(run))
    at = 12 + (4 if present & _FIRST_FLAGS else 0)
    width = sum(fields)
    return offset, list(struct.unpack_from(f">{count * width}I", run, at)[fields[0] :: width])


def _runs(moof: bytes, tracks: dict[int, _Track]) -> Iterator[_Run]:
    for traf in _children(moof, b"traf"):
        boxes: dict[bytes, bytes] = {}
        for kind, body, end in _inside(traf):
            boxes.setdefault(kind, traf[body:end])
        head, time, run = boxes.get(b"tfhd"), boxes.get(b"tfdt"), boxes.get(b"trun")
        if head is None or time is None or run is None:
            continue
        track, sample_duration, sample_size, flags = _defaults(head, tracks)
        begin = struct.unpack_from(">Q" if time[0] else ">I", time, 4)[0]
        duration, size, offset, flags = _samples(run, sample_duration, sample_size, flags)
        shown = _shown(run, sample_duration)
        yield _Run(
            start_us=(begin + min(shown)) * 1_000_000 // track.rate,
            first_us=(begin + shown[0]) * 1_000_000 // track.rate,
            end_us=(begin + max(duration, *shown)) * 1_000_000 // track.rate,
            data_end=offset + size,
            video=track.video,
            key=not flags & _NOT_SYNC,
        )


def _defaults(head: bytes, tracks: dict[int, _Track]) -> tuple[_Track, int, int, int]:
    """Returns the track of a `tfhd`, and the default duration, size and flags of its samples."""
    (present, number) = struct.unpack_from(">II", head)
    track = tracks[number]
    values = {_DURATION: track.duration, _SIZE: 0, _FLAGS: track.flags}
    at = 8
    for flag, width in ((_BASE_OFFSET, 8), (_DESCRIPTION, 4), (_DURATION, 4), (_SIZE, 4), (_FLAGS, 4)):
        if present & flag:
            if flag in values:
                values[flag] = struct.unpack_from(">I", head, at)[0]
            at += width
    return track, values[_DURATION], values[_SIZE], values[_FLAGS]


def _samples(run: bytes, duration: int, size: int, flags: int) -> tuple[int, int, int, int]:
    """Returns the duration and bytes of all samples of a `trun`, and the offset and flags of the first.

    Durations are in ticks of the track; the offset counts from the start of the `moof`.
    """
    present, count = struct.unpack_from(">II", run)
    at, offset = 8, 0
    if present & _DATA_OFFSET:
        offset, at = struct.unpack_from(">i", run, at)[0], at + 4
    if present & _FIRST_FLAGS:
        flags, at = struct.unpack_from(">I", run, at)[0], at + 4
    fields = [bool(present & flag) for flag in _PER_SAMPLE]
    width = sum(fields)
    if len(run) < at + count * width * 4:
        raise IndexError("a trun is shorter than its samples")
    words = struct.unpack_from(f">{count * width}I", run, at)
    durations = sum(words[0::width]) if fields[0] else duration * count
    sizes = sum(words[fields[0] :: width]) if fields[1] else size * count
    if fields[2] and count and not present & _FIRST_FLAGS:
        flags = words[fields[0] + fields[1]]
    return durations, sizes, offset, flags


def _shown(run: bytes, duration: int) -> list[int]:
    """Returns when each sample of a `trun` is shown, in ticks after its `tfdt`; [0] if that is when it is decoded."""
    present, count = struct.unpack_from(">II", run)
    if not present & _OFFSETS or not count:
        return [0]
    at = 8 + sum(4 for flag in (_DATA_OFFSET, _FIRST_FLAGS) if present & flag)
    width = sum(bool(present & flag) for flag in _PER_SAMPLE)
    words = struct.unpack_from(f">{count * width}i", run, at)  # its length was checked
    durations = words[0::width] if present & _PER_SAMPLE[0] else [duration] * count
    return [
        at + offset for at, offset in zip(accumulate(durations, initial=0), words[width - 1 :: width], strict=False)
    ]


def _tracks(header: bytes) -> dict[int, _Track]:
    extends = {}
    for mvex in _children(header, b"mvex"):
        for trex in _children(mvex, b"trex"):
            number, _, duration, _, flags = struct.unpack_from(">5I", trex, 4)
            extends[number] = (duration, flags)
    tracks = {}
    for trak in _children(header, b"trak"):
        tkhd, mdia = _child(trak, b"tkhd") or b"", _child(trak, b"mdia") or b""
        mdhd, hdlr = _child(mdia, b"mdhd") or b"", _child(mdia, b"hdlr") or b""
        number = struct.unpack_from(">I", tkhd, 20 if tkhd[0] else 12)[0]
        rate = struct.unpack_from(">I", mdhd, 20 if mdhd[0] else 12)[0]
        tables = _child(_child(mdia, b"minf") or b"", b"stbl") or b""
        prefixed = (_child(tables, b"stsd") or b"")[12:16] in _PREFIXED
        tracks[number] = _Track(rate, hdlr[8:12] == b"vide", prefixed, *extends.get(number, (0, 0)))
    if not all(track.rate for track in tracks.values()):
        raise IndexError("a track has no clock rate")
    return tracks


def _child(data: bytes, kind: bytes) -> bytes | None:
    return next(_children(data, kind), None)


def _children(data: bytes, kind: bytes) -> Iterator[bytes]:
    for found, body, end in _inside(data):
        if found == kind:
            yield data[body:end]


def _inside(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields (kind, body, end) of the boxes in `data`: `_boxes` without its reads, since every part needs this."""
    at = 0
    while at + 8 <= len(data):
        size, kind = _HEAD.unpack_from(data, at)
        body = at + 8
        if size == 1 and at + 16 <= len(data):
            size, body = struct.unpack_from(">Q", data, body)[0], body + 8
        if size < body - at or at + size > len(data):
            return
        yield kind, body, at + size
        at += size


def _boxes(read: ReadBytes, at: int, end: int) -> Iterator[Box]:
    """Yields the boxes from `at`, up to one that is cut short."""
    for _ in range(_MAX_BOXES):
        head = read(at, 8) if at + 8 <= end else b""
        if len(head) < 8:  # the end, or a file that became shorter
            return
        size, kind = struct.unpack(">I4s", head)
        body = at + 8
        if size == 1:
            wide = read(body, 8)
            if len(wide) < 8:
                return
            size, body = struct.unpack(">Q", wide)[0], body + 8
        if size < body - at or at + size > end:
            return
        yield Box(kind, at, body, at + size)
        at += size
