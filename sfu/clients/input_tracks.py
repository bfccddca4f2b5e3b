"""One track of an input: turns demuxed packets into frames that RTP can carry.

Owns the choice between passing packets through unchanged and encoding them once. Blocking: runs in the source's thread.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
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
from sfu.media.formats.orientation import UPRIGHT, of_side_data
from sfu.media.formats.picture_size import DECODER_OPTIONS
from sfu.rtc.sdp.codec import Codec

log = logging.getLogger(__name__)

Encoded = tuple[float, bytes, bool]
"""Seconds of media time, the frame, and True if it is a key frame."""

Place = Callable[[float], float]
"""Returns the media time of what the input puts at a time. Called in order of presentation."""

_FAILURES_TO_SAY = 100
"""Packets of a track of which none could be decoded, until a warning says so."""
_USUAL_RATE, _HIGHEST_RATE = 25.0, 240.0
"""Pictures a second where an input tells none; more than any camera has."""
_NAMES = {
    "hevc": "H.265",
    "h264": "H.264",
    "av1": "AV1",
    "mjpeg": "MJPEG",
    "mpeg4": "MPEG-4",
    "vp8": "VP8",
    "vp9": "VP9",
}
_TURNED_FORMATS = frozenset(("mp4", "mov", "matroska", "webm"))
"""The formats of files that may say how their pictures have to be turned."""
_LEVEL_31_MACROBLOCKS = 3600
"""Largest picture that H.264 level 3.1 allows: 1280x720."""


class InputTrack(Protocol):
    """Converter of one stream's packets to frames. One object serves all passes over a file, or one connection."""

    codec: Codec
    """May change with the input's pictures where they are encoded here."""
    encoded_here: bool
    note: str
    """What the user should know about this track; empty if there is nothing."""
    orientation: int
    """How viewers have to turn its latest picture, as the input says (`sfu.media.formats.orientation`)."""

    def begin(self, stream: VideoStream | AudioStream) -> None:
        """Starts a new pass over the input, or over the reopened input: `stream` replaces the previous one."""
        ...

    def feed(self, packet: Packet[Stream], place: Place) -> Iterator[Encoded]:
        """Yields the frames of a packet at their places. An empty packet (end of a pass) flushes decoders."""
        ...

    def request_key_frame(self) -> None:
        """Makes the next picture a key frame if it is encoded here. May be called from another thread."""
        ...


class PassThrough:
    """A track whose packets are sent unchanged."""

    encoded_here = False
    note = ""
    orientation = UPRIGHT

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    def begin(self, stream: VideoStream | AudioStream) -> None:
        """See `InputTrack`."""
        self._stream = stream
        self._count = 0
        names = set(stream.container.format.name.split(","))
        self._may_be_turned = isinstance(stream, VideoStream) and not names.isdisjoint(_TURNED_FORMATS)

    def feed(self, packet: Packet[Stream], place: Place) -> Iterator[Encoded]:
        """See `InputTrack`."""
        if packet.size:
            self._look_for_a_turn(packet)
            yield place(self._seconds(packet)), bytes(packet), packet.is_keyframe

    def request_key_frame(self) -> None:
        """See `InputTrack`."""
        return

    def _look_for_a_turn(self, packet: Packet[Stream]) -> None:
        """Reads the file's orientation, which only a decoded picture has: of the first key frame, once in a pass."""
        if not self._may_be_turned or not packet.is_keyframe:
            return
        self._may_be_turned = False
        context = self._stream.codec_context
        context.thread_type = "SLICE"  # frame threads would hold the picture back
        context.options = dict(DECODER_OPTIONS)
        with contextlib.suppress(av.FFmpegError, EOFError):
            for picture in [*packet.decode(), *context.decode(None)]:
                self.orientation = _orientation(picture)

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

    def feed(self, packet: Packet[Stream], place: Place) -> Iterator[Encoded]:
        """See `InputTrack`."""
        if not packet.size:
            return
        self._look_for_a_turn(packet)
        seconds, key = place(self._seconds(packet)), packet.is_keyframe
        data = b"".join(bytes(filtered) for filtered in self._filter.filter(packet))
        yield seconds, self._sets.complete(data), key


