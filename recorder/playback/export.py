"""Clips: any span of a producer's recordings as one file that plays anywhere, nothing encoded again.

Owns the cut at the key frame before, the joining of segments, and the closing of gaps. Never changes a recording,
except that `make_progressive` puts a finished segment's other form in its place. Slow: belongs in a thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from av.stream import Stream

from recorder.segments.muxer import Copy
from recorder.store.index import Index, Span
from recorder.store.reader import Reader, ReadError
from sfu.rtc.sdp.codec import Kind

_JOINED_US = 1_000_000
"""The longest hole between two segments that stays in a clip as it was: a cut, not a gap."""
_OVERLAP_US = 200_000
"""The longest overlap that is sound running on past the cut; with more, the clock went back."""


class ExportError(ValueError):
    """Nothing was recorded in the span, or no one file can hold it; the message says where to cut it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch without a gap: `at_us` in the clip shows the wall time `start_us`, and so on for `duration_us`."""

    at_us: int
    start_us: int
    duration_us: int


@dataclass(frozen=True, slots=True)
class Clip:
    """A finished export: `.mp4`, or `.webm` where the video is VP8, which may not stand in MP4."""

    path: Path
    pieces: tuple[Piece, ...]


def export(index: Index, room: str, peer: str, *, since_us: int, until_us: int, target: Path) -> Clip:
    """Copies [since_us, until_us) of wall time, from the key frame before it, to `target` with a fitting suffix.

    ExportError as above; MuxError when the target cannot be written: nothing is left of it then.
    """
    spans = index.spans(room, peer, since_us, until_us)
    if not spans:
        raise ExportError(f"nothing of {room}/{peer} was recorded in that time")
    with contextlib.ExitStack() as opened:
        templates = _templates(spans, opened)
        vp8 = "video" in templates and templates["video"].codec_context.name == "vp8"
        path = target.with_suffix(".webm" if vp8 else ".mp4")
        with _removed_on_failure(path):
            copy = Copy(path, templates, start_us=max(since_us, spans[0].start_us), title=f"{room}/{peer}")
            with contextlib.closing(copy):
                pieces = _copied(copy, spans, since_us, until_us)
    if not pieces:
        path.unlink(missing_ok=True)
        raise ExportError(f"nothing of {room}/{peer} that was recorded in that time plays")
    return Clip(path, tuple(pieces))


def _templates(spans: Sequence[Span], opened: contextlib.ExitStack) -> dict[Kind, Stream]:
    """The first stream of each kind; ExportError where a later segment's does not continue it."""
    templates: dict[Kind, Stream] = {}
    for span in spans:
        try:
            reader = Reader(span.segment.path)
        except ReadError:
            continue
        with contextlib.ExitStack() as mine:
            mine.enter_context(reader)
            for kind, stream in reader.streams.items():
                known = templates.setdefault(kind, stream)
                if known.codec_context.name != stream.codec_context.name:
                    raise ExportError(f"the {kind} becomes {stream.codec_context.name} with {span.segment.path.name}")
            if any(stream in reader.streams.values() for stream in templates.values()):
                opened.push(mine.pop_all())
    return templates


def _copied(copy: Copy, spans: Sequence[Span], since_us: int, until_us: int) -> list[Piece]:
    """Copies what the spans hold of the time asked for; where it lies in the clip."""
    pieces: list[Piece] = []
    for span in spans:
        shift: int | None = None  # from the segment's time to the clip's
        end_us = 0
        for kind, pts_us, data, key in _packets(span, since_us, until_us):
            if shift is None:
                pieces, shift = _placed(pieces, span.start_us + pts_us, pts_us)
            end_us = max(end_us, pts_us + copy.write(kind, max(0, pts_us + shift), data, key=key))
        if shift is not None:
            last = pieces.pop()
            pieces.append(Piece(last.at_us, last.start_us, end_us + shift - last.at_us))
    return pieces


def _packets(span: Span, since_us: int, until_us: int) -> Iterator[tuple[Kind, int, bytes, bool]]:
    """A segment that was deleted or damaged meanwhile is a gap."""
    with contextlib.suppress(ReadError), _reader(span, since_us, until_us) as reader:
        yield from reader.packets()


def _reader(span: Span, since_us: int, until_us: int) -> Reader:
    return Reader(span.segment.path, max(0, since_us - span.start_us), until_us - span.start_us)


def _placed(pieces: list[Piece], wall_us: int, pts_us: int) -> tuple[list[Piece], int]:
    """The pieces with room for a segment whose first unit is of `wall_us`, and its shift into the clip."""
    if not pieces:
        return [Piece(0, wall_us, 0)], -pts_us
    last = pieces[-1]
    hole_us = wall_us - (last.start_us + last.duration_us)
    at_us = last.at_us + last.duration_us
    if -_OVERLAP_US <= hole_us <= _JOINED_US:
        return pieces, at_us + hole_us - pts_us
    return [*pieces, Piece(at_us, wall_us, 0)], at_us - pts_us


@contextlib.contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise
