"""The last seconds of a producer that is not recorded yet: what came before an event is part of it.

Owns what is remembered and for how long. Never copies media: units are kept as they came.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from recorder.depacketize.units import PlacedUnit

_SOUND_US: Final = 1_000_000


@dataclass(slots=True)
class _Group:
    """What a decoder can start with: a key frame and all until the next one, or a second of sound alone."""

    start_us: int
    video: bool
    moments: list[PlacedUnit] = field(default_factory=list)
    size: int = 0


class Preroll:
    """At least the last `length_us` of a producer, beginning with a key frame, in at most `max_bytes`.

    It takes a key frame within that time to hold to it: cameras that send none unless asked are to be asked.
    """

    def __init__(self, length_us: int, *, max_bytes: int = 64 << 20) -> None:
        self._length_us = length_us
        self._max_bytes = max_bytes
        self._groups: deque[_Group] = deque()
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes of media remembered."""
        return self._size

    def push(self, moment: PlacedUnit) -> bool:
        """Remembers a moment; True if a key frame is needed, to begin with or to forget what was before it."""
        if self._begins(moment):
            self._groups.append(_Group(moment.wall_us, moment.track == "video"))
        if not self._groups or (moment.track == "video" and not self._groups[-1].video):
            return True  # video that nothing precedes which it could build on
        group = self._groups[-1]
        group.moments.append(moment)
        group.size += len(moment.unit.data)
        self._size += len(moment.unit.data)
        self._forget(moment.wall_us - self._length_us)
        return not self._groups or (self._groups[-1].video and self._lasts(moment) > self._length_us)

    def replay(self) -> list[PlacedUnit]:
        """All that is remembered, oldest first, and forgets it: from now on the recording has it."""
        moments = [moment for group in self._groups for moment in group.moments]
        self._groups.clear()
        self._size = 0
        return moments

    def _begins(self, moment: PlacedUnit) -> bool:
        if moment.track == "video":
            return moment.unit.key
        if not self._groups:
            return True
        return not self._groups[-1].video and abs(self._lasts(moment)) >= _SOUND_US

    def _lasts(self, moment: PlacedUnit) -> int:
        return moment.wall_us - self._groups[-1].start_us

    def _forget(self, before_us: int) -> None:
        """Whole groups: those that end before what is wanted, and the oldest while there are too many bytes."""
        groups = self._groups
        while groups and (self._size > self._max_bytes or (len(groups) > 1 and groups[1].start_us <= before_us)):
            self._size -= groups.popleft().size
