"""Containers: encoded units in, the bytes of MP4 and WebM files out.

Owns the crash safety of a file: it consists of parts of at most a second, each playable once it is written. FFmpeg
writes WebM and the header of an MP4; `recorder.segments.fragments` writes the rest of the MP4. Never encodes video,
never opens the file of a running recording (`recorder.segments.files` does), never waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from struct import Struct

import av
from av.stream import Stream

from recorder.depacketize.units import REORDERING, CodecParameters
from recorder.segments import webm_index
from recorder.segments.fragments import Fragments, Run
from recorder.segments.opus import CODECS as TELEPHONY
from recorder.segments.opus import ToOpus
from recorder.segments.outputs import (
    AUDIO,
    PART_US,
    RATE_HZ,
    VIDEO,
    MuxError,
    Sink,
    metadata_of,
    mux_errors,
    opened,
)
from recorder.segments.track_clock import TrackClock
from recorder.store import webm
from recorder.store.file_layout import Part
from sfu.media.formats import orientation
from sfu.rtc.sdp.codec import Kind

_ANNEX_B = ("H264", "H265")
_CONFIGURATION = {"H264": b"avcC\x01", "H265": b"hvcC\x01", "AV1": b"av1C\x81"}  # box and version
_MATRIX = Struct(">9i")
_MATRIX_OFFSETS = (40, 52)
"""Place of the matrix after the type of a track header, by the header's version."""
_MIN_PART_US = PART_US // 5  # that a key frame ends: some streams have key frames only
_MAX_WAITING_UNITS = 256
"""Units of audio kept until the first video frame."""


def suffix(codecs: Sequence[str]) -> str:
    """Returns `.mp4`, or `.webm` if one of the codecs (VP8) is not allowed in MP4. Raises MuxError if neither fits."""
    for codec in codecs:
        if codec not in VIDEO and codec not in AUDIO:
            raise MuxError(f"{codec} is allowed neither in MP4 nor in WebM")
    return ".webm" if "VP8" in codecs else ".mp4"


class Muxer:
    """The container of one file. Not safe for two threads at once.

    `start_us` is the wall time of media time 0 in microseconds since 1970; `title` goes into the metadata. The first
    unit of a video track must be a key frame with its parameter sets, H.264 and H.265 in Annex B form. Nothing is
    written before it, so declare a video track only once it flows. Audio may come late or never. Raises MuxError if no
    container fits the tracks.
    """

    def __init__(self, tracks: Sequence[CodecParameters], *, start_us: int, title: str) -> None:
        self.suffix = suffix([track.codec for track in tracks])
        self._container = (_Mp4 if self.suffix == ".mp4" else _WebM)(tracks, metadata_of(start_us, title))
        self._to_opus = {track.kind: ToOpus(track.codec) for track in tracks if track.codec in TELEPHONY}
        self._closed = False

    @property
    def nudged(self) -> int:
        """Returns the number of units that were not later than the one before and moved by a tick."""
        return sum(clock.nudged for clock in self._container.clocks.values())

    def write(self, kind: Kind, pts_us: int, data: bytes, *, key: bool, duration_us: int | None = None) -> bytes:
        """Adds a unit and returns the parts that it closed; mostly empty.

        `pts_us` counts from the segment's start; `duration_us` is None if only the next unit's time gives it. Raises
        MuxError if FFmpeg rejects the unit.
        """
        if kind not in self._to_opus:
            return self._container.write(kind, pts_us, data, key, duration_us)
        with mux_errors(kind):
            packets = list(self._to_opus[kind].convert(pts_us, data))
        return b"".join(self._container.write(kind, at, packet, True, None) for at, packet in packets)

    def close(self) -> bytes:
        """Returns the last part and the file's end; empty if there is none, or the second time. Raises MuxError."""
        if self._closed:
            return b""
        self._closed = True
        return self._container.close()

    @property
    def ending(self) -> bytes:
        """Returns the bytes that replace those at the beginning of the file once it is closed; empty for none."""
        return self._container.ending


