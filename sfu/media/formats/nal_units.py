"""NAL units of H.264 (RFC 6184) and H.265 (RFC 7798): their types, headers and ids, and the units in a payload.

Owns the differences between the two formats, which lie mainly in the headers. Never keeps state, never decodes, never
raises on remote bytes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sfu.media.formats.bits import Bits, BrokenError
from sfu.media.formats.sps import h264_id, h264_size, h265_id, h265_size
from sfu.rtc.sdp.codec import Codec

MAX_SET_BYTES: Final = 4096
"""A longer parameter set is not used."""
_MAX_PAYLOAD_BYTES: Final = 1200
_NUMBER_BYTES: Final = 16
"""The numbers at the beginning of a unit lie within these bytes."""
_FIRST: Final = 0x80
"""The first bit of a fragmentation header, and of a slice that is the first one of its picture."""

SetKey = tuple[int, int]
"""The type and the id of a parameter set."""


@dataclass(frozen=True, slots=True)
class Family:
    """The NAL unit types of H.264 or H.265, and their place in the header."""

    header: int
    """Bytes of a NAL unit's header."""
    shift: int
    """Position of the type in the header's first byte, in bits."""
    aggregate: int
    fragment: int
    sets: tuple[int, ...]
    """The types of parameter sets that a key frame needs, in order: the PPS is the last."""
    sps: int
    pictures: range
    key_pictures: range
    leading: frozenset[int]
    """Types that stand before the slices of an access unit (H.264 section 7.4.1.2.3, H.265 section 7.4.2.4.4)."""
    useless: frozenset[int]
    """Delimiters, end markers and filler, which a container does not need."""
    unusable: frozenset[int]
    """Types that may not be inside a unit: aggregates and fragments, of all packetization modes."""
    size: Callable[[bytes], tuple[int, int] | None]
    sps_id: Callable[[bytes], int]
    out_of_band: tuple[str, ...]
    """The fmtp parameters with parameter sets in base64."""

    def kind(self, first: int) -> int:
        """Returns the type of a NAL unit by the first byte of its header."""
        return first >> self.shift & (0x1F if self.header == 1 else 0x3F)

    @property
    def pps(self) -> int:
        """Returns the type of a picture parameter set."""
        return self.sets[-1]

    def units(self, payload: bytes) -> list[bytes]:
        """Returns the whole NAL units of a payload: itself, or those of an aggregate; [] for a fragment."""
        kind = self.kind(payload[0]) if payload else self.fragment
        if kind == self.aggregate:
            return list(aggregated(payload, self.header))
        return [] if kind in self.unusable else [payload]

    def opens(self, payload: bytes) -> bool:
        """True if an access unit can begin with this payload: with the first slice of a picture, or what leads it."""
        kind, body = self.kind(payload[0]), self.header
        if kind == self.aggregate:
            unit = next(aggregated(payload, self.header), b"")
            return len(unit) > self.header and self.opens(unit)
        if kind == self.fragment:
            if len(payload) <= self.header + 1 or payload[self.header] < _FIRST:
                return False
            kind, body = payload[self.header] & (0x1F if self.header == 1 else 0x3F), self.header + 1
        if kind in self.pictures:  # first_mb_in_slice is 0, or first_slice_segment_in_pic_flag is set
            return payload[body : body + 1] >= b"\x80"
        return kind in self.leading

    def set_key(self, unit: bytes) -> SetKey | None:
        """Returns the type and id of a parameter set; None if the unit is none, or is broken."""
        kind = self.kind(unit[0]) if unit else -1
        if kind not in self.sets or not self.header < len(unit) <= MAX_SET_BYTES:
            return None
        if kind == self.sps:
            number = self.sps_id(unit)
        elif kind == self.pps:
            number = _number(unit[self.header :])
        else:  # the VPS of H.265 section 7.3.2.1
            number = unit[self.header] >> 4
        return None if number < 0 else (kind, number)

    def sps_id_of(self, pps: bytes) -> int:
        """Returns the id of the SPS that a PPS refers to; -1 if the PPS is broken."""
        return _number(pps[self.header :], skip=1)

    def pps_id_of(self, slice_unit: bytes) -> int:
        """Returns the id of the PPS that a slice of a key frame refers to; -1 if the slice is broken."""
        body = slice_unit[self.header :]
        if self.header == 1:  # after first_mb_in_slice and slice_type (H.264 section 7.3.3)
            return _number(body, skip=2)
        if not body or body[0] < _FIRST:
            return -1
        return _number(body, bits=2)  # after two flags (H.265 section 7.3.6.1)

    def aggregate_of(self, units: Sequence[bytes]) -> list[bytes]:
        """Returns payloads with these units: aggregates of a usual size, and single units that do not fit one."""
        payloads: list[bytes] = []
        held: list[bytes] = []
        for unit in units:
            if held and sum(len(each) + 2 for each in (*held, unit)) > _MAX_PAYLOAD_BYTES:
                payloads.append(self._joined(held))
                held = []
            held.append(unit)
        return [*payloads, self._joined(held)] if held else payloads

    def _joined(self, units: Sequence[bytes]) -> bytes:
        if len(units) == 1:
            return units[0]
        if self.header == 1:  # the highest importance of its units (RFC 6184 section 5.7)
            head = bytes((max(unit[0] & 0x60 for unit in units) | self.aggregate,))
        else:
            head = bytes((self.aggregate << 1, min(unit[1] for unit in units)))
        return head + b"".join([len(unit).to_bytes(2, "big") + unit for unit in units])


