"""H.264 (RFC 6184) and H.265 (RFC 7798): assembles NAL units, keeps parameter sets and puts them before key frames.

Owns these two formats, which differ mainly in the headers of their NAL units, never packet order. Access units become
Annex B byte streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from recorder.depacketize.frame import MAX_UNIT_BYTES, NOTHING, Frame, drawable
from recorder.depacketize.units import CodecParameters
from sfu.media.formats.nal_units import FAMILIES, MAX_SET_BYTES, Family, SetKey, described_sets
from sfu.rtc.sdp.codec import Codec

_START_CODE = b"\x00\x00\x00\x01"
_FIRST, _LAST = 0x80, 0x40
_MAX_SETS = 32


class NalUnits:
    """The `Format` of both families; its units are access units."""

    def __init__(self, codec: Codec) -> None:
        self._name = codec.name
        self._clock_rate = codec.clock_rate
        self._family = FAMILIES[codec.name]
        self._known: dict[SetKey, bytes] = {}
        """Parameter sets by type and id, the longest unused first."""
        self._own: dict[SetKey, bytes] = {}
        """The parameter sets of the open unit."""
        self._in_band = False
        """True if the last key frame came with its own parameter sets."""
        self._parameters: CodecParameters | None = None
        self._described_sets: list[bytes] = []
        self.discard()
        self.learn(described_sets(codec))

    def learn(self, sets: Iterable[bytes]) -> None:
        """Adds parameter sets that were said before the first unit."""
        for unit in sets:
            self._keep(self._as_set(unit))

    def discard(self) -> None:
        """See `Format`."""
        self._pictures = bytearray()
        self._fragment: bytearray | None = None
        self._key = self._shows = False
        self._pps_id: int | None = None
        """The PPS of the first slice of a key frame."""
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

    def begins(self, payload: bytes) -> bool:
        """See `Format`."""
        return self._shows and self._fragment is None and self._family.opens(payload)

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
            return len(unit) <= MAX_SET_BYTES and len(self._own) <= _MAX_SETS
        self._shows |= kind in family.pictures
        if kind in family.key_pictures and not self._key:
            self._key, self._pps_id = True, family.pps_id_of(unit)
        self._pictures += _START_CODE
        self._pictures += unit
        return True

    def _as_set(self, unit: bytes) -> dict[SetKey, bytes]:
        """Returns a parameter set under its key; an empty dict if it is not a valid one."""
        key = self._family.set_key(unit)
        return {} if key is None else {key: unit}

    def finish(self, *, whole: bool) -> Frame | None:
        """See `Format`. Parameter sets without a picture are kept for the next key frame."""
        pictures, own = self._pictures, self._own
        key, shows, torn, pps_id = self._key, self._shows, self._fragment is not None, self._pps_id
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
            self._forget_pps(own)
        needed, sps = self._needed(pps_id)
        if not self._complete(needed) or not self._update_parameters(needed, sps):
            return None
        return Frame(_annex_b(needed) + bytes(pictures), True, self._parameters)

    def _keep(self, own: dict[SetKey, bytes]) -> None:
        """Keeps the parameter sets of a unit; drops the longest unused ones."""
        for key, unit in own.items():
            self._known.pop(key, None)
            self._known[key] = unit
        while len(self._known) > _MAX_SETS:
            del self._known[next(iter(self._known))]

    def _forget_pps(self, own: Mapping[SetKey, bytes]) -> None:
        """Drops the other PPS of the SPS that a complete key frame brought: it brought all of them."""
        family = self._family
        old = [key for key, pps in self._known.items() if key[0] == family.pps and key not in own]
        for key in old:
            if (family.sps, family.sps_id_of(self._known[key])) in own:
                del self._known[key]

    def _needed(self, pps_id: int | None) -> tuple[Mapping[SetKey, bytes], bytes]:
        """Returns the known sets that a key frame with this PPS needs, and its SPS.

        These are all sets, and any SPS, if the PPS cannot be read.
        """
        family, known = self._family, self._known
        pps = known.get((family.pps, -1 if pps_id is None else pps_id))
        sps = (family.sps, -1 if pps is None else family.sps_id_of(pps))
        if sps not in known:
            return known, next((unit for (kind, _), unit in known.items() if kind == family.sps), b"")
        needed = {
            key: unit
            for key, unit in known.items()
            if key == sps
            or key[0] not in family.sets[-2:]
            or (key[0] == family.pps and family.sps_id_of(unit) == sps[1])
        }
        return needed, known[sps]

    def _complete(self, sets: Mapping[SetKey, bytes]) -> bool:
        """True if there is a parameter set of every type."""
        return {kind for kind, _ in sets} == set(self._family.sets)

    def _update_parameters(self, needed: Mapping[SetKey, bytes], sps: bytes) -> bool:
        """Renews the codec parameters if a set other than a PPS has changed; False if the SPS is broken."""
        sets = [unit for (kind, _), unit in sorted(needed.items()) if kind != self._family.pps]
        if sets == self._described_sets:
            return True
        size = self._family.size(sps)
        if size is None or not drawable(*size):
            return False
        self._described_sets = sets
        self._parameters = CodecParameters(self._name, self._clock_rate, *size, extradata=_annex_b(needed))
        return True


def _restored_header(family: Family, payload: bytes, mark: int) -> bytes:
    """Returns the header of the NAL unit before it was fragmented."""
    if family.header == 1:
        return bytes((payload[0] & 0xE0 | mark & 0x1F,))
    return bytes((payload[0] & 0x81 | (mark & 0x3F) << 1, payload[1]))


def _annex_b(sets: Mapping[SetKey, bytes]) -> bytes:
    return b"".join([_START_CODE + unit for unit in _in_order(sets)])


def _in_order(sets: Mapping[SetKey, bytes]) -> Iterator[bytes]:
    """Returns VPS, SPS, PPS, in the order of their type numbers: each needs the one before."""
    return (unit for _, unit in sorted(sets.items()))
