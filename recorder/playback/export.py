"""Export: copies any span of a producer's recordings into one file that plays anywhere, without encoding again.

Owns the cut at the key frame before the span, the joining of segments, and the closing of gaps. Never changes a
recording. Slow: call it in a thread or a process of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from av.stream import Stream

from recorder.playback.space import Space
from recorder.segments.muxer import Copy
from recorder.store.index import Index, Span
from recorder.store.reader import Reader, ReadError, RecordedPacket
from recorder.store.turn import HEAD_BYTES, turn_in
from sfu.rtc.sdp.codec import Kind

_MAX_JOINED_HOLE_US = 1_000_000
"""The longest hole between two segments that a clip keeps. A longer one is a gap, and is closed."""
_MAX_OVERLAP_US = 200_000
"""The longest overlap of two segments that are joined: sound runs on past the cut. With more, the clock went back."""

_KEY_FRAME_DISTANCE_US = 10_000_000
"""A copy begins this much before its time span at most, for an estimate of its size."""
CHECK_EVERY_BYTES = 16_000_000
"""The bytes between two looks at the space that is left: other clips and recordings take some, too."""


class ExportError(ValueError):
    """Nothing was recorded in the span, or one file cannot hold it; the message says where to split it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a clip without gaps: from `at_us` in the clip, `duration_us` recorded from wall time `start_us` on."""

    at_us: int
    start_us: int
    duration_us: int


@dataclass(frozen=True, slots=True)
class Clip:
    """A finished export: MP4, or WebM if the video is VP8, which MP4 cannot hold. `suffix`: `.mp4` or `.webm`."""

    path: Path
    suffix: str
    pieces: tuple[Piece, ...]


def export(
    index: Index,
    room: str,
    peer: str,
    *,
    since_us: int,
    until_us: int,
    target: Path,
    rename: bool = True,
    space: Space | None = None,
) -> Clip:
    """Copies the wall time [since_us, until_us), from the key frame before it, to `target` with a fitting suffix.

    `rename`: False for a name that stays as it is. `space`: what the copy may take of its disk; None for all. Raises
    ExportError if there is nothing to copy or one file cannot hold it, NoSpaceError if it would be too large, and
    MuxError if the target cannot be written; the target is deleted then.
    """
    spans = index.spans(room, peer, since_us, until_us)
    if not spans:
        raise ExportError(f"nothing of {room}/{peer} was recorded in this time span")
    with contextlib.ExitStack() as opened:
        templates = _templates(spans, opened)
        vp8 = "video" in templates and templates["video"].codec_context.name == "vp8"
        suffix = ".webm" if vp8 else ".mp4"
        path = target.with_suffix(suffix) if rename else target
        with _removed_on_failure(path):
            if space is not None:
                space.check(needed_bytes(spans, since_us, until_us))
            start_us = max(since_us, spans[0].start_us)
            copy = Copy(path, templates, start_us=start_us, title=f"{room}/{peer}", suffix=suffix)
            with contextlib.closing(copy):
                pieces = _copied(copy, spans, since_us, until_us, space)
    if not pieces:
        path.unlink(missing_ok=True)
        raise ExportError(f"nothing of {room}/{peer} that was recorded in this time span can be played")
    return Clip(path, suffix, tuple(pieces))


def needed_bytes(spans: Sequence[Span], since_us: int, until_us: int) -> int:
    """Returns about how many bytes the copy of a time span takes, from the key frame before it on."""
    needed = 0
    for span in spans:
        copied_us = min(span.end_us, until_us) - max(span.start_us, since_us - _KEY_FRAME_DISTANCE_US)
        needed += span.size * copied_us // max(span.end_us - span.start_us, 1)
    return needed


def _templates(spans: Sequence[Span], opened: contextlib.ExitStack) -> dict[Kind, Stream]:
    """Returns the first stream of each kind. Raises ExportError if a later segment has another codec or turn."""
    templates: dict[Kind, Stream] = {}
    turns: set[bytes] = set()
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
                    raise ExportError(
                        f"the {kind} codec changes to {stream.codec_context.name} with {span.segment.path.name}: "
                        "export the time before and after it separately"
                    )
            turns |= {_turn(span.segment.path)} if "video" in reader.streams else set()
            if len(turns) > 1:
                raise ExportError(
                    f"the camera was turned before {span.segment.path.name}: "
                    "export the time before and after it separately"
                )
            if any(stream in reader.streams.values() for stream in templates.values()):
                opened.push(mine.pop_all())
    return templates


def _turn(path: Path) -> bytes:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return turn_in(file.read(HEAD_BYTES), path.suffix)
    return b""


def _copied(copy: Copy, spans: Sequence[Span], since_us: int, until_us: int, space: Space | None) -> list[Piece]:
    """Copies the packets of [since_us, until_us). Returns the pieces of the clip."""
    pieces: list[Piece] = []
    unchecked = 0
    for span in spans:
        shift: int | None = None  # added to times in the segment to give times in the clip
        end_us = 0
        for kind, pts_us, data, key, dts_us in _packets(span, since_us, until_us):
            if shift is None:
                pieces, shift = _placed(pieces, span.start_us + pts_us, pts_us)
            unchecked += len(data)
            if space is not None and unchecked > CHECK_EVERY_BYTES:
                space.check(0)
                unchecked = 0
            lasts_us = copy.write(kind, max(0, pts_us + shift), data, key=key, dts_us=dts_us + shift)
            end_us = max(end_us, pts_us + lasts_us)
        if shift is not None:
            last = pieces.pop()
            pieces.append(Piece(last.at_us, last.start_us, end_us + shift - last.at_us))
    return pieces


def _packets(span: Span, since_us: int, until_us: int) -> Iterator[RecordedPacket]:
    """Yields the packets of a segment; none if it was deleted or damaged meanwhile, which makes a gap."""
    with contextlib.suppress(ReadError), _reader(span, since_us, until_us) as reader:
        yield from reader.packets()


def _reader(span: Span, since_us: int, until_us: int) -> Reader:
    return Reader(span.segment.path, max(0, since_us - span.start_us), until_us - span.start_us)


def _placed(pieces: list[Piece], wall_us: int, pts_us: int) -> tuple[list[Piece], int]:
    """Returns the pieces with one to hold the next segment, and the shift from its time to that of the clip.

    `wall_us` and `pts_us`: wall time and segment time of its first packet. It extends the last piece if it follows on.
    """
    if not pieces:
        return [Piece(0, wall_us, 0)], -pts_us
    last = pieces[-1]
    hole_us = wall_us - (last.start_us + last.duration_us)
    at_us = last.at_us + last.duration_us
    if -_MAX_OVERLAP_US <= hole_us <= _MAX_JOINED_HOLE_US:
        return pieces, at_us + hole_us - pts_us
    return [*pieces, Piece(at_us, wall_us, 0)], at_us - pts_us


@contextlib.contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise
