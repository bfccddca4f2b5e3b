"""The packets of a segment as they were recorded, from the key frame before any moment on.

Owns reading with PyAV. It reads whole parts only, so a file that is still growing, or was never finished, reads like
any other. Never decodes, never writes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import av
from av.stream import Stream

from recorder.store.file_layout import FileLayout
from recorder.store.index import layout_in
from sfu.media.formats.picture_size import DECODER_OPTIONS
from sfu.rtc.sdp.codec import Kind

_BUFFER_BYTES = 1 << 18
_OPTIONS = {"codec_whitelist": "vp8,vp9,libdav1d,opus", **DECODER_OPTIONS}
"""FFmpeg decodes the first frame to find out its form. Only these need it; their decoders heed the bound at once."""
_MAX_EARLY_US = 10_000_000
"""Frames before the start of the file, or after its end, by more than this have damaged times."""


class ReadError(RuntimeError):
    """The file is gone or damaged, or nothing in it plays."""


class RecordedPacket(NamedTuple):
    """One unit as stored in its container; `pts_us` and its decode time, `dts_us`, count from the segment's start."""

    kind: Kind
    pts_us: int
    data: bytes
    key: bool
    dts_us: int


class Reader:
    """One open segment, as a context manager.

    `since_us` and `until_us`: the span to read, counted from the segment's start. `layout`: that of the file, if it is
    known already. Raises ReadError if nothing in the file plays.
    """

    def __init__(
        self, path: Path, since_us: int = 0, until_us: int | None = None, *, layout: FileLayout | None = None
    ) -> None:
        with contextlib.ExitStack() as opened:
            try:
                file = opened.enter_context(path.open("rb"))
                layout = layout or layout_in(file, path.suffix)
                if not layout.end:
                    raise ReadError(f"{path}: nothing in this file plays")
                source: Any = _JoinedPieces(file, _pieces(layout, since_us, until_us)) if layout.parts else file
                self._container = opened.enter_context(
                    av.open(source, format=path.suffix[1:], options=_OPTIONS, buffer_size=_BUFFER_BYTES)
                )
                if not layout.parts:
                    self._container.seek(since_us, backward=True)
                streams = [*self._container.streams.video[:1], *self._container.streams.audio[:1]]
                self.streams: dict[Kind, Stream] = {
                    _kind(stream): stream for stream in streams if stream.codec_context is not None
                }
                if not self.streams:
                    raise ReadError(f"{path}: nothing in this file plays")
            except ReadError:
                raise
            except Exception as error:  # PyAV raises more than its own errors for damaged files
                raise ReadError(f"{path}: {error}") from error
            self._opened = opened.pop_all()
        self._path = path
        self._since_us = since_us
        self._until_us = until_us
        self._plausible_us = range(-_MAX_EARLY_US, layout.duration_us + _MAX_EARLY_US)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *reason: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._opened.close()

    def packets(self) -> Iterator[RecordedPacket]:
        """Yields the video from the key frame at or before `since_us`, and the audio from that frame's time on.

        Video comes in the order in which it is decoded, without pictures that are shown before the first key frame.
        Raises ReadError if the file cannot be read on.
        """
        begun = "video" not in self.streams
        first_us = 0
        waiting: list[RecordedPacket] = []
        for packet in self._all():
            if begun:
                if packet.kind == "video" and packet.pts_us < first_us:
                    continue  # it needs pictures from before the key frame
                if packet.kind == "video" or packet.pts_us >= self._since_us or waiting:
                    yield packet
            elif packet.kind == "audio":
                waiting.append(packet)
            elif packet.key:
                begun = True
                yield packet
                self._since_us = first_us = packet.pts_us
                yield from (held for held in waiting if held.pts_us >= packet.pts_us)
                waiting.clear()

    def _all(self) -> Iterator[RecordedPacket]:
        try:
            for packet in self._container.demux(list(self.streams.values())):
                if packet.size and packet.pts is not None and packet.time_base is not None:
                    kind, pts_us = _kind(packet.stream), round(packet.pts * packet.time_base * 1_000_000)
                    dts_us = pts_us
                    if kind == "video" and packet.dts is not None and packet.dts < packet.pts:
                        dts_us = round(packet.dts * packet.time_base * 1_000_000)
                    if pts_us in self._plausible_us and (self._until_us is None or dts_us < self._until_us):
                        yield RecordedPacket(kind, pts_us, bytes(packet), packet.is_keyframe, dts_us)
        except (OSError, ValueError, OverflowError, av.FFmpegError) as error:
            raise ReadError(f"{self._path}: {error}") from error


def _kind(stream: Stream) -> Kind:
    return "video" if stream.type == "video" else "audio"


def _pieces(layout: FileLayout, since_us: int, until_us: int | None) -> list[tuple[int, int]]:
    """Returns (offset, size) of the header, and of the parts from the last one with a key frame up to `since_us`."""
    keys = [part for part in layout.parts if part.key_us is not None and part.key_us <= since_us]
    first = keys[-1] if keys else layout.parts[0]
    wanted = [
        part for part in layout.parts if part.offset >= first.offset and (until_us is None or part.start_us < until_us)
    ]
    return [(0, layout.header), *((part.offset, part.size) for part in wanted)]


class _JoinedPieces:
    """Pieces of a file, which FFmpeg reads one after the other as if they were a whole file."""

    def __init__(self, file: BinaryIO, pieces: Sequence[tuple[int, int]]) -> None:
        self._file = file
        self._pieces = list(reversed(pieces))

    def read(self, size: int) -> bytes:
        while self._pieces:
            offset, left = self._pieces.pop()
            self._file.seek(offset)
            data = self._file.read(min(size, left))
            if len(data) < left and data:
                self._pieces.append((offset + len(data), left - len(data)))
            if data:
                return data
        return b""
