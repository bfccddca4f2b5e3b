"""The values that the recorder's parts exchange: whole frames of media, and the parameters that a container needs.

Owns these values. Never computes anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from sfu.rtc.sdp.codec import AUDIO, Kind

REORDERING = frozenset({"H264", "H265"})
"""Codecs whose pictures may be sent in another order than they are shown in."""


@dataclass(frozen=True, slots=True)
class CodecParameters:
    """The parameters of a track that a container needs before its first unit; a change needs a new segment."""

    codec: str
    """The RTP name: H264, H265, VP8, VP9, AV1, opus, PCMU, PCMA, G722."""
    clock_rate: int
    """Ticks of the media time, in Hz."""
    width: int = 0
    height: int = 0
    """Size after cropping, in pixels; 0 for audio."""
    channels: int = 0
    """0 for video."""
    extradata: bytes = b""
    """The decoder's configuration, in the form that FFmpeg needs.

    H.264 and H.265: the parameter sets in Annex B; AV1: the sequence header as an OBU with size; opus: OpusHead (RFC
    7845 section 5.1); empty for all others.
    """
    pixel_format: str = ""
    """PyAV's name, for VP9 only: FFmpeg finds it nowhere else."""
    orientation: int = 0
    """How players have to turn the pictures (`sfu.media.formats.orientation`)."""

    @property
    def kind(self) -> Kind:
        """Returns the kind of media of the codec."""
        return "audio" if self.codec in AUDIO else "video"


@dataclass(frozen=True, slots=True)
class Unit:
    """One whole access unit, frame or audio packet, in the form that PyAV's muxers need.

    H.264 and H.265 are in Annex B with parameter sets before each key frame, AV1 is a temporal unit in the low-overhead
    format without temporal delimiters, VP8 and VP9 are frames, opus is packets, G.711 is octets, one for each sample.
    """

    media_time: int
    """32 bits in ticks of the clock rate, as sent: wraps."""
    data: bytes
    key: bool
    """True if a decoder can start here; always true for audio."""
    index: int
    """Index of the first packet."""
    lost: bool
    """True if media is missing before this unit: decoding goes on at a key frame only."""
    duration: int
    """In ticks; 0 if only the next unit's time gives it, as for video."""
    parameters: CodecParameters | None
    """Set on every key unit, so that a recording can begin with any of them; None on the others."""
    orientation: int = 0
    """As in `CodecParameters`; on every unit of video."""


@dataclass(frozen=True, slots=True)
class PlacedUnit:
    """A unit on its producer's timeline."""

    track: Kind
    unit: Unit
    wall_us: int
    """Capture time, in microseconds of UTC since 1970."""
