"""Telephone audio to Opus: G.711 and G.722 (RFC 3551) are allowed neither in MP4 nor in WebM.

Owns the only transcoding in the recorder, from packets of any length to Opus frames of 20 ms. Never touches video,
never writes files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import av

FRAME_US = 20_000
_FRAME_BYTES = 160
"""20 ms in all three codecs: 64 kbit/s."""
_BYTE_US = 125
_MAX_JUMP_US = 40_000
"""A larger jump of the media time drops the bytes left over from before it."""
_LOOKAHEAD_US = 6_500
"""Delay of libopus; our OpusHead makes players skip it."""
_DECODERS = {"PCMU": ("pcm_mulaw", 8000), "PCMA": ("pcm_alaw", 8000), "G722": ("g722", 16000)}

CODECS = frozenset(_DECODERS)


class ToOpus:
    """The transcoder of one track: payloads of `codec` (a name of CODECS) in, Opus packets of 20 ms out."""

    def __init__(self, codec: str) -> None:
        name, rate = _DECODERS[codec]
        self._decoder = cast("av.AudioCodecContext", av.CodecContext.create(name, "r"))
        self._decoder.sample_rate = rate
        self._decoder.layout = "mono"
        self._encoder = av.CodecContext.create("libopus", "w")
        self._encoder.sample_rate = rate
        self._encoder.layout = "mono"
        self._encoder.format = "s16"
        self._encoder.bit_rate = 32_000
        self._encoder.options = {"application": "voip"}
        self._samples = rate * FRAME_US // 1_000_000
        self._encoded = 0
        self._kept = b""
        self._kept_us = 0

    def convert(self, pts_us: int, payload: bytes) -> Iterator[tuple[int, bytes]]:
        """Yields (media time in microseconds, Opus packet) of each whole frame; the rest waits for the next payload.

        A jump of more than two frames drops the rest of the payload before it.
        """
        if abs(self._kept_us + len(self._kept) * _BYTE_US - pts_us) > _MAX_JUMP_US:
            self._kept, self._kept_us = b"", pts_us
        self._kept += payload
        while len(self._kept) >= _FRAME_BYTES:
            for packet in self._encode(self._kept[:_FRAME_BYTES]):
                yield max(0, self._kept_us - _LOOKAHEAD_US), packet
            self._kept = self._kept[_FRAME_BYTES:]
            self._kept_us += FRAME_US

    def _encode(self, payload: bytes) -> Iterator[bytes]:
        for frame in self._decoder.decode(av.Packet(payload)):
            frame.pts = self._encoded * self._samples
            self._encoded += 1
            for packet in self._encoder.encode(frame):
                yield bytes(packet)
