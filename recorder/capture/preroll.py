"""The last seconds of a producer that is not recorded yet: an event's recording begins with them.

Owns which units are kept and for how long. Never copies media: units are kept as they came.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final

from recorder.depacketize.units import PlacedUnit

_AUDIO_GROUP_US: Final = 1_000_000
"""Length of a group where there is only audio."""
_BACK_US: Final = 1_000_000
"""A larger step back of the wall time is a clock that was set; tracks differ by less."""


@dataclass(slots=True)
class _Group:
    """Units that a decoder can start with: a key frame and all until the next one, or a second of audio alone."""

    start_us: int
    video: bool
    units: list[PlacedUnit] = field(default_factory=list)
    size: int = 0


class Preroll:
    """The last `length_us` or more of a producer, from a key frame on, in at most `max_bytes`.

    This needs a key frame within each `length_us`: `push` tells when the camera has to be asked for one.
    """

    def __init__(self, length_us: int, *, max_bytes: int = 64 << 20) -> None:
        self._length_us = length_us
        self._max_bytes = max_bytes
        self._groups: deque[_Group] = deque()
        self._size = 0
        self._last_us = 0

    @property
    def size(self) -> int:
        """Returns the bytes of media that are kept."""
        return self._size

    def push(self, placed: PlacedUnit) -> bool:
        """Keeps a unit; True if a key frame is needed, to begin with or to drop the units before it."""
        if placed.wall_us < self._last_us - _BACK_US:
            self._move(placed.wall_us - self._last_us)
        self._last_us = placed.wall_us
        if self._begins(placed):
            self._groups.append(_Group(placed.wall_us, placed.track == "video"))
        if not self._groups or (placed.track == "video" and not self._groups[-1].video):
            return True  # no key frame came before this frame: it cannot be decoded
        group = self._groups[-1]
        group.units.append(placed)
        group.size += len(placed.unit.data)
        self._size += len(placed.unit.data)
        self._drop_groups(placed.wall_us - self._length_us)
        return not self._groups or (self._groups[-1].video and self._group_us(placed) > self._length_us)

    def replay(self) -> list[PlacedUnit]:
        """Returns all units, oldest first, and keeps none of them: the recording has them from now on."""
        units = [placed for group in self._groups for placed in group.units]
        self._groups.clear()
        self._size = 0
        return units

    def _move(self, by_us: int) -> None:
        """Moves all units in time, because the wall clock was set back: they are to be before those that come now."""
        for group in self._groups:
            group.start_us += by_us
            group.units = [replace(placed, wall_us=placed.wall_us + by_us) for placed in group.units]

    def _begins(self, placed: PlacedUnit) -> bool:
        """True if a new group begins with this unit."""
        if placed.track == "video":
            return placed.unit.key
        if not self._groups:
            return True
        return not self._groups[-1].video and abs(self._group_us(placed)) >= _AUDIO_GROUP_US

    def _group_us(self, placed: PlacedUnit) -> int:
        """Returns the time from the start of the latest group to this unit, in microseconds."""
        return placed.wall_us - self._groups[-1].start_us

    def _drop_groups(self, before_us: int) -> None:
        """Drops groups that end at or before `before_us`, and the oldest ones while there are too many bytes."""
        groups = self._groups
        while groups and (self._size > self._max_bytes or (len(groups) > 1 and groups[1].start_us <= before_us)):
            self._size -= groups.popleft().size
