"""Picture sizes, read from the first packet of a key frame.

Owns finding the header that states the size in the payload formats of VP8 (RFC 7741) and H.264 (RFC 6184). Other codecs
are not sent as simulcast layers of different sizes. Never decodes, keeps no state, never raises on remote bytes.
"""

from __future__ import annotations

from typing import Final

from sfu.media.formats import vp8
from sfu.media.formats.sps import h264_size

_SPS, _STAP_A = 7, 24
_MAX_SPS_BYTES: Final = 256
"""Enough to reach the size; bounds the work that a hostile packet can cause."""

MAX_PIXELS: Final = 7680 * 4320
"""The largest picture that is decoded, in pixels (8K): a small packet can claim one that needs gigabytes of memory."""
DECODER_OPTIONS: Final = {"max_pixels": str(MAX_PIXELS)}
"""FFmpeg's own bound, for every decoder. Those of H.264 and H.265 allocate tables before they heed it."""

Size = tuple[int, int]
"""Width and height in pixels."""


def picture_size(codec_name: str, payload: bytes) -> Size | None:
    """Returns the size of the pictures; None if this packet does not state it."""
    if codec_name == "VP8" and payload:
        return vp8.key_frame_size(payload[vp8.descriptor_length(payload) :])
    if codec_name == "H264" and payload:
        return _h264(payload)
    return None


def _h264(payload: bytes) -> Size | None:
    if payload[0] & 0x1F == _STAP_A and len(payload) > 3:
        payload = payload[3 : 3 + (payload[1] << 8 | payload[2])]  # parameter sets come first
    if not payload or payload[0] & 0x1F != _SPS:
        return None
    return h264_size(payload[:_MAX_SPS_BYTES])
