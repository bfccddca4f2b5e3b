"""What the recorder's parts hand to one another: whole frames of media, and what a container must know of them.

Owns these values and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from sfu.rtc.sdp.codec import AUDIO, Kind


@dataclass(frozen=True, slots=True)
class CodecParameters:
    """What a container must be told of a track before its first unit; another value means another segment."""

    codec: str
    """The RTP name: H264, H265, VP8, VP9, AV1, opus, PCMU, PCMA, G722."""
    clock_rate: int
    """Of the media time, in Hz."""
    width: int = 0
    height: int = 0
    """As shown, in pixels: cropping is done. 0 for audio."""
    channels: int = 0
    """0 for video."""
    extradata: bytes = b""
    """The decoder's configuration as FFmpeg takes it beside `Unit.data`.

    H.264 and H.265: the parameter sets in Annex B; AV1: the sequence header as an OBU with size; opus: OpusHead (RFC
    7845 section 5.1); empty for all others.
    """
    pixel_format: str = ""
    """PyAV's name of it, where no other field and no unit tells FFmpeg: VP9."""

    @property
    def kind(self) -> Kind:
        """The kind of media, which follows from the codec."""
        return "audio" if self.codec in AUDIO else "video"


@dataclass(frozen=True, slots=True)
class Unit:
    """One access unit, frame or packet of sound, complete and as PyAV's muxers want it.

    H.264 and H.265 are in Annex B with parameter sets before each key frame, AV1 is a temporal unit in the low-overhead
    format without temporal delimiters, VP8 and VP9 are frames, opus packets, and G.711 is its octets, one a sample.
    """

    media_time: int
    """32 bits in ticks of the clock rate, as sent: wraps."""
    data: bytes
    key: bool
    """Whether a decoder can start here; always true of audio."""
    index: int
    """Of the first packet."""
    lost: bool
    """Whether something is missing between the previous unit and this one: only a key frame decodes after it."""
    duration: int
    """In ticks; 0 if only the next unit tells, as for video."""
    parameters: CodecParameters | None
    """On every key unit, so that a recording can begin with any of them; None on the others."""


@dataclass(frozen=True, slots=True)
class PlacedUnit:
    """A unit on its producer's timeline."""

    track: Kind
    unit: Unit
    wall_us: int
    """When it was taken: us of UTC since 1970."""
