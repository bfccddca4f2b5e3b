"""Containers: encoded units in, the bytes of MP4 and WebM files out. The only file that writes with PyAV.

Owns what makes a file survive its writer: parts of at most a second, each playable as soon as it is written. WebM is
FFmpeg's; so is an MP4's header, which `recorder.segments.fragments` goes on from. Never encodes video, never opens a
file for a recording that runs (`recorder.segments.files` does), never waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.stream import Stream

from recorder.depacketize.units import CodecParameters
from recorder.segments.fragments import Fragments, Run
from recorder.segments.opus import CODECS as TELEPHONY
from recorder.segments.opus import ToOpus
from sfu.rtc.sdp.codec import Kind

PART_US = 1_000_000

_VIDEO = {"H264": "h264", "H265": "hevc", "VP8": "vp8", "VP9": "vp9", "AV1": "av1"}
_AUDIO = TELEPHONY | {"opus"}
_ANNEX_B = ("H264", "H265")
_CONFIGURATION = {"H264": b"avcC\x01", "H265": b"hvcC\x01", "AV1": b"av1C\x81"}  # box and version
_MP4 = {"movflags": "empty_moov+default_base_moof"}
_WEBM = {
    "cluster_time_limit": str(PART_US // 1000),
    "flush_packets": "1",
    "max_interleave_delta": "1",  # us; a silent track must not hold back the others (default 10 s)
}
_SHORTEST_US = PART_US // 5  # of a part that a key frame ends: a stream may be nothing else
_MOST_WAITING = 256  # units of sound before the first picture
_LONGEST_US = {True: 1_000_000, False: 120_000}  # a frame's guessed duration: video, audio (RFC 6716 section 2.1.4)
_RATE: dict[Kind, int] = {"video": 90_000, "audio": 48_000}  # ticks a second in MP4; WebM's are milliseconds
_FIRST_US = {True: 40_000, False: 20_000}


class MuxError(RuntimeError):
    """FFmpeg refuses the tracks or a unit: the file ends here; what was returned so far plays."""


def suffix(codecs: Sequence[str]) -> str:
    """`.mp4`, or `.webm` where a codec (VP8) may not stand in MP4. MuxError when one may stand in neither."""
    for codec in codecs:
        if codec not in _VIDEO and codec not in _AUDIO:
            raise MuxError(f"no file holds {codec}")
    return ".webm" if "VP8" in codecs else ".mp4"


class _Sink:
    """Where FFmpeg writes: without seek or tell it never goes back, so what left it is final."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.chunks.append(data)
        return len(data)

    def take(self) -> bytes:
        """Everything since the last time."""
        data = b"".join(self.chunks)
        self.chunks.clear()
        return data


class _Pace:
    """One track's clock ticks, which always rise, and a guess how long its last unit goes on."""

    __slots__ = ("_last", "_longest", "_rate", "_video", "lasts", "nudged")

    def __init__(self, rate: int, *, video: bool) -> None:
        self.nudged = 0
        self.lasts = _FIRST_US[video] * rate // 1_000_000
        self._video = video
        self._rate = rate
        self._last: int | None = None
        self._longest = _LONGEST_US[video] * rate // 1_000_000

    @property
    def lasts_us(self) -> int:
        """The guess in microseconds."""
        return self.lasts * 1_000_000 // self._rate

    def ticks(self, pts_us: int, duration_us: int | None = None) -> int:
        """When the next unit begins; one that does not come after the last is moved to the next tick."""
        ticks = (pts_us * self._rate + 500_000) // 1_000_000
        last = self._last
        if last is not None:
            if ticks <= last:
                ticks = last + 1
                self.nudged += 1
            self.lasts = min(ticks - last, self._longest)
        if duration_us is not None:
            self.lasts = duration_us * self._rate // 1_000_000
        self._last = ticks
        return ticks

    def packet(
        self, stream: Stream, pts_us: int, data: bytes, *, key: bool, duration_us: int | None = None
    ) -> av.Packet[Any]:
        """The unit as FFmpeg takes it, for a stream whose time base is this clock."""
        packet = av.Packet(data)
        packet.stream = stream
        packet.pts = packet.dts = self.ticks(pts_us, duration_us)
        packet.duration = self.lasts
        packet.is_keyframe = key or not self._video
        return packet


