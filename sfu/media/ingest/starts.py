"""Where a decoder can start in one incoming stream: its key frames, and the parameter sets that they need.

Owns the parameter sets of H.264 and H.265 that were said so far, in packets or in the session description, since some
encoders say them only once; and the reason why nobody can start. Never keeps a packet, never changes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sfu.media.formats.key_frame_detection import PICTURE, SETS, start_test
from sfu.media.formats.nal_units import FAMILIES, Family, SetKey, described_sets
from sfu.media.formats.picture_size import Size, picture_size
from sfu.media.formats.rtp import Packet
from sfu.rtc.sdp.codec import Codec, Kind, packetization_mode

_MAX_SETS: Final = 32
_PATIENCE_S: Final = 4.0
"""Time that a stream has for its first key frame: a problem has to be known after 5 s."""


class Problem(StrEnum):
    """The reason why a track can be neither shown nor recorded."""

    NO_PARAMETER_SETS = "no_parameter_sets"
    """H.264 or H.265 whose key frames come without parameter sets, which it never said before either."""
    NO_KEY_FRAME = "no_key_frame"
    NO_CODEC = "no_codec"
    """A codec that the server does not know, or another one than was agreed."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A track that can be neither shown nor recorded. `codec`: its name, or `unknown`."""

    kind: Kind
    codec: str
    problem: Problem


class Starts:
    """The starts of one producer's present stream."""

    def __init__(self, codec: Codec) -> None:
        self.problem: Problem | None = None
        """See `check`."""
        self._family: Family | None = None
        self._sets: dict[SetKey, bytes] = {}
        """The parameter sets by type and id, the longest unused first."""
        self._payloads: tuple[bytes, ...] | None = None
        self._size: Size | None = None
        self._sized_at = -1  # index of the key frame that was measured
        self._begun_at: float | None = None
        self._picture = False
        self.use(codec)

    def use(self, codec: Codec) -> None:
        """Begins a stream in this codec. Parameter sets that were said before hold until others are said."""
        family = FAMILIES.get(codec.name)
        if family is not self._family:
            self._family, self._payloads = family, None
            self._sets.clear()
        self.problem = None
        self._codec = codec.name
        self._video = codec.kind == "video"
        self._aggregates = codec.name != "H264" or packetization_mode(codec) > 0
        self.test = start_test(codec.name)
        self._begun_at, self._picture = None, False
        for unit in described_sets(codec):
            self._keep(unit)

    def note(self, payload: bytes, found: int) -> None:
        """Takes a payload in which something begins: `found` is what `test` said about it, not 0."""
        self._picture = self._picture or bool(found & PICTURE)
        if found & SETS and self._family is not None:
            for unit in self._family.units(payload):
                self._keep(unit)

    def _keep(self, unit: bytes) -> None:
        key = None if self._family is None else self._family.set_key(unit)
        if key is None or self._sets.get(key) == unit:
            return
        self._payloads = None
        self._sets.pop(key, None)
        self._sets[key] = unit
        while len(self._sets) > _MAX_SETS:
            del self._sets[next(iter(self._sets))]

    @property
    def sets(self) -> Sequence[bytes]:
        """Returns the parameter sets, each after those that it needs."""
        return [self._sets[key] for key in sorted(self._sets)]

    def lead(self, key: Packet) -> list[Packet]:
        """Returns the packets that have to stand before the key frame that begins with `key`: mostly none.

        They have the parameter sets, if the key frame comes without them, and the indexes before that of `key`.
        """
        family = self._family
        if family is None or not self.test(key.payload) & PICTURE:
            return []
        own = {family.kind(unit[0]) for unit in family.units(key.payload)}
        if own.issuperset(family.sets):
            return []
        if self._payloads is None:
            sets = self.sets
            self._payloads = tuple(family.aggregate_of(sets) if self._aggregates else sets)
        first = key.index - len(self._payloads)
        return [
            Packet(False, key.payload_type, index & 0xFFFF, key.media_time, key.ssrc, payload, index=index)
            for index, payload in enumerate(self._payloads, first)
        ]

    def size(self, key: Packet | None) -> Size | None:
        """Returns the size of the pictures, by the latest key frame's first packet; None as long as it is not known."""
        if key is not None and key.index != self._sized_at:
            self._sized_at = key.index
            self._size = picture_size(self._codec, key.payload) or self._size_of_sets() or self._size
        return self._size

    def _size_of_sets(self) -> Size | None:
        """Returns the size in the latest SPS."""
        family = self._family
        found = [] if family is None else [unit for key, unit in self._sets.items() if key[0] == family.sps]
        return family.size(found[-1]) if family is not None and found else None

    def check(self, now: float, *, heard: bool, strange: bool) -> None:
        """Sets `problem`; called some times a second.

        `heard`: packets of the present stream have come. `strange`: only packets of another codec have come.
        """
        if not heard and not strange:
            return
        if self._begun_at is None:
            self._begun_at = now
        if now - self._begun_at >= _PATIENCE_S or self.problem is not None:
            self.problem = self._found(strange=strange)

    def _found(self, *, strange: bool) -> Problem | None:
        if strange:
            return Problem.NO_CODEC
        if not self._video:
            return None
        if not self._picture:
            return Problem.NO_KEY_FRAME
        family = self._family
        complete = family is None or {kind for kind, _ in self._sets}.issuperset(family.sets)
        return None if complete else Problem.NO_PARAMETER_SETS