class _WebM:
    """A WebM file: FFmpeg writes each cluster as one part."""

    def __init__(self, tracks: Sequence[CodecParameters], metadata: Mapping[str, str]) -> None:
        self.clocks: dict[Kind, TrackClock] = {track.kind: TrackClock(1000, track.kind) for track in tracks}
        self.ending = b""
        """The header of the finished file, as long as the one that was written."""
        self._sink = Sink()
        self._out, self._streams = opened(self._sink, "webm", tracks, metadata)
        self._header = b""
        self._size = 0
        self._parts: list[Part] = []
        self._video = frozenset(number for number, track in enumerate(tracks, 1) if track.kind == "video")

    def write(self, kind: Kind, pts_us: int, data: bytes, key: bool, duration_us: int | None) -> bytes:
        """See `Muxer`."""
        packet = self.clocks[kind].packet(self._streams[kind], pts_us, data, key=key, duration_us=duration_us)
        with mux_errors(kind):
            self._out.mux_one(packet)
        if not self._sink.chunks:
            return b""
        if not self._header:  # it comes with the first unit; keep it for the first part
            self._header = self._sink.drain()
            return b""
        return self._written(self._sink.drain())

    def close(self) -> bytes:
        """See `Muxer`."""
        with mux_errors("close"):
            self._out.close()
        data = self._written(self._sink.drain())
        index = webm_index.index(self._parts, next(iter(self._video), 1), self._header) if self._parts else b""
        if index:
            duration_ms = max(clock.end for clock in self.clocks.values())
            self.ending = webm_index.finished_header(self._header, duration_ms, self._size)
        return data + index

    def _written(self, data: bytes) -> bytes:
        """Returns the bytes to write next, the header before the first ones, and notes which parts they are."""
        header = b"" if self._size else self._header
        self._parts += webm.parts(data, self._size + len(header), self._video)
        self._size += len(header) + len(data)
        return header + data


class _Mp4:
    """An MP4 file: a header by FFmpeg, made from the first unit, then fragments."""

    def __init__(self, tracks: Sequence[CodecParameters], metadata: Mapping[str, str]) -> None:
        self.ending = b""
        """Nothing: an MP4 of fragments is whole as it is."""
        self.clocks: dict[Kind, TrackClock] = {
            track.kind: TrackClock(RATE_HZ[track.kind], track.kind, reorders=track.codec in REORDERING)
            for track in tracks
        }
        self._tracks = tracks
        self._metadata = metadata
        self._runs = {
            track.kind: Run(number, video=track.kind == "video", annex_b=track.codec in _ANNEX_B)
            for number, track in enumerate(tracks, 1)
        }
        self._needed: Kind = "video" if "video" in self.clocks else "audio"
        self._waiting: list[tuple[Kind, int, bytes, bool, int | None]] = []
        self._fragments: Fragments | None = None
        self._header = b""
        self._since_us = 0
        """Start of the open part."""

    def write(self, kind: Kind, pts_us: int, data: bytes, key: bool, duration_us: int | None) -> bytes:
        """See `Muxer`."""
        fragments = self._fragments
        if fragments is None:
            if kind != self._needed:
                if len(self._waiting) < _MAX_WAITING_UNITS:
                    self._waiting.append((kind, pts_us, data, key, duration_us))
                return b""
            fragments = self._begin(kind, pts_us, data)
        open_us = pts_us - self._since_us
        if open_us < PART_US and not (key and kind == "video" and open_us >= _MIN_PART_US):
            self._runs[kind].add(self.clocks[kind].ticks(pts_us, duration_us), data, key)
            return b""
        part = self._end_part(fragments)
        self._since_us = pts_us
        self._runs[kind].add(self.clocks[kind].ticks(pts_us, duration_us), data, key)
        return part

    def close(self) -> bytes:
        """See `Muxer`."""
        if self._fragments is None:
            return b""
        return self._end_part(self._fragments) + self._fragments.index()

    def _end_part(self, fragments: Fragments) -> bytes:
        """Ends the open part and returns its bytes."""
        header, self._header = self._header, b""
        return header + fragments.end([self.clocks[kind].duration for kind in self._runs])

    def _begin(self, kind: Kind, pts_us: int, data: bytes) -> Fragments:
        """Makes the header and adds the units that waited for it."""
        self._header = _mp4_header(self._tracks, self._metadata, kind, data)
        self._fragments = Fragments(len(self._header), list(self._runs.values()))
        self._since_us = pts_us
        waiting, self._waiting = self._waiting, []
        for track, at_us, payload, key, duration_us in waiting:
            self._runs[track].add(self.clocks[track].ticks(at_us, duration_us), payload, key)
        return self._fragments


