"""A parser for the elements of a WebM file (RFC 9559, RFC 8794) that a recording uses.

Owns where clusters begin and end, which are whole, and which time they cover. Never reads frames, never writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from recorder.store.file_layout import LOST, FileLayout, Part, ReadBytes, goes_on
from recorder.store.sound import FrameBytes

_EBML, _SEGMENT, _INFO, _TRACKS = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B
_CLUSTER, _CUES = 0x1F43B675, 0x1C53BB6B
_OUTER = {_INFO, _TRACKS, _CLUSTER, _CUES, 0x114D9B74, 0x1254C367, 0x1941A469, 0x1043A770, 0xEC, 0xBF}
"""The elements that a Segment can hold (RFC 9559 section 5.1); any other one is damage."""
_SCALE, _ENTRY, _NUMBER, _TYPE = 0x2AD7B1, 0xAE, 0xD7, 0x83
_TIME, _SIMPLE, _GROUP, _BLOCK, _REFERENCE = 0xE7, 0xA3, 0xA0, 0xA1, 0xFB
_VIDEO = 1
_KEY = 0x80  # the first bit of a SimpleBlock's flags
_MAX_CLUSTER_BYTES = 64 * 1024 * 1024
"""A larger size is taken for damage; reading it would need as much memory."""
_MAX_ELEMENTS = 1 << 22
"""More elements on one level are damage."""
_MAX_NUMBER_BYTES = 8


class WebmElement(NamedTuple):
    """An element; `body` is the offset of its contents, `end` that of the first byte after it."""

    kind: int
    offset: int
    body: int
    end: int


class _Block(NamedTuple):
    """A frame: its track, its time in ticks of the file, and `key`: True if decoding can start with it."""

    track: int
    ticks: int
    key: bool


def layout(read: ReadBytes, size: int, known: FileLayout = LOST) -> FileLayout:
    """Returns the layout of a WebM file of `size` bytes, up to its first damaged element; LOST if nothing plays.

    `known`: its layout when it was shorter, if it has only grown since.
    """
    outer = list(_elements(read, 0, size))
    if [element.kind for element in outer[:2]] != [_EBML, _SEGMENT]:
        return LOST
    scale, video, header, end = 1_000_000, frozenset[int](), known.header, known.end
    parts: list[Part] = []
    indexed = known.indexed
    before = _elements(read, outer[1].body, header or outer[1].end)
    for element in [*before, *_elements(read, end or header, outer[1].end)] if header else before:
        if element.kind not in _OUTER:
            break
        if element.kind == _CLUSTER:
            part = _part(read, element, scale, video)
            if part is None or not goes_on(part, [*known.parts[-1:], *parts[-1:]]):
                break
            header = header or element.offset
            parts.append(part)
        elif element.kind in (_INFO, _TRACKS) and not parts and element.end - element.body <= _MAX_CLUSTER_BYTES:
            contents = read(element.body, element.end - element.body)
            scale = _number(contents, _SCALE, scale)
            video |= _video_tracks(contents) if element.kind == _TRACKS else frozenset()
        indexed |= element.kind == _CUES
        end = max(end, element.end)
    return FileLayout.of(header or end, [*known.parts, *parts], end, indexed=indexed)


def beginning(header: bytes) -> list[WebmElement]:
    """Returns the Segment and then the elements at its beginning, from the bytes before the first part."""
    outer = list(_within(header))
    if [element.kind for element in outer] != [_EBML, _SEGMENT]:
        return []
    return [outer[1], *_elements(lambda at, size: header[at : at + size], outer[1].body, len(header))]


def parts(data: bytes, offset: int, video: frozenset[int]) -> Iterator[Part]:
    """Yields the clusters in the bytes that a file has from `offset` on, in milliseconds as FFmpeg writes them.

    `video`: numbers of the tracks of video.
    """
    for element in _within(data):
        if element.kind == _CLUSTER and (
            part := _part(lambda at, size: data[at : at + size], element, 1_000_000, video)
        ):
            yield replace(part, offset=offset + part.offset)


def frames(read: ReadBytes, header: int, part: Part) -> list[FrameBytes] | None:
    """Returns where the frames of a part lie; None if it holds none. `header`: the bytes before the first part."""
    outer = list(_elements(read, 0, header))
    video = frozenset[int]()
    for element in _elements(read, outer[1].body, header) if len(outer) > 1 else ():
        if element.kind == _TRACKS:
            video |= _video_tracks(read(element.body, element.end - element.body))
    data = read(part.offset, part.size)
    found: list[FrameBytes] = []
    for cluster in _within(data):
        for element in _elements(lambda at, size: data[at : at + size], cluster.body, cluster.end):
            inner = [element] if element.kind == _SIMPLE else []
            if element.kind == _GROUP:
                within = _elements(lambda at, size: data[at : at + size], element.body, element.end)
                inner = [one for one in within if one.kind == _BLOCK]
            for block in inner:
                track, at = _size(data, block.body)
                found.append(FrameBytes(at + 3, block.end, track in video))
    return found or None


def _part(read: ReadBytes, element: WebmElement, scale: int, video: frozenset[int]) -> Part | None:
    """Returns a cluster as a part; None if it is damaged or has no frame."""
    if element.end - element.body > _MAX_CLUSTER_BYTES:
        return None
    cluster = read(element.body, element.end - element.body)
    blocks = list(_blocks(cluster))
    if not blocks or _whole_bytes(cluster) != len(cluster):
        return None
    times = [block.ticks * scale // 1000 for block in blocks]
    key_us = None if video else min(times)
    first = next((block for block in blocks if block.track in video), None)
    if first is not None and first.key:
        key_us = first.ticks * scale // 1000
    return Part(
        offset=element.offset,
        size=element.end - element.offset,
        start_us=min(times),
        end_us=max(times) + _frame_us(blocks, scale),
        key_us=key_us,
    )


def _frame_us(blocks: list[_Block], scale: int) -> int:
    """Returns the duration of the last frame: that of the frame before it on the same track."""
    last = max(blocks, key=lambda block: block.ticks)
    earlier = [block.ticks for block in blocks if block.track == last.track and block.ticks < last.ticks]
    return (last.ticks - max(earlier)) * scale // 1000 if earlier else 0


def _blocks(cluster: bytes) -> Iterator[_Block]:
    base = _number(cluster, _TIME, 0)
    for element in _within(cluster):
        body = cluster[element.body : element.end]
        if element.kind == _SIMPLE:
            yield from _block(body, base, key=None)
        elif element.kind == _GROUP:
            inner = {part.kind: body[part.body : part.end] for part in _within(body)}
            yield from _block(inner.get(_BLOCK, b""), base, key=_REFERENCE not in inner)


def _block(body: bytes, base: int, *, key: bool | None) -> Iterator[_Block]:
    track, at = _size(body, 0)
    if at and len(body) >= at + 3:
        ticks = base + int.from_bytes(body[at : at + 2], "big", signed=True)
        yield _Block(track, ticks, bool(body[at + 2] & _KEY) if key is None else key)


def _video_tracks(tracks: bytes) -> frozenset[int]:
    entries = [tracks[element.body : element.end] for element in _within(tracks) if element.kind == _ENTRY]
    return frozenset(_number(entry, _NUMBER, 0) for entry in entries if _number(entry, _TYPE, 0) == _VIDEO)


def _number(data: bytes, kind: int, default: int) -> int:
    """Returns the value of the unsigned integer element `kind` in `data`."""
    for element in _within(data):
        if element.kind == kind and element.end - element.body <= _MAX_NUMBER_BYTES:
            return int.from_bytes(data[element.body : element.end], "big")
    return default


def _whole_bytes(data: bytes) -> int:
    """Returns the number of bytes of `data` that are whole elements."""
    return max((element.end for element in _within(data)), default=0)


def _within(data: bytes) -> Iterator[WebmElement]:
    return _elements(lambda at, size: data[at : at + size], 0, len(data))


def _elements(read: ReadBytes, at: int, end: int) -> Iterator[WebmElement]:
    """Yields the elements from `at`, up to one that is cut short. A segment of unknown size reaches to the end."""
    for _ in range(_MAX_ELEMENTS):
        head = read(at, 12) if at < end else b""
        length = 9 - head[0].bit_length() if head else 0
        if not 0 < length <= 4 or len(head) <= length:
            return
        kind = int.from_bytes(head[:length], "big")
        size, body = _size(head, length)
        if not body:
            return
        stop = at + body + size
        if size == (1 << 7 * (body - length)) - 1 and kind == _SEGMENT:
            stop = end
        if stop > end:
            if kind == _SEGMENT:
                stop = end
            else:
                return
        yield WebmElement(kind, at, at + body, stop)
        at = stop


def _size(data: bytes, at: int) -> tuple[int, int]:
    """Returns a variable-size integer (RFC 8794 section 4) and the position after it, 0 if it is cut short."""
    if at >= len(data) or not data[at]:
        return 0, 0
    length = 9 - data[at].bit_length()
    if at + length > len(data):
        return 0, 0
    return int.from_bytes(data[at : at + length], "big") & (1 << 7 * length) - 1, at + length
