"""One track of an input: turns demuxed packets into frames that RTP can carry.

Owns the choice between passing packets through unchanged and encoding them once. Blocking: runs in the source's thread.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Protocol

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from sfu.clients.encode import AudioEncoder, VideoEncoder, fitted
from sfu.clients.frames import OPUS, VP8, VP9, h264
from sfu.clients.packetize import ParameterSets
from sfu.media.formats.picture_size import MAX_PIXELS
from sfu.rtc.sdp.codec import Codec

log = logging.getLogger(__name__)

Encoded = tuple[float, bytes, bool]
"""Seconds of media time, the frame, and True if it is a key frame."""

_LEVEL_31_MACROBLOCKS = 3600
"""Largest picture that H.264 level 3.1 allows: 1280x720."""


class InputTrack(Protocol):
    """Converter of one stream's packets to frames. One object serves all passes over an input."""

    codec: Codec
    encoded_here: bool

    def begin(self, stream: VideoStream | AudioStream) -> None:
        """Starts a new pass over the input, or over the reopened input: `stream` replaces the previous one."""
        ...

    def feed(self, packet: Packet[Stream], shift: float) -> Iterator[Encoded]:
        """Yields the frames of a packet, `shift` seconds later. An empty packet (end of a pass) flushes decoders."""
        ...

    def request_key_frame(self) -> None:
        """Makes the next picture a key frame if it is encoded here. May be called from another thread."""
        ...


class PassThrough:
    """A track whose packets are sent unchanged."""

    encoded_here = False

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    def begin(self, stream: VideoStream | AudioStream) -> None:
        """See `InputTrack`."""
        self._stream = stream
        self._count = 0

    def feed(self, packet: Packet[Stream], shift: float) -> Iterator[Encoded]:
        """See `InputTrack`."""
        if packet.size:
            yield self._seconds(packet) + shift, bytes(packet), packet.is_keyframe

    def request_key_frame(self) -> None:
        """See `InputTrack`."""
        return

    def _seconds(self, packet: Packet[Stream]) -> float:
        """Returns the presentation time. Elementary streams have none: their pictures are counted."""
        self._count += 1
        if packet.pts is not None and packet.time_base is not None:
            return float(packet.pts * packet.time_base)
        rate = getattr(self._stream, "average_rate", None) or 25
        return float((self._count - 1) / rate)


class H264PassThrough(PassThrough):
    """An H.264 track of any container, sent as Annex B access units that contain their parameter sets."""

    def begin(self, stream: VideoStream | AudioStream) -> None:
        """See `InputTrack`."""
        super().begin(stream)
        extradata = stream.codec_context.extradata or b""
        self._sets = ParameterSets(b"" if extradata[:1] == b"\x01" else extradata)
        self._filter = BitStreamFilterContext("h264_mp4toannexb", stream)

    def feed(self, packet: Packet[Stream], shift: float) -> Iterator[Encoded]:
        """See `InputTrack`."""
        if not packet.size:
            return
        seconds, key = self._seconds(packet) + shift, packet.is_keyframe
        data = b"".join(bytes(filtered) for filtered in self._filter.filter(packet))
        yield seconds, self._sets.complete(data), key


class EncodedVideo:
    """A video track that is decoded and encoded once, to H.264."""

    encoded_here = True

    def __init__(self, stream: VideoStream) -> None:
        context = stream.codec_context
        self._rate = float(stream.average_rate or 25)
        width, height = fitted(context.width, context.height)
        large = width * height // 256 > _LEVEL_31_MACROBLOCKS
        self.codec = h264("42e028" if large else "42e01f")
        self._encoder = VideoEncoder(width, height, self._rate)

    def begin(self, stream: VideoStream | AudioStream) -> None:
        """See `InputTrack`."""
        stream.codec_context.thread_type = "SLICE"  # frame threads would hold pictures back
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        self._count = 0

    def feed(self, packet: Packet[Stream], shift: float) -> Iterator[Encoded]:
        """See `InputTrack`."""
        for picture in _decoded(packet):
            if isinstance(picture, av.VideoFrame):
                seconds = self._count / self._rate if picture.time is None else picture.time
                self._count += 1
                yield from self._encoder.encode(picture, seconds + shift)

    def request_key_frame(self) -> None:
        """See `InputTrack`."""
        self._encoder.request_key_frame()


class EncodedAudio:
    """An audio track that is decoded and encoded once, to Opus."""

    codec = OPUS
    encoded_here = True

    def __init__(self) -> None:
        self._encoder = AudioEncoder()

    def begin(self, stream: VideoStream | AudioStream) -> None:  # noqa: ARG002
        """See `InputTrack`."""
        self._samples = 0

    def feed(self, packet: Packet[Stream], shift: float) -> Iterator[Encoded]:
        """See `InputTrack`."""
        for sound in _decoded(packet):
            if isinstance(sound, av.AudioFrame):
                seconds = self._samples / sound.sample_rate if sound.time is None else sound.time
                self._samples += sound.samples
                yield from self._encoder.encode(sound, seconds + shift)

    def request_key_frame(self) -> None:
        """See `InputTrack`."""
        return


def _decoded(packet: Packet[Stream]) -> list[object]:
    """Returns the decoded pictures or samples of a packet; [] for a damaged packet, as cameras on bad links send."""
    with contextlib.suppress(av.error.InvalidDataError):
        return list(packet.decode())
    return []


def video_track(stream: VideoStream) -> InputTrack:
    """Returns a track that passes through H.264 without B-frames, VP8 and VP9 in 8-bit 4:2:0, and encodes all else.

    Logs the reason for encoding.
    """
    context = stream.codec_context
    name = context.codec.canonical_name
    if context.pix_fmt not in ("yuv420p", "yuvj420p"):
        reason = f"pixel format {context.pix_fmt}"
    elif name == "h264" and context.has_b_frames:
        reason = "B-frames, which browsers cannot play from RTP"
    elif name == "h264":
        return H264PassThrough(h264(_profile_level_id(context.extradata or b"")))
    elif name in ("vp8", "vp9"):
        return PassThrough(VP8 if name == "vp8" else VP9)
    else:
        reason = f"codec {name}"
    log.info("encoding video once to H.264: the input has %s", reason)
    return EncodedVideo(stream)


def audio_track(stream: AudioStream) -> InputTrack:
    """Returns a track that passes Opus through and encodes all other codecs."""
    name = stream.codec_context.codec.canonical_name
    if name == "opus":
        return PassThrough(OPUS)
    log.info("encoding audio once to Opus: the input has codec %s", name)
    return EncodedAudio()


def _profile_level_id(extradata: bytes) -> str:
    """Returns `profile-level-id` from an avcC box (ISO 14496-15 section 5.3.3.1) or an Annex B SPS.

    Constrained baseline level 3.1 if there is neither.
    """
    if extradata[:1] == b"\x01" and len(extradata) >= 4:
        return extradata[1:4].hex()
    return ParameterSets(extradata).profile_level_id or "42e01f"