class Muxer:
    """One file's container. Not safe for two threads at once.

    `start_us` is the wall time of media time 0 in microseconds since 1970; `title` goes into the metadata. The first
    unit of a video track must be a key frame with its parameter sets, H.264 and H.265 in Annex B form; until it comes
    nothing is written, so declare video when it flows. Audio may come late or never. MuxError when the tracks fit no
    container.
    """

    def __init__(self, tracks: Sequence[CodecParameters], *, start_us: int, title: str) -> None:
        self.suffix = suffix([track.codec for track in tracks])
        self._form = (_Fragmented if self.suffix == ".mp4" else _Clusters)(tracks, _metadata(start_us, title))
        self._to_opus = {track.kind: ToOpus(track.codec) for track in tracks if track.codec in TELEPHONY}
        self._closed = False

    @property
    def nudged(self) -> int:
        """Units that did not come after the one before them and were moved by a tick."""
        return sum(pace.nudged for pace in self._form.paces.values())

    def write(self, kind: Kind, pts_us: int, data: bytes, *, key: bool, duration_us: int | None = None) -> bytes:
        """The parts that closed with this unit, whole; mostly empty.

        `pts_us` counts from the segment's start; `duration_us` is None where only the next unit's time tells. MuxError
        when the unit fits no container.
        """
        if kind not in self._to_opus:
            return self._form.write(kind, pts_us, data, key, duration_us)
        with _refusals(kind):
            packets = list(self._to_opus[kind].convert(pts_us, data))
        return b"".join(self._form.write(kind, at, packet, True, None) for at, packet in packets)

    def close(self) -> bytes:
        """The last part and the file's end; empty when nothing was written, or the second time. MuxError as above."""
        if self._closed:
            return b""
        self._closed = True
        return self._form.close()


class _Clusters:
    """WebM: FFmpeg writes a cluster as one part."""

    def __init__(self, tracks: Sequence[CodecParameters], metadata: Mapping[str, str]) -> None:
        self.paces: dict[Kind, _Pace] = {track.kind: _Pace(1000, video=track.kind == "video") for track in tracks}
        self._sink = _Sink()
        self._out, self._streams = _opened(self._sink, "webm", tracks, metadata)
        self._header: bytes | None = None

    def write(self, kind: Kind, pts_us: int, data: bytes, key: bool, duration_us: int | None) -> bytes:
        """See `Muxer`."""
        packet = self.paces[kind].packet(self._streams[kind], pts_us, data, key=key, duration_us=duration_us)
        with _refusals(kind):
            self._out.mux_one(packet)
        if not self._sink.chunks:
            return b""
        data = self._sink.take()
        if self._header is None:  # comes alone, with the first unit, and waits for the first part
            self._header = data
            return b""
        header, self._header = self._header, b""
        return header + data

    def close(self) -> bytes:
        """See `Muxer`."""
        with _refusals("close"):
            self._out.close()
        return (self._header or b"") + self._sink.take()


class _Fragmented:
    """MP4: a header by FFmpeg, made from the first unit, then fragments."""

    def __init__(self, tracks: Sequence[CodecParameters], metadata: Mapping[str, str]) -> None:
        self.paces: dict[Kind, _Pace] = {
            track.kind: _Pace(_RATE[track.kind], video=track.kind == "video") for track in tracks
        }
        self._tracks = tracks
        self._metadata = metadata
        self._runs = {
            track.kind: Run(number, video=track.kind == "video", annex_b=track.codec in _ANNEX_B)
            for number, track in enumerate(tracks, 1)
        }
        self._needed: Kind = "video" if "video" in self.paces else "audio"
        self._waiting: list[tuple[Kind, int, bytes, bool, int | None]] = []
        self._fragments: Fragments | None = None
        self._header = b""
        self._since_us = 0
        """When the open part began."""

    def write(self, kind: Kind, pts_us: int, data: bytes, key: bool, duration_us: int | None) -> bytes:
        """See `Muxer`."""
        fragments = self._fragments
        if fragments is None:
            if kind != self._needed:
                if len(self._waiting) < _MOST_WAITING:
                    self._waiting.append((kind, pts_us, data, key, duration_us))
                return b""
            fragments = self._begin(kind, pts_us, data)
        open_us = pts_us - self._since_us
        if open_us < PART_US and not (key and kind == "video" and open_us >= _SHORTEST_US):
            self._runs[kind].add(self.paces[kind].ticks(pts_us, duration_us), data, key)
            return b""
        part = self._take(fragments)
        self._since_us = pts_us
        self._runs[kind].add(self.paces[kind].ticks(pts_us, duration_us), data, key)
        return part

    def close(self) -> bytes:
        """See `Muxer`."""
        if self._fragments is None:
            return b""
        return self._take(self._fragments) + self._fragments.index()

    def _take(self, fragments: Fragments) -> bytes:
        header, self._header = self._header, b""
        return header + fragments.take([self.paces[kind].lasts for kind in self._runs])

    def _begin(self, kind: Kind, pts_us: int, data: bytes) -> Fragments:
        self._header = _mp4_header(self._tracks, self._metadata, kind, data)
        self._fragments = Fragments(len(self._header), list(self._runs.values()))
        self._since_us = pts_us
        waiting, self._waiting = self._waiting, []
        for track, at_us, payload, key, duration_us in waiting:
            self._runs[track].add(self.paces[track].ticks(at_us, duration_us), payload, key)
        return self._fragments


