"""Encoded pictures and sound to RTP payloads (RFC 6184, 7741, 9628, 7587), and H.264 byte streams to NAL units.

Pure: bytes in, bytes out. Owns the payload formats on the sending side. Never makes RTP headers (`outgoing` does) and
never paces (`publish` does).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping

MAX_PAYLOAD = 1200
"""Bytes of one RTP payload: a 1280-byte IPv6 packet less IP, UDP, SRTP and header extensions."""

START_CODE = b"\x00\x00\x00\x01"

_IDR, _SPS, _PPS, _DELIMITER, _FILLER, _STAP_A, _FU_A = 5, 7, 8, 9, 12, 24, 28


def nal_type(unit: bytes) -> int:
    """Returns the `nal_unit_type` of an H.264 NAL unit (RFC 6184 section 1.3); 0 for an empty one."""
    return unit[0] & 0x1F if unit else 0


def nal_units(stream: bytes) -> list[bytes]:
    """Returns the NAL units of an Annex B byte stream, without start codes, access unit delimiters and filler."""
    units = []
    start = stream.find(b"\x00\x00\x01")
    while start >= 0:
        following = stream.find(b"\x00\x00\x01", start + 3)
        unit = stream[start + 3 : following if following >= 0 else len(stream)].rstrip(b"\x00")
        if unit and nal_type(unit) not in (_DELIMITER, _FILLER):
            units.append(unit)
        start = following
    return units


def byte_stream(units: Iterable[bytes]) -> bytes:
    """Returns NAL units as an Annex B byte stream: the inverse of `nal_units`."""
    return b"".join(START_CODE + unit for unit in units)


class ParameterSets:
    """The latest SPS and PPS of a stream, repeated before each key frame that has none: a viewer may join there."""

    def __init__(self, extradata: bytes = b"") -> None:
        """`extradata`: the container's decoder configuration, as Annex B."""
        self._sets: dict[int, bytes] = {}
        self._remember(nal_units(extradata))

    @property
    def profile_level_id(self) -> str | None:
        """Returns SDP's six hex digits (RFC 6184 section 8.1), or None before the first SPS."""
        sps = self._sets.get(_SPS)
        return sps[1:4].hex() if sps is not None and len(sps) >= 4 else None

    def complete(self, access_unit: bytes) -> bytes:
        """Returns the access unit; an IDR picture begins with its own or else the latest parameter sets."""
        units = nal_units(access_unit)
        self._remember(units)
        if any(nal_type(unit) == _IDR for unit in units):
            others = [unit for unit in units if nal_type(unit) not in (_SPS, _PPS)]
            units = [self._sets[kind] for kind in (_SPS, _PPS) if kind in self._sets] + others
        return byte_stream(units)

    def _remember(self, units: Iterable[bytes]) -> None:
        for unit in units:
            if nal_type(unit) in (_SPS, _PPS):
                self._sets[nal_type(unit)] = unit


def h264_payloads(access_unit: bytes) -> list[bytes]:
    """Returns the payloads of one Annex B access unit in packetization-mode 1: single NAL units, STAP-A, FU-A."""
    payloads: list[bytes] = []
    small: list[bytes] = []
    for unit in nal_units(access_unit):
        if small and 1 + sum(len(held) + 2 for held in (*small, unit)) > MAX_PAYLOAD:
            payloads.append(_aggregate(small))
            small = []
        if len(unit) > MAX_PAYLOAD:
            payloads.extend(_fragments(unit))
        else:
            small.append(unit)
    if small:
        payloads.append(_aggregate(small))
    return payloads


def _aggregate(units: list[bytes]) -> bytes:
    """Returns several NAL units as one STAP-A (RFC 6184 section 5.7.1), and a single one unchanged."""
    if len(units) == 1:
        return units[0]
    importance = max(unit[0] & 0x60 for unit in units)
    return bytes([importance | _STAP_A]) + b"".join(struct.pack("!H", len(unit)) + unit for unit in units)


def _fragments(unit: bytes) -> list[bytes]:
    """Returns a large NAL unit as FU-A fragments (RFC 6184 section 5.8), all but the last of equal size."""
    indicator, kind = unit[0] & 0xE0 | _FU_A, unit[0] & 0x1F
    size = MAX_PAYLOAD - 2
    payloads = []
    for offset in range(1, len(unit), size):
        first, last = offset == 1, offset + size >= len(unit)
        header = bytes([indicator, first << 7 | last << 6 | kind])
        payloads.append(header + unit[offset : offset + size])
    return payloads


def vp8_payloads(frame: bytes) -> list[bytes]:
    """Returns the payloads of one VP8 frame, with the one-byte descriptor (RFC 7741 section 4.2)."""
    size = MAX_PAYLOAD - 1
    return [(b"\x00" if at else b"\x10") + frame[at : at + size] for at in range(0, len(frame), size)]


def vp9_payloads(frame: bytes) -> list[bytes]:
    """Returns the payloads of one VP9 frame, with the one-byte descriptor, no layers (RFC 9628 section 4.2)."""
    size = MAX_PAYLOAD - 1
    predicted = 0 if vp9_key_frame(frame) else 0x40
    payloads = []
    for at in range(0, len(frame), size):
        begins, ends = at == 0, at + size >= len(frame)
        payloads.append(bytes([predicted | begins << 3 | ends << 2]) + frame[at : at + size])
    return payloads


def vp9_key_frame(frame: bytes) -> bool:
    """Returns True if a VP9 uncompressed header starts a key frame (bitstream specification section 6.2)."""
    if not frame:
        return False
    reserved_bit = 1 if frame[0] & 0x30 == 0x30 else 0
    show_existing_and_type = frame[0] >> (2 - reserved_bit) & 0b11
    return frame[0] >> 6 == 0b10 and show_existing_and_type == 0


def opus_payloads(packet: bytes) -> list[bytes]:
    """Returns one Opus packet as one payload (RFC 7587 section 4.2)."""
    return [packet]


PAYLOADS: Mapping[str, Callable[[bytes], list[bytes]]] = {
    "H264": h264_payloads,
    "VP8": vp8_payloads,
    "VP9": vp9_payloads,
    "opus": opus_payloads,
}
"""Payload functions of the codecs that a peer can send, by codec name."""
