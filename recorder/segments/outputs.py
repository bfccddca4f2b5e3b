"""FFmpeg's containers as outputs: MP4 and WebM with the tracks of a recording. The only file that makes them.

Owns the options of both formats and what FFmpeg needs to know of a codec before the first unit. Never opens an encoder
of video: that would take memory for many pictures of the size that a camera claims.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final, Literal, cast

import av
from av.container import OutputContainer
from av.stream import Stream

from recorder.depacketize.units import CodecParameters
from recorder.segments.opus import CODECS as TELEPHONY
from sfu.media.formats import orientation
from sfu.rtc.sdp.codec import Kind

PART_US: Final = 1_000_000
"""The longest part of a file."""
RATE_HZ: dict[Kind, int] = {"video": 90_000, "audio": 48_000}  # ticks in MP4; WebM counts milliseconds
VIDEO: Final = {"H264": "h264", "H265": "hevc", "VP8": "vp8", "VP9": "vp9", "AV1": "av1"}
AUDIO = TELEPHONY | {"opus"}
_MP4 = {"movflags": "empty_moov+default_base_moof"}
_WEBM = {
    "cluster_time_limit": str(PART_US // 1000),
    "flush_packets": "1",
    "max_interleave_delta": "1",  # us (default 10 s): a silent track must not hold back the others
}


class MuxError(RuntimeError):
    """FFmpeg rejects the tracks or a unit: the file ends here. The bytes returned so far are playable."""


class Sink:
    """The output of FFmpeg. It has no seek or tell, so FFmpeg never goes back: written bytes are final."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Adds bytes; FFmpeg calls it."""
        self.chunks.append(data)
        return len(data)

    def drain(self) -> bytes:
        """Removes and returns all bytes written so far."""
        data = b"".join(self.chunks)
        self.chunks.clear()
        return data


@contextlib.contextmanager
def mux_errors(what: str) -> Iterator[None]:
    """Turns errors of FFmpeg into MuxError."""
    try:
        yield
    except (av.FFmpegError, ValueError) as error:
        raise MuxError(f"{what}: {error}") from error


def metadata_of(start_us: int, title: str) -> dict[str, str]:
    """Returns the metadata. MP4 rounds `creation_time` to seconds, so `date` has the time in full."""
    start = datetime.fromtimestamp(start_us / 1e6, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"creation_time": start, "date": start, "title": title}


def opened(
    sink: Sink, form: str, tracks: Sequence[CodecParameters], metadata: Mapping[str, str]
) -> tuple[OutputContainer, dict[Kind, Stream]]:
    """Opens a container of these tracks that writes to `sink`."""
    mp4 = form == "mp4"
    with mux_errors("tracks"):
        out = av.open(sink, "w", format=form, options=_MP4 if mp4 else _WEBM, buffer_size=1 << 16)
        out.metadata.update(metadata)
        streams: dict[Kind, Stream] = {}
        for track in tracks:
            stream = _add_video(out, track) if track.kind == "video" else _add_audio(out, track)
            stream.time_base = Fraction(1, RATE_HZ[track.kind] if mp4 else 1000)  # FFmpeg keeps it
            streams[track.kind] = stream
    return out, streams


def _add_video(out: OutputContainer, track: CodecParameters) -> Stream:
    if track.codec != "VP9" and not (track.codec == "VP8" and track.orientation):
        return out.add_mux_stream(VIDEO[track.codec], rate=30, width=track.width, height=track.height)
    # Its box needs a pixel format, or WebM a matrix, which only an encoder's context has. One that is copied from
    # another file is never opened: opening it would take memory for many pictures of this size.
    with av.open(Sink(), "w", format="webm") as other:
        encoder: Literal["libvpx", "libvpx-vp9"] = "libvpx-vp9" if track.codec == "VP9" else "libvpx"
        stream: Any = out.add_stream_from_template(other.add_stream(encoder, rate=30), opaque=True)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = track.width, track.height, track.pixel_format or "yuv420p"
    if track.codec == "VP8":  # the header of an MP4 is changed by hand, since this works for no other codec
        stream.set_display_matrix(orientation.matrix(track.orientation, track.width, track.height))
    return cast("Stream", stream)


def _add_audio(out: OutputContainer, track: CodecParameters) -> Stream:
    # The encoder is never used: its context writes the OpusHead (RFC 7845 section 5.1).
    mono = track.codec in TELEPHONY or track.channels == 1
    return out.add_stream("libopus", rate=48000, layout="mono" if mono else "stereo")