class EncodedVideo:
    """A video track that is decoded and encoded once, to H.264. A new encoder follows each new size of the input."""

    encoded_here = True
    orientation = UPRIGHT

    def __init__(self, stream: VideoStream, note: str = "") -> None:
        self.note = note
        rate = float(stream.average_rate or 0)
        self._rate = rate if 0 < rate <= _HIGHEST_RATE else _USUAL_RATE
        context = stream.codec_context
        self._renew(fitted(context.width, context.height))

    def _renew(self, size: tuple[int, int]) -> None:
        self._size = size
        large = size[0] * size[1] // 256 > _LEVEL_31_MACROBLOCKS
        self.codec = h264("42e028" if large else "42e01f")
        self._encoder = VideoEncoder(*size, self._rate)

    def begin(self, stream: VideoStream | AudioStream) -> None:
        """See `InputTrack`."""
        stream.codec_context.thread_type = "SLICE"  # frame threads would hold pictures back
        stream.codec_context.options = dict(DECODER_OPTIONS)
        self._decoder = _Decoder("video")
        self._count = 0

    def feed(self, packet: Packet[Stream], place: Place) -> Iterator[Encoded]:
        """See `InputTrack`."""
        for picture in self._decoder.decode(packet):
            if isinstance(picture, av.VideoFrame):
                seconds = self._count / self._rate if picture.time is None else picture.time
                self._count += 1
                self.orientation = _orientation(picture)
                size = fitted(picture.width, picture.height)
                if size != self._size:
                    self._renew(size)
                yield from self._encoder.encode(picture, place(seconds))

    def request_key_frame(self) -> None:
        """See `InputTrack`."""
        self._encoder.request_key_frame()


class EncodedAudio:
    """An audio track that is decoded and encoded once, to Opus."""

    codec = OPUS
    encoded_here = True
    orientation = UPRIGHT

    def __init__(self, note: str = "") -> None:
        self.note = note
        self._encoder = AudioEncoder()

    def begin(self, stream: VideoStream | AudioStream) -> None:  # noqa: ARG002
        """See `InputTrack`."""
        self._decoder = _Decoder("audio")
        self._samples = 0

    def feed(self, packet: Packet[Stream], place: Place) -> Iterator[Encoded]:
        """See `InputTrack`."""
        for sound in self._decoder.decode(packet):
            if isinstance(sound, av.AudioFrame):
                seconds = self._samples / sound.sample_rate if sound.time is None else sound.time
                self._samples += sound.samples
                yield from self._encoder.encode(sound, place(seconds))

    def request_key_frame(self) -> None:
        """See `InputTrack`."""
        return


def _orientation(picture: object) -> int:
    """Returns how a decoded picture has to be turned, by the matrix of its file."""
    return of_side_data(getattr(picture, "side_data", {}))


class _Decoder:
    """Decodes the packets of one stream. Damaged packets, as cameras on bad links send, give nothing."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._failures = 0
        self._works = False

    def decode(self, packet: Packet[Stream]) -> list[object]:
        try:
            decoded: list[object] = list(packet.decode())
        except av.FFmpegError as error:
            self._failures += 1
            if self._failures == _FAILURES_TO_SAY and not self._works:
                log.warning("the %s cannot be decoded: %s", self._kind, error)
            return []
        self._works = self._works or bool(decoded)
        return decoded


def video_track(stream: VideoStream) -> InputTrack:
    """Returns a track that passes through H.264 without B-frames, VP8 and VP9 in 8-bit 4:2:0, and encodes all else.

    The track's note says why.
    """
    context = stream.codec_context
    name = context.codec.canonical_name
    if name not in ("h264", "vp8", "vp9"):
        reason = "only H.264, VP8 and VP9 can be sent as they are"
    elif context.pix_fmt not in ("yuv420p", "yuvj420p", None):  # None: no picture has come yet
        reason = f"browsers cannot play its pixel format {context.pix_fmt}"
    elif name == "h264" and context.has_b_frames:
        reason = "browsers cannot play its B-frames; switch them off in the camera or use the Baseline profile"
    elif name == "h264":
        return H264PassThrough(h264(_profile_level_id(context.extradata or b"")))
    else:
        return PassThrough(VP8 if name == "vp8" else VP9)
    return EncodedVideo(stream, f"{_NAMES.get(name, name.upper())} video is re-encoded to H.264 here: {reason}")


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
