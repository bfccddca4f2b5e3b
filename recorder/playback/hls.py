"""HTTP Live Streaming playlists (RFC 8216) of recorded files, whose fragments are fetched by byte ranges.

Owns the choice of fragments for each chunk ("Media Segment" in the RFC) and the text of the playlist. Never opens a
file: layouts come in as arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from recorder.store.file_layout import FileLayout, Part
from sfu.units import rfc3339

_MIN_CHUNK_US: Final = 2_000_000
"""A chunk ends at the first key frame after this time. Shorter chunks would cost a request for every second."""
_MAX_CHUNK_US: Final = 10_000_000
"""A chunk ends after this time without a key frame: some cameras send one only on demand, minutes apart."""
_GROWING_TARGET_S: Final = 12
"""The target duration of a playlist that grows, since it must not change (section 4.3.3.1)."""


@dataclass(frozen=True, slots=True)
class HlsFile:
    """A fragmented MP4 with the URL that a player fetches it from, its start in wall time, and its layout.

    `growing`: True while it is being written.
    """

    url: str
    start_us: int
    layout: FileLayout
    growing: bool = False


@dataclass(frozen=True, slots=True)
class _HlsChunk:
    """Fragments that are fetched in one request; times are media time since the start of their file."""

    offset: int
    size: int
    start_us: int
    end_us: int
    key_us: int | None
    """Time of the key frame that it begins with; None if it begins without one."""


def playlist(files: Sequence[HlsFile], since_us: int, until_us: int, *, growing: bool) -> str | None:
    """Returns the playlist for the wall time [since_us, until_us), from the key frame before it; None if it is empty.

    `growing`: more will be recorded. The same request then returns the same lines later, with new ones after them.
    """
    lines: list[str] = []
    chunks: list[_HlsChunk] = []
    for file in files:
        found = list(_chunks_of_span(file, since_us, until_us, whole=not (growing and file.growing)))
        if found:
            lines += ["#EXT-X-DISCONTINUITY"] if lines else []
            lines += _lines(file, found)
            chunks += found
    if not chunks:
        return None
    longest_s = max(-(-(chunk.end_us - chunk.start_us) // 1_000_000) for chunk in chunks)
    head = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{max(longest_s, _GROWING_TARGET_S) if growing else longest_s}",
        f"#EXT-X-PLAYLIST-TYPE:{'EVENT' if growing else 'VOD'}",
        *(["#EXT-X-INDEPENDENT-SEGMENTS"] if all(chunk.key_us is not None for chunk in chunks) else []),
    ]
    return "\n".join([*head, *lines, *([] if growing else ["#EXT-X-ENDLIST"]), ""])


def _lines(file: HlsFile, chunks: Iterable[_HlsChunk]) -> Iterator[str]:
    """Yields the lines of a file's chunks. The first has the date; players add the durations (section 4.3.2.6)."""
    yield f'#EXT-X-MAP:URI="{file.url}",BYTERANGE="{file.layout.header}@0"'
    dated = False
    for chunk in chunks:
        if not dated:
            yield f"#EXT-X-PROGRAM-DATE-TIME:{rfc3339(file.start_us + chunk.start_us)}"
            dated = True
        yield f"#EXTINF:{(chunk.end_us - chunk.start_us) / 1e6:.6f},"
        yield f"#EXT-X-BYTERANGE:{chunk.size}@{chunk.offset}"
        yield file.url


def _chunks_of_span(file: HlsFile, since_us: int, until_us: int, *, whole: bool) -> Iterator[_HlsChunk]:
    """Yields the chunks of a file that overlap the span, and those before them back to one with a key frame."""
    since_us, until_us = since_us - file.start_us, until_us - file.start_us
    chunks = [chunk for chunk in _chunks(file.layout.parts, whole=whole) if chunk.start_us < until_us]
    starts = [number for number, chunk in enumerate(chunks) if chunk.key_us is not None and chunk.key_us <= since_us]
    first = starts[-1] if starts else 0
    if chunks and chunks[-1].end_us > since_us:
        yield from chunks[first:]


def _chunks(parts: Sequence[Part], *, whole: bool) -> Iterator[_HlsChunk]:
    """Yields the parts of a file joined to chunks. Without `whole`, leaves out the last one, which may still grow."""
    held: list[Part] = []
    for part in parts:
        if held:
            lasted = part.start_us - held[0].start_us
            if lasted >= (_MIN_CHUNK_US if part.key else _MAX_CHUNK_US):
                yield _joined(held, part.start_us)
                held = []
        held.append(part)
    if held and whole:
        yield _joined(held, max(part.end_us for part in held))


def _joined(parts: Sequence[Part], end_us: int) -> _HlsChunk:
    first, last = parts[0], parts[-1]
    size = last.offset + last.size - first.offset
    return _HlsChunk(first.offset, size, first.start_us, max(first.start_us, end_us), first.key_us)
