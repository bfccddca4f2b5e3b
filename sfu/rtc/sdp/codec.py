"""Codecs as RTP payload formats: the meaning of a peer's payload type, and the peers that can decode it.

Owns the names, the parameters that separate variants, and their order of preference.
Never looks into a payload (that is `sfu.media.formats.key_frame_detection`) and never writes SDP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["audio", "video"]

AUDIO = ("opus", "PCMU", "PCMA", "G722")
VIDEO = ("H264", "VP8", "VP9", "AV1", "H265")
CANONICAL = {name.lower(): name for name in (*AUDIO, *VIDEO)}

# The fmtp parameter that names the profile, and its default. A decoder of one profile may not decode another:
# RFC 9628 section 7, AV1 RTP specification section 7.2, RFC 7798 section 7.1.
_PROFILE = {"VP9": ("profile-id", "0"), "AV1": ("profile", "0"), "H265": ("profile-id", "1")}

# RFC 6184 section 8.1: a missing profile-level-id means Baseline, level 1.
_H264_DEFAULT_PROFILE_LEVEL = "420010"
_H264_UNKNOWN_RANK = 6


@dataclass(frozen=True, slots=True)
class Codec:
    """One RTP payload format under one payload type (RFC 8866 section 6.6 and 6.15, RFC 4585 section 4.2).

    `name` has the RFC's spelling, in whatever case the peer wrote it. `parameters` are the fmtp pairs in order (a word
    without a value has an empty one). `feedback` are the rtcp-fb values ("nack pli").
    """

    name: str
    clock_rate: int
    channels: int
    payload_type: int
    parameters: tuple[tuple[str, str], ...] = ()
    feedback: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """Returns the kind of media, which follows from the name."""
        return "audio" if self.name in AUDIO else "video"

    def parameter(self, name: str, default: str | None = None) -> str | None:
        """Returns the fmtp parameter `name` (in any case), or `default`."""
        wanted = name.lower()
        return next((value for key, value in self.parameters if key.lower() == wanted), default)


def matching(produced: Codec, offered: Sequence[Codec]) -> Codec | None:
    """Returns the viewer's codec under which a produced stream may be sent, or None.

    An H.264 stream may go to a viewer with another profile, since decoders decode more than they declare; the closest
    is chosen. A stream with fragments (packetization-mode 1) needs a viewer that accepts them.
    """
    fitting = [codec for codec in offered if _same_format(produced, codec)]
    if produced.name == "H264":
        needed = packetization_mode(produced)
        fitting = [codec for codec in fitting if needed <= packetization_mode(codec) <= 1]
        return min(fitting, key=lambda codec: _h264_distance(produced, codec), default=None)
    return next((codec for codec in fitting if profile(codec) == profile(produced)), None)


def profile(codec: Codec) -> str:
    """Returns the profile of a VP9, AV1 or H.265 codec, by default if it names none; "" for other codecs."""
    if codec.name not in _PROFILE:
        return ""
    name, default = _PROFILE[codec.name]
    return codec.parameter(name) or default


def packetization_mode(codec: Codec) -> int:
    """Returns the packetization mode (RFC 6184 section 6.2); -1 if it is invalid.

    0: one NAL unit in each packet. 1: aggregates and fragments too. 2: interleaved.
    """
    mode = codec.parameter("packetization-mode") or "0"
    return int(mode) if mode in {"0", "1", "2"} else -1


def h264_rank(codec: Codec) -> int:
    """Returns the place of the H.264 profile in the order of the demands on a decoder (RFC 6184 section 8.1, table 5).

    0 constrained baseline, 1 baseline and extended, 2 main, 3 constrained high, 4 high, 6 others and unreadable ones.
    """
    text = codec.parameter("profile-level-id") or _H264_DEFAULT_PROFILE_LEVEL
    try:
        idc, constraints = int(text[0:2], 16), int(text[2:4], 16)
    except ValueError:
        return _H264_UNKNOWN_RANK
    set0, set1 = bool(constraints & 0x80), bool(constraints & 0x40)
    constrained_high = constraints & 0x0C == 0x0C
    return {
        0x42: 0 if set1 else 1,
        0x58: 0 if set0 and set1 else 1,
        0x4D: 0 if set0 else 2,
        0x64: 3 if constrained_high else 4,
    }.get(idc, _H264_UNKNOWN_RANK)


def by_preference(codecs: Sequence[Codec], preference: Sequence[str]) -> list[Codec]:
    """Returns the codecs, best first: by `preference`, then the variant that most decoders decode.

    `preference` are names in any case; codecs not named there come last. Of H.264 the best variant is constrained
    baseline with packetization-mode 1; of the others the lowest profile. Equal codecs keep their order.
    """
    names = [name.lower() for name in (*preference, *AUDIO, *VIDEO)]

    def order(codec: Codec) -> tuple[int, bool, int, str]:
        h264 = codec.name == "H264"
        fragmenting = h264 and packetization_mode(codec) != 1
        return names.index(codec.name.lower()), fragmenting, h264_rank(codec) if h264 else 0, profile(codec)

    return sorted(codecs, key=order)


def _same_format(produced: Codec, codec: Codec) -> bool:
    return (codec.name, codec.clock_rate) == (produced.name, produced.clock_rate)


def _h264_distance(produced: Codec, codec: Codec) -> tuple[bool, int, int]:
    """Returns a sort key of a viewer's H.264 variants: profiles from the stream's own upwards, then downwards.

    Of one profile the same packetization mode comes first.
    """
    above = h264_rank(codec) - h264_rank(produced)
    return above < 0, abs(above), packetization_mode(codec) - packetization_mode(produced)