class Copy:
    """A finished file made of units from others: progressive MP4 (`moov` first), or WebM with an index.

    `streams`: what it will hold, as PyAV reads them; `path` ends in `.mp4` or `.webm`. MuxError when it cannot be
    written.
    """

    def __init__(self, path: Path, streams: Mapping[Kind, Stream], *, start_us: int, title: str) -> None:
        mp4 = path.suffix == ".mp4"
        with _refusals("copy"):
            options = {"movflags": "faststart"} if mp4 else {"cues_to_front": "1"}
            self._out = av.open(str(path), "w", format=path.suffix[1:], options=options)
            self._out.metadata.update(_metadata(start_us, title))
            self._lines: dict[Kind, tuple[Stream, _Pace]] = {}
            for kind, template in streams.items():
                rate = _RATE[kind] if mp4 else 1000
                stream = self._out.add_stream_from_template(template, opaque=True)
                stream.time_base = Fraction(1, rate)
                self._lines[kind] = stream, _Pace(rate, video=kind == "video")

    def write(self, kind: Kind, pts_us: int, data: bytes, *, key: bool) -> int:
        """Adds a unit as a container had it; how long it lasts, in microseconds, as far as one can tell."""
        stream, pace = self._lines[kind]
        packet = pace.packet(stream, pts_us, data, key=key)
        with _refusals(kind):
            self._out.mux_one(packet)
        return pace.lasts_us

    def close(self) -> None:
        """Writes the index."""
        with _refusals("copy"):
            self._out.close()


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    """What FFmpeg raises, as MuxError."""
    try:
        yield
    except (av.FFmpegError, ValueError) as error:
        raise MuxError(f"{what}: {error}") from error


def _metadata(start_us: int, title: str) -> dict[str, str]:
    """MP4 keeps whole seconds as its creation time; `date` keeps all."""
    start = datetime.fromtimestamp(start_us / 1e6, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"creation_time": start, "date": start, "title": title}


def _opened(
    sink: _Sink, form: str, tracks: Sequence[CodecParameters], metadata: Mapping[str, str]
) -> tuple[OutputContainer, dict[Kind, Stream]]:
    """A container of these tracks that writes to `sink`."""
    mp4 = form == "mp4"
    with _refusals("tracks"):
        out = av.open(sink, "w", format=form, options=_MP4 if mp4 else _WEBM, buffer_size=1 << 16)
        out.metadata.update(metadata)
        streams: dict[Kind, Stream] = {}
        for track in tracks:
            stream = _add_video(out, track) if track.kind == "video" else _add_audio(out, track)
            stream.time_base = Fraction(1, _RATE[track.kind] if mp4 else 1000)  # which FFmpeg keeps
            streams[track.kind] = stream
    return out, streams


def _mp4_header(tracks: Sequence[CodecParameters], metadata: Mapping[str, str], kind: Kind, data: bytes) -> bytes:
    """`ftyp` and `moov` of a file whose first unit is `data`.

    FFmpeg writes one without the decoder's configuration too, if the unit lacks it: no player opens that file.
    """
    sink = _Sink()
    out, streams = _opened(sink, "mp4", tracks, metadata)
    with _refusals(kind):
        out.mux_one(_Pace(_RATE[kind], video=kind == "video").packet(streams[kind], 0, data, key=True))
        header = sink.take()
        out.close()
    needed = [_CONFIGURATION[track.codec] for track in tracks if track.codec in _CONFIGURATION]
    if not all(box in header for box in needed):
        raise MuxError("the first unit of the video lacks its parameter sets")
    return header


def _add_video(out: OutputContainer, track: CodecParameters) -> Stream:
    size: dict[str, Any] = {"width": track.width, "height": track.height}
    stream: Stream
    if track.codec == "VP9":  # its box wants a pixel format, which only an encoder's context can carry
        stream = out.add_stream("libvpx-vp9", rate=30, pix_fmt=track.pixel_format or "yuv420p", **size)
    else:
        stream = out.add_mux_stream(_VIDEO[track.codec], rate=30, **size)
    return stream


def _add_audio(out: OutputContainer, track: CodecParameters) -> Stream:
    # The encoder is never used: its context writes the OpusHead (RFC 7845 section 5.1).
    mono = track.codec in TELEPHONY or track.channels == 1
    return out.add_stream("libopus", rate=48000, layout="mono" if mono else "stereo")
