"""Encoders to H.264 constrained baseline and Opus, for media that WebRTC cannot carry as it is.

Owns the encoders' settings. Blocking: callers run it in a thread. Media time goes in and out in seconds, so that one
encoder serves all passes over a looped input.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
from av.audio.resampler import AudioResampler
from av.video.frame import PictureType

from sfu.clients.frames import AUDIO_CLOCK, VIDEO_CLOCK

MAX_WIDTH, MAX_HEIGHT = 1920, 1080
OPUS_SAMPLES = 960
"""20 ms at 48 kHz: the packet length that every WebRTC endpoint expects."""
BITS_PER_PIXEL_FACTOR = 0.1
"""Bit rate of a good picture: bits for each pixel of each frame."""


def fitted(width: int, height: int) -> tuple[int, int]:
    """Returns (width, height) scaled down to fit 1920x1080, same aspect ratio, both even as 4:2:0 requires."""
    scale = min(1.0, MAX_WIDTH / max(width, 1), MAX_HEIGHT / max(height, 1))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


class VideoEncoder:
    """An H.264 constrained baseline encoder without delay.

    Makes a key frame at least every `key_interval` seconds of media time.
    """

    def __init__(
        self,
        width: int,
        height: int,
        rate: float,
        *,
        key_interval: float = 2.0,
        preset: str = "veryfast",
        bit_rate: int | None = None,
        buffer_seconds: float = 1.0,
        one_slice: bool = False,
    ) -> None:
        """`bit_rate` in bit/s, by default 0.1 bit per pixel; a key frame is at most `buffer_seconds` of it.

        `one_slice`: each picture is one NAL unit, as camera chips make it, instead of one for each core.
        """
        self._key_interval = key_interval
        self._key_due: float | None = None
        context = av.CodecContext.create("libx264", "w")
        context.width, context.height = fitted(width, height)
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, VIDEO_CLOCK)
        context.framerate = Fraction(rate).limit_denominator(1001)
        bit_rate = bit_rate or int(context.width * context.height * rate * BITS_PER_PIXEL_FACTOR)
        context.bit_rate = bit_rate
        context.options = {
            "preset": preset,
            "tune": "zerolatency",
            "profile": "baseline",
            "forced-idr": "1",
            # `encode` places key frames by media time: a count of pictures would not suit inputs of varying rate
            "g": "100000",
            "sc_threshold": "0",
            "maxrate": str(bit_rate),
            "bufsize": str(int(bit_rate * buffer_seconds)),
        }
        if one_slice:
            context.thread_count = 1
        self._context = context

    def request_key_frame(self) -> None:
        """Makes the next picture a key frame."""
        self._key_due = None

    def encode(self, frame: av.VideoFrame, seconds: float) -> Iterator[tuple[float, bytes, bool]]:
        """Encodes one picture; yields (seconds, Annex B access unit, True if a key frame)."""
        picture = frame.reformat(width=self._context.width, height=self._context.height, format="yuv420p")
        picture.pts = round(seconds * VIDEO_CLOCK)
        picture.time_base = self._context.time_base
        key = self._key_due is None or seconds >= self._key_due
        picture.pict_type = PictureType.I if key else PictureType.NONE
        if key:
            self._key_due = seconds + self._key_interval
        for packet in self._context.encode(picture):
            if packet.pts is not None:
                yield packet.pts / VIDEO_CLOCK, bytes(packet), packet.is_keyframe


class AudioEncoder:
    """An encoder of any sample rate and layout to Opus: 48 kHz, stereo, packets of 20 ms."""

    def __init__(self, *, bit_rate: int = 64_000) -> None:
        self._input: tuple[str, str, int] | None = None
        self._resampler = _resampler()
        context = av.CodecContext.create("libopus", "w")
        context.format = av.AudioFormat("s16")
        context.layout = "stereo"
        context.sample_rate = AUDIO_CLOCK
        context.time_base = Fraction(1, AUDIO_CLOCK)
        context.bit_rate = bit_rate
        self._context = context

    def encode(self, frame: av.AudioFrame, seconds: float) -> Iterator[tuple[float, bytes, bool]]:
        """Encodes samples; yields no, one or several (seconds, Opus packet, True).

        A new format, layout or rate of the input costs the samples of an unfinished packet.
        """
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._input != form:
            self._input, self._resampler = form, _resampler()
        frame.pts = round(seconds * frame.sample_rate)
        frame.time_base = Fraction(1, frame.sample_rate)
        for resampled in self._resampler.resample(frame):
            for packet in self._context.encode(resampled):
                if packet.pts is not None:
                    yield packet.pts / AUDIO_CLOCK, bytes(packet), True


def _resampler() -> AudioResampler:
    """Makes a resampler, whose input is what its first frame is and can be nothing else later."""
    return AudioResampler(format="s16", layout="stereo", rate=AUDIO_CLOCK, frame_size=OPUS_SAMPLES)
