"""Containers: encoded units in, the bytes of MP4 and WebM files out. The only file that writes with PyAV.

Owns the options that make a file survive its writer: parts of at most a second, each playable as soon as it is
written. Never encodes video, never opens a file for a recording that runs (`recorder.files` does), never waits.
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

from recorder.opus import CODECS as TELEPHONY
from recorder.opus import ToOpus
from recorder.units import CodecParameters
from sfu.rtc.codec import Kind

PART_US = 1_000_000

_VIDEO = {"H264": "h264", "H265": "hevc", "VP8": "vp8", "VP9": "vp9", "AV1": "av1"}
_AUDIO = TELEPHONY | {"opus"}
_CONFIGURATION = {"H264": b"avcC\x01", "H265": b"hvcC\x01", "AV1": b"av1C\x81"}  # box and version
_MP4 = {
    # frag_discont and avoid_negative_ts keep a late track's start: without them its first sample is moved to 0.
    "movflags": "empty_moov+default_base_moof+frag_keyframe+frag_discont",
    "avoid_negative_ts": "make_non_negative",
    "frag_duration": str(PART_US),
    "min_frag_duration": str(PART_US // 5),  # a stream of nothing but key frames
}
_WEBM = {"cluster_time_limit": str(PART_US // 1000)}
_BOTH = {
    "flush_packets": "1",
    "max_interleave_delta": "1",  # us; a silent track must not hold back the others (default 10 s)
}
_LONGEST_US = {True: 1_000_000, False: 120_000}  # a frame's guessed duration: video, audio (RFC 6716 section 2.1.4)
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


class _Line:
    """One track's way into the container: clock ticks that always rise, and a guess how long a frame lasts."""

    __slots__ = ("_last", "_lasts", "_longest", "_rate", "_video", "nudged", "stream", "to_opus")

    def __init__(self, stream: Stream, rate: int, *, video: bool, to_opus: ToOpus | None) -> None:
        stream.time_base = Fraction(1, rate)  # which FFmpeg keeps; packets without one of their own are in it
        self.stream = stream
        self.to_opus = to_opus
        self.nudged = 0
        self._video = video
        self._rate = rate
        self._last: int | None = None
        self._lasts = _FIRST_US[video] * rate // 1_000_000
        self._longest = _LONGEST_US[video] * rate // 1_000_000

    @property
    def lasts_us(self) -> int:
        """The guess for the last unit."""
        return self._lasts * 1_000_000 // self._rate

    def packet(self, pts_us: int, data: bytes, *, key: bool, duration_us: int | None = None) -> av.Packet[Any]:
        """The unit as FFmpeg takes it; one that does not come after the last is moved to the next tick."""
        ticks = (pts_us * self._rate + 500_000) // 1_000_000
        if self._last is not None:
            if ticks <= self._last:
                ticks = self._last + 1
                self.nudged += 1
            self._lasts = min(ticks - self._last, self._longest)
        self._last = ticks
        packet = av.Packet(data)
        packet.stream = self.stream
        packet.pts = packet.dts = ticks
        packet.duration = self._lasts if duration_us is None else duration_us * self._rate // 1_000_000
        packet.is_keyframe = key or not self._video
        return packet


class Muxer:
    """One file's container. Not safe for two threads at once; `write` runs FFmpeg without the interpreter's lock.

    `start_us` is the wall time of media time 0 in microseconds since 1970; `title` goes into the metadata. The first
    unit of a video track must be a key frame with its parameter sets, H.264 and H.265 in Annex B form; until it comes
    nothing is written, so declare video when it flows. Audio may come late or never. MuxError when the tracks fit no
    container.
    """

    def __init__(self, tracks: Sequence[CodecParameters], *, start_us: int, title: str) -> None:
        self.suffix = suffix([track.codec for track in tracks])
        mp4 = self.suffix == ".mp4"
        self._sink = _Sink()
        self._header: bytes | None = None
        self._needed = [_CONFIGURATION[track.codec] for track in tracks if track.codec in _CONFIGURATION]
        self._closed = False
        self._out = av.open(
            self._sink, "w", format=self.suffix[1:], options=_BOTH | (_MP4 if mp4 else _WEBM), buffer_size=1 << 16
        )
        self._out.metadata.update(_metadata(start_us, title))
        with _refusals("tracks"):
            self._lines = {track.kind: self._line(track, mp4=mp4) for track in tracks}

    def _line(self, track: CodecParameters, *, mp4: bool) -> _Line:
        video = track.kind == "video"
        stream = _add_video(self._out, track) if video else _add_audio(self._out, track)
        rate = (90_000 if video else 48_000) if mp4 else 1000
        to_opus = ToOpus(track.codec) if track.codec in TELEPHONY else None
        return _Line(stream, rate, video=video, to_opus=to_opus)

    @property
    def nudged(self) -> int:
        """Units that did not come after the one before them and were moved by a tick."""
        return sum(line.nudged for line in self._lines.values())

    def write(self, kind: Kind, pts_us: int, data: bytes, *, key: bool, duration_us: int | None = None) -> bytes:
        """The parts that closed with this unit, whole; mostly empty.

        `pts_us` counts from the segment's start; `duration_us` is None where only the next unit's time tells. MuxError
        when FFmpeg refuses the unit.
        """
        line = self._lines[kind]
        try:
            if line.to_opus is None:
                self._out.mux_one(line.packet(pts_us, data, key=key, duration_us=duration_us))
            else:
                for at, packet in line.to_opus.convert(pts_us, data):
                    self._out.mux_one(line.packet(at, packet, key=True))
        except (av.FFmpegError, ValueError) as error:
            raise MuxError(f"{kind}: {error}") from error
        return self._take() if self._sink.chunks else b""

    def close(self) -> bytes:
        """The last part and the file's end; empty when nothing was written, or the second time. MuxError as above."""
        if self._closed:
            return b""
        self._closed = True
        with _refusals("close"):
            self._out.close()
        return (self._header or b"") + self._sink.take()

    def _take(self) -> bytes:
        """What FFmpeg wrote. The header comes alone, with the first unit, and waits for the first part.

        FFmpeg writes one without the decoder's configuration too, if a first unit lacks it: no player opens that file.
        """
        data = self._sink.take()
        if self._header is None:
            if not all(box in data for box in self._needed):
                raise MuxError("the first unit of the video lacks its parameter sets")
            self._header = data
            return b""
        header, self._header = self._header, b""
        return header + data


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
            self._lines: dict[Kind, _Line] = {}
            for kind, template in streams.items():
                rate = (90_000 if kind == "video" else 48_000) if mp4 else 1000
                stream = self._out.add_stream_from_template(template, opaque=True)
                self._lines[kind] = _Line(stream, rate, video=kind == "video", to_opus=None)

    def write(self, kind: Kind, pts_us: int, data: bytes, *, key: bool) -> int:
        """Adds a unit as a container had it; how long it lasts, in microseconds, as far as one can tell."""
        packet = self._lines[kind].packet(pts_us, data, key=key)
        lasts_us = self._lines[kind].lasts_us
        with _refusals(kind):
            self._out.mux_one(packet)
        return lasts_us

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
