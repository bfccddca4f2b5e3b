"""HTTP Live Streaming playlists (RFC 8216) of recorded files: their fragments by byte ranges, nothing copied.

Owns which fragments make up a media segment and how the playlist says it. Never opens a file: layouts come in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from recorder.store.file_layout import FileLayout, Part
from sfu.units import rfc3339

_LEAST_US: Final = 2_000_000
"""Shorter segments end at no key frame: a request for each second would cost more than it finds."""
_MOST_US: Final = 10_000_000
"""Longer ones end without: a player need not fetch the minutes of a camera that sends key frames on demand alone."""
_TARGET_S: Final = 12  # of a playlist that grows, whose target duration may not change (section 4.3.3.1)


@dataclass(frozen=True, slots=True)
class HlsFile:
    """A fragmented MP4: where a player fetches it, the wall time it starts at, its layout, whether it still grows."""

    url: str
    start_us: int
    layout: FileLayout
    growing: bool = False


@dataclass(frozen=True, slots=True)
class _HlsChunk:
    """Fragments that are fetched in one; `start_us` and `end_us` in media time since their file's start."""

    offset: int
    size: int
    start_us: int
    end_us: int
    key_us: int | None
    """The key frame that it begins with."""


def playlist(files: Sequence[HlsFile], since_us: int, until_us: int, *, growing: bool) -> str | None:
    """What plays [since_us, until_us) of wall time, from the key frame before it; None if there is nothing.

    `growing`: more is to come; the same request later gives the same playlist and what has come then.
    """
    lines: list[str] = []
    segments: list[_HlsChunk] = []
    for file in files:
        found = list(_wanted(file, since_us, until_us, whole=not (growing and file.growing)))
        if found:
            lines += ["#EXT-X-DISCONTINUITY"] if lines else []
            lines += _lines(file, found)
            segments += found
    if not segments:
        return None
    longest = max(-(-(segment.end_us - segment.start_us) // 1_000_000) for segment in segments)
    head = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{max(longest, _TARGET_S) if growing else longest}",
        f"#EXT-X-PLAYLIST-TYPE:{'EVENT' if growing else 'VOD'}",
        *(["#EXT-X-INDEPENDENT-SEGMENTS"] if all(segment.key_us is not None for segment in segments) else []),
    ]
    return "\n".join([*head, *lines, *([] if growing else ["#EXT-X-ENDLIST"]), ""])


def _lines(file: HlsFile, segments: Iterable[_HlsChunk]) -> Iterator[str]:
    """A file's segments; the date once (section 4.3.2.6), the rest follows from the durations."""
    yield f'#EXT-X-MAP:URI="{file.url}",BYTERANGE="{file.layout.header}@0"'
    dated = False
    for segment in segments:
        if not dated:
            yield f"#EXT-X-PROGRAM-DATE-TIME:{rfc3339(file.start_us + segment.start_us)}"
            dated = True
        yield f"#EXTINF:{(segment.end_us - segment.start_us) / 1e6:.6f},"
        yield f"#EXT-X-BYTERANGE:{segment.size}@{segment.offset}"
        yield file.url


def _wanted(file: HlsFile, since_us: int, until_us: int, *, whole: bool) -> Iterator[_HlsChunk]:
    """The segments of a file that overlap the span, and those before them back to one with a key frame."""
    since_us, until_us = since_us - file.start_us, until_us - file.start_us
    segments = [s for s in _segments(file.layout.parts, whole=whole) if s.start_us < until_us]
    before = [number for number, s in enumerate(segments) if s.key_us is not None and s.key_us <= since_us]
    first = before[-1] if before else 0
    if segments and segments[-1].end_us > since_us:
        yield from segments[first:]


def _segments(parts: Sequence[Part], *, whole: bool) -> Iterator[_HlsChunk]:
    """Of all parts, from the first on; unless the file is `whole`, without the last, to which more may come."""
    held: list[Part] = []
    for part in parts:
        if held:
            lasted = part.start_us - held[0].start_us
            if lasted >= (_LEAST_US if part.key else _MOST_US):
                yield _joined(held, part.start_us)
                held = []
        held.append(part)
    if held and whole:
        yield _joined(held, max(part.end_us for part in held))


def _joined(parts: Sequence[Part], end_us: int) -> _HlsChunk:
    first, last = parts[0], parts[-1]
    return _HlsChunk(first.offset, last.offset + last.size - first.offset, first.start_us, end_us, first.key_us)
