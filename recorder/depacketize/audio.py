"""Audio: each packet is one unit with a known duration (RFC 7587 opus, RFC 3551 sections 4.5.2 and 4.5.14).

Owns durations and the codec parameters of audio tracks. Never decodes.
"""

from __future__ import annotations

from struct import Struct

from recorder.depacketize.frame import Frame
from recorder.depacketize.units import CodecParameters
from sfu.rtc.sdp.codec import Codec

_OPUS_HEAD = Struct("<8sBBHIhB")
_OPUS_LOOKAHEAD = 312
"""Samples at 48 kHz that libopus, the encoder of browsers, prepends to its first packet."""

_MAX_OPUS_FRAMES = 48
"""120 ms in frames of 2.5 ms."""
_SILK = (480, 960, 1920, 2880)
_HYBRID = (480, 960)
_CELT = (120, 240, 480, 960)


def parameters(codec: Codec) -> CodecParameters:
    """Returns the codec parameters of an audio track; they come from the negotiated codec, not from packets."""
    if codec.name != "opus":
        return CodecParameters(codec.name, codec.clock_rate, channels=codec.channels or 1)
    # always two channels: packets may change between one and two at any time (RFC 7587 section 7)
    head = _OPUS_HEAD.pack(b"OpusHead", 1, 2, _OPUS_LOOKAHEAD, 48000, 0, 0)
    return CodecParameters(codec.name, codec.clock_rate, channels=2, extradata=head)


class Audio:
    """The `Format` of opus, G.711 and G.722. The last two have an octet for each tick of 1/8000 s and channel."""

    def __init__(self, codec: Codec) -> None:
        self._opus = codec.name == "opus"
        self._parameters = parameters(codec)
        self._payload = b""

    def add(self, payload: bytes) -> bool:
        """Keeps the payload, which is the whole unit; a second one with the same media time replaces it."""
        self._payload = payload
        return True

    def begins(self, payload: bytes) -> bool:  # noqa: ARG002 - every packet is a unit
        """See `Format`."""
        return True

    def finish(self, *, whole: bool) -> Frame | None:  # noqa: ARG002 - every audio packet is whole
        """Returns the packet; None if it is opus without frames or of more than 120 ms."""
        duration = opus_duration(self._payload) if self._opus else len(self._payload) // self._parameters.channels
        return Frame(self._payload, True, self._parameters, duration) if duration else None

    def discard(self) -> None:
        """See `Format`. The next payload replaces this one."""


def opus_duration(packet: bytes) -> int:
    """Returns the samples at 48 kHz in an opus packet, by its first two bytes (RFC 6716 section 3.1); 0 if invalid."""
    if not packet:
        return 0
    configuration, code = packet[0] >> 3, packet[0] & 3
    if code == 3 and len(packet) < 2:
        return 0
    frames = (1, 2, 2)[code] if code < 3 else packet[1] & 0x3F
    if configuration < 12:
        samples = _SILK[configuration & 3]
    elif configuration < 16:
        samples = _HYBRID[configuration & 1]
    else:
        samples = _CELT[configuration & 3]
    return frames * samples if frames * samples <= _MAX_OPUS_FRAMES * _CELT[0] else 0