FAMILIES: Final = {
    "H264": Family(
        header=1,
        shift=0,
        aggregate=24,
        fragment=28,
        sets=(7, 8),
        sps=7,
        pictures=range(1, 6),
        key_pictures=range(5, 6),
        leading=frozenset((*range(6, 10), *range(14, 19))),
        useless=frozenset((9, 10, 11, 12)),
        unusable=frozenset((0, *range(24, 32))),
        size=h264_size,
        sps_id=h264_id,
        out_of_band=("sprop-parameter-sets",),
    ),
    "H265": Family(
        header=2,
        shift=1,
        aggregate=48,
        fragment=49,
        sets=(32, 33, 34),
        sps=33,
        pictures=range(32),
        key_pictures=range(16, 22),
        leading=frozenset((*range(32, 36), 39, *range(41, 45))),
        useless=frozenset((35, 36, 37, 38)),
        unusable=frozenset(range(48, 64)),
        size=h265_size,
        sps_id=h265_id,
        out_of_band=("sprop-vps", "sprop-sps", "sprop-pps"),
    ),
}


def aggregated(payload: bytes, position: int) -> Iterator[bytes]:
    """Yields the units of an aggregation packet, each after its 16-bit length, up to one that is empty or cut short."""
    while position + 2 < len(payload):
        after = position + 2 + (payload[position] << 8 | payload[position + 1])
        unit = payload[position + 2 : after]
        if not unit or after > len(payload):
            return
        yield unit
        position = after


def described_sets(codec: Codec) -> list[bytes]:
    """Returns the parameter sets in the session description (RFC 6184 section 8.1, RFC 7798 section 7.1)."""
    family = FAMILIES.get(codec.name)
    sets: list[bytes] = []
    for name in () if family is None else family.out_of_band:
        for text in (codec.parameter(name) or "").split(","):
            try:
                sets.append(base64.b64decode(text))
            except (binascii.Error, ValueError):
                continue
    return sets


def _number(body: bytes, *, bits: int = 0, skip: int = 0) -> int:
    """Returns the Exp-Golomb number after `bits` bits and `skip` other numbers; -1 if it is cut short."""
    reader = Bits(body[:_NUMBER_BYTES])
    try:
        reader.take(bits)
        for _ in range(skip):
            reader.unsigned()
        return reader.unsigned()
    except BrokenError:
        return -1
