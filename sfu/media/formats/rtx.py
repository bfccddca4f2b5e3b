"""Retransmitted packets and the streams that carry them (RFC 4588 section 4).

Owns the two bytes with the original sequence number (OSN). Never keeps state and never raises on remote bytes.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from sfu.media.formats.rtp import Packet

_FIXED: Final = Struct("!BBHII")
_SEQUENCE: Final = Struct("!H")


def unwrap(packet: Packet, payload_type: int, ssrc: int) -> Packet | None:
    """Returns the original packet in a packet of an RTX stream; None if there is none inside.

    `payload_type` and `ssrc` are those of the stream it repairs. Chromium probes the path with RTX packets that contain
    padding only. The header extensions are those of the retransmission: a MID applies to both, a transport-wide
    sequence number counts the RTX packet.
    """
    payload = packet.payload
    if len(payload) < 3:
        return None
    return Packet(
        packet.marker,
        payload_type,
        payload[0] << 8 | payload[1],
        packet.media_time,
        ssrc,
        payload[2:],
        packet.extensions,
    )


def wrap(plain: bytes, payload_type: int, ssrc: int, sequence: int) -> bytes:
    """Returns the RTX packet for `plain`, an RTP packet of ours as it was sent, before encryption and without padding.

    `sequence` is the RTX stream's own; only its low 16 bits count. Media time, marker, CSRCs and header extensions are
    kept.
    """
    first, second, original, media_time, _ = _FIXED.unpack_from(plain)
    start = 12 + 4 * (first & 0x0F)
    if first & 0x10:
        start += 4 + 4 * (plain[start + 2] << 8 | plain[start + 3])
    header = _FIXED.pack(first, second & 0x80 | payload_type, sequence & 0xFFFF, media_time, ssrc)
    return b"".join((header, plain[12:start], _SEQUENCE.pack(original), plain[start:]))
