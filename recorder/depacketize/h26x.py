"""H.264 (RFC 6184) and H.265 (RFC 7798): assembles NAL units, keeps parameter sets and puts them before key frames.

Owns these two formats, which differ mainly in the headers of their NAL units, never packet order. Access units become
Annex B byte streams.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from recorder.depacketize.frame import MAX_UNIT_BYTES, NOTHING, Frame, drawable
from recorder.depacketize.units import CodecParameters
from sfu.media.formats.bits import Bits, BrokenError
from sfu.media.formats.sps import h264_size, h265_size
from sfu.rtc.sdp.codec import Codec

_START_CODE = b"\x00\x00\x00\x01"
_FIRST, _LAST = 0x80, 0x40
_MAX_SET_BYTES = 4096
_MAX_SETS = 32


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
    """The types of parameter sets that a key frame needs, in order; there may be several of the last one, the PPS."""
    sps: int
    pictures: range
    key_pictures: range
    useless: frozenset[int]
    """Delimiters, end markers and filler, which a container does not need."""
    unusable: frozenset[int]
    """Types that may not be inside a unit: aggregates and fragments, of all packetization modes."""
    size: Callable[[bytes], tuple[int, int] | None]
    out_of_band: tuple[str, ...]
    """The fmtp parameters with parameter sets in base64."""

    def kind(self, first: int) -> int:
        """Returns the type of a NAL unit by the first byte of its header."""
        return first >> self.shift & (0x1F if self.header == 1 else 0x3F)


FAMILIES = {
    "H264": Family(
        header=1,
        shift=0,
        aggregate=24,
        fragment=28,
        sets=(7, 8),
        sps=7,
        pictures=range(1, 6),
        key_pictures=range(5, 6),
        useless=frozenset((9, 10, 11, 12)),
        unusable=frozenset((0, *range(24, 32))),
        size=h264_size,
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
        useless=frozenset((35, 36, 37, 38)),
        unusable=frozenset(range(48, 64)),
        size=h265_size,
        out_of_band=("sprop-vps", "sprop-sps", "sprop-pps"),
    ),
}

_Key = tuple[int, int]


class NalUnits:
    """The `Format` of both families; its units are access units."""

    def __init__(self, codec: Codec) -> None:
        self._name = codec.name
        self._clock_rate = codec.clock_rate
        self._family = FAMILIES[codec.name]
        self._known: dict[_Key, bytes] = {}
        """Parameter sets by (type, id), the longest unused first; the id is 0 but for a PPS."""
        self._own: dict[_Key, bytes] = {}
        """The parameter sets of the open unit."""
        self._in_band = False
        """True if the last key frame came with its own parameter sets."""
        self._parameters: CodecParameters | None = None
        self._described_sets: list[bytes] = []
        self._seed(codec)
        self.discard()

    def _seed(self, codec: Codec) -> None:
        """Adds the parameter sets of the session description."""
        for name in self._family.out_of_band:
            for text in (codec.parameter(name) or "").split(","):
                try:
                    unit = base64.b64decode(text)
                except (binascii.Error, ValueError):
                    continue
                if len(unit) > self._family.header:
                    self._known |= self._as_set(unit)

    def discard(self) -> None:
        """See `Format`."""
        self._pictures = bytearray()
        self._fragment: bytearray | None = None
        self._key = self._shows = False
        self._own = {}

    def add(self, payload: bytes) -> bool:
        """See `Format`."""
        family = self._family
        kind = family.kind(payload[0])
        if kind == family.fragment:
            added = self._add_fragment(payload)
        elif self._fragment is not None:
            return False
        elif kind == family.aggregate:
            added = self._add_aggregate(payload)
        else:
            added = self._add_unit(payload)
        return added and len(self._pictures) + len(self._fragment or b"") <= MAX_UNIT_BYTES

    def _add_aggregate(self, payload: bytes) -> bool:
        """Adds a STAP-A (RFC 6184 section 5.7.1) or AP (RFC 7798 section 4.4.2); False if it is broken."""
        position = self._family.header
        while position < len(payload):
            after = position + 2 + int.from_bytes(payload[position : position + 2], "big")
            unit = payload[position + 2 : after]
            if not unit or after > len(payload) or not self._add_unit(unit):
                return False
            position = after
        return True

    def _add_fragment(self, payload: bytes) -> bool:
        """Adds an FU-A (RFC 6184 section 5.8) or FU (RFC 7798 section 4.4.3); False if it is broken."""
        family = self._family
        if len(payload) < family.header + 2:
            return False
        mark = payload[family.header]
        if bool(mark & _FIRST) != (self._fragment is None):
            return False
        if self._fragment is None:
            self._fragment = bytearray(_restored_header(family, payload, mark))
        self._fragment += payload[family.header + 1 :]
        if mark & _LAST:
            unit, self._fragment = bytes(self._fragment), None
            return self._add_unit(unit)
        return True

    def _add_unit(self, unit: bytes) -> bool:
        """Adds a whole NAL unit; False if it is broken."""
        family = self._family
        kind = family.kind(unit[0])
        if kind in family.useless:
            return True
        if len(unit) <= family.header or kind in family.unusable:
            return False
        if kind in family.sets:
            self._own |= self._as_set(unit)
            return len(unit) <= _MAX_SET_BYTES and len(self._own) <= _MAX_SETS
        self._shows |= kind in family.pictures
        self._key |= kind in family.key_pictures
        self._pictures += _START_CODE
        self._pictures += unit
        return True

    def _as_set(self, unit: bytes) -> dict[_Key, bytes]:
        """Returns a parameter set under its key; an empty dict if it is not a valid one."""
        family = self._family
        kind = family.kind(unit[0])
        if kind not in family.sets:
            return {}
        number = 0
        if kind == family.sets[-1]:
            try:
                number = Bits(unit[family.header : family.header + 9]).unsigned()
            except BrokenError:
                return {}
        return {(kind, number): unit}

    def finish(self, *, whole: bool) -> Frame | None:
        """See `Format`. Parameter sets without a picture are kept for the next key frame."""
        pictures, own = self._pictures, self._own
        key, shows, torn = self._key, self._shows, self._fragment is not None
        self.discard()
        if torn:
            return None
        self._keep(own)
        if not shows:
            return NOTHING
        if not key:
            return Frame(_annex_b(own) + bytes(pictures), False, None)
        complete = self._complete(own)
        if not complete and self._in_band and not whole:
            return None  # its parameter sets may be in the missing packets, and differ from the known ones
        self._in_band = complete
        if complete:
            self._known = own
        if not self._complete(self._known) or not self._update_parameters():
            return None
        return Frame(_annex_b(self._known) + bytes(pictures), True, self._parameters)

    def _keep(self, own: dict[_Key, bytes]) -> None:
        """Keeps the parameter sets of a unit; drops the longest unused ones."""
        for key, unit in own.items():
            self._known.pop(key, None)
            self._known[key] = unit
        while len(self._known) > _MAX_SETS:
            del self._known[next(iter(self._known))]

    def _complete(self, sets: dict[_Key, bytes]) -> bool:
        """True if there is a parameter set of every type."""
        return {kind for kind, _ in sets} == set(self._family.sets)

    def _update_parameters(self) -> bool:
        """Renews the codec parameters if a set other than a PPS has changed; False if the SPS is broken."""
        sets = [unit for (kind, _), unit in sorted(self._known.items()) if kind != self._family.sets[-1]]
        if sets == self._described_sets:
            return True
        size = self._family.size(self._known[self._family.sps, 0])
        if size is None or not drawable(*size):
            return False
        self._described_sets = sets
        self._parameters = CodecParameters(self._name, self._clock_rate, *size, extradata=_annex_b(self._known))
        return True


def _restored_header(family: Family, payload: bytes, mark: int) -> bytes:
    """Returns the header of the NAL unit before it was fragmented."""
    if family.header == 1:
        return bytes((payload[0] & 0xE0 | mark & 0x1F,))
    return bytes((payload[0] & 0x81 | (mark & 0x3F) << 1, payload[1]))


def _annex_b(sets: dict[_Key, bytes]) -> bytes:
    return b"".join([_START_CODE + unit for unit in _in_order(sets)])


def _in_order(sets: dict[_Key, bytes]) -> Iterator[bytes]:
    """Returns VPS, SPS, PPS, in the order of their type numbers: each needs the one before."""
    return (unit for _, unit in sorted(sets.items()))