class Copy:
    """A complete file made of units of other files: progressive MP4 (`moov` first), or WebM with an index.

    `streams`: PyAV's streams of the source. `suffix`: `.mp4` or `.webm`, the form. Raises MuxError if FFmpeg cannot
    write it.
    """

    def __init__(self, path: Path, streams: Mapping[Kind, Stream], *, start_us: int, title: str, suffix: str) -> None:
        mp4 = suffix == ".mp4"
        with mux_errors("copy"):
            options = {"movflags": "faststart"} if mp4 else {"cues_to_front": "1"}
            self._out = av.open(str(path), "w", format=suffix[1:], options=options)
            self._out.metadata.update(metadata_of(start_us, title))
            self._tracks: dict[Kind, tuple[Stream, TrackClock]] = {}
            for kind, template in streams.items():
                rate = RATE_HZ[kind] if mp4 else 1000
                stream = self._out.add_stream_from_template(template, opaque=True)
                stream.time_base = Fraction(1, rate)
                self._tracks[kind] = stream, TrackClock(rate, kind)

    def write(self, kind: Kind, pts_us: int, data: bytes, *, key: bool, dts_us: int | None = None) -> int:
        """Adds a unit in the form of its container; returns its duration in microseconds, as a guess.

        `dts_us`: its decode time; None for that at which it is shown.
        """
        stream, clock = self._tracks[kind]
        at_us = pts_us if dts_us is None else min(max(0, dts_us), pts_us)
        packet = clock.packet(stream, at_us, data, key=key, shown_us=None if at_us == pts_us else pts_us)
        with mux_errors(kind):
            self._out.mux_one(packet)
        return clock.duration_us

    def close(self) -> None:
        """Writes the index and closes the file."""
        with mux_errors("copy"):
            self._out.close()


def _mp4_header(tracks: Sequence[CodecParameters], metadata: Mapping[str, str], kind: Kind, data: bytes) -> bytes:
    """Returns `ftyp` and `moov` of a file whose first unit is `data`.

    Raises MuxError if the unit lacks its parameter sets: FFmpeg would write a header that no player opens.
    """
    sink = Sink()
    out, streams = opened(sink, "mp4", tracks, metadata)
    with mux_errors(kind):
        out.mux_one(TrackClock(RATE_HZ[kind], kind).packet(streams[kind], 0, data, key=True))
        header = sink.drain()
        out.close()
    needed = [_CONFIGURATION[track.codec] for track in tracks if track.codec in _CONFIGURATION]
    if not all(box in header for box in needed):
        raise MuxError("the first video unit lacks its parameter sets")
    return _turned(header, tracks)


def _turned(header: bytes, tracks: Sequence[CodecParameters]) -> bytes:
    """Returns the header with the orientation of the video in its track header (ISO/IEC 14496-12 section 8.3.2)."""
    made, at = bytearray(header), 0
    for track in tracks:
        at = header.index(b"tkhd", at) + len(b"tkhd")
        if track.orientation:
            matrix = orientation.matrix(track.orientation, track.width, track.height)
            _MATRIX.pack_into(made, at + _MATRIX_OFFSETS[header[at]], *matrix)
    return bytes(made)
