"""Sound: each packet is one unit, and says how long it is (RFC 7587 opus, RFC 3551 sections 4.5.2 and 4.5.14).

Owns durations and what a container must know of audio tracks. Never decodes.
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
_SILK = (480, 960, 1920, 2880)
_HYBRID = (480, 960)
_CELT = (120, 240, 480, 960)


def parameters(codec: Codec) -> CodecParameters:
    """What a container must know of an audio track, which its first packet need not tell."""
    if codec.name != "opus":
        return CodecParameters(codec.name, codec.clock_rate, channels=codec.channels or 1)
    # two channels whatever is sent: packets may change between one and two at any time (RFC 7587 section 7)
    head = _OPUS_HEAD.pack(b"OpusHead", 1, 2, _OPUS_LOOKAHEAD, 48000, 0, 0)
    return CodecParameters(codec.name, codec.clock_rate, channels=2, extradata=head)


class Sound:
    """Opus, and the octets of G.711 and G.722: one each 1/8000 s and channel, by the clock that RTP gives them."""

    def __init__(self, codec: Codec) -> None:
        self._opus = codec.name == "opus"
        self._parameters = parameters(codec)
        self._payload = b""

    def add(self, payload: bytes) -> bool:
        """One payload is all there is; a second one is a second unit under one media time, and wins."""
        self._payload = payload
        return True

    def finish(self, *, whole: bool) -> Frame | None:  # noqa: ARG002 - every packet of sound is whole
        """The packet, unless it is opus of no frames or more than 120 ms."""
        duration = opus_duration(self._payload) if self._opus else len(self._payload) // self._parameters.channels
        return Frame(self._payload, True, self._parameters, duration) if duration else None

    def discard(self) -> None:
        """Nothing is held that the next packet would not replace."""


def opus_duration(packet: bytes) -> int:
    """Samples at 48 kHz in an opus packet, by its first two bytes (RFC 6716 section 3.1); 0 if it cannot be one."""
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
