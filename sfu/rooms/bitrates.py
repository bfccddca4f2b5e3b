"""What the cameras of each room are asked to send. Pure; never says it to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sfu.media.ingest.reception import BitrateBounds
from sfu.signaling.topics import valid_room

_LEAST: Final = 150_000
"""bit/s, where nothing else is said: below, more loss is not to be had for less picture."""


class RoomBitrates:
    """A room has the bounds of the nearest room that contains it and has its own."""

    def __init__(self, most: int, rooms: Mapping[str, tuple[int, int]]) -> None:
        """In bit/s: the most of all others; by room the least (0: unsaid) and the most. ValueError for no room."""
        for room in rooms:
            if not valid_room(room):
                raise ValueError(f"{room!r} is no room")
        self._most = most
        self._rooms = rooms

    def of(self, room: str) -> BitrateBounds:
        """Of the cameras in this room."""
        levels = room.split("/")
        containing = ("/".join(levels[:count]) for count in range(len(levels), 0, -1))
        least, most = next((self._rooms[name] for name in containing if name in self._rooms), (0, self._most))
        return BitrateBounds(least or min(_LEAST, most), most)
