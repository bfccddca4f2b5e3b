"""The bitrate bounds of the cameras in each room. Pure; never sends them to the cameras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sfu.media.ingest.reception import BitrateBounds
from sfu.signaling.topics import valid_room

_DEFAULT_MIN_BPS: Final = 150_000
"""Below this, a lower bitrate costs picture quality and no longer reduces loss."""


class RoomBitrates:
    """The bounds of all rooms. A room without its own has those of the nearest room that contains it."""

    def __init__(self, most: int, rooms: Mapping[str, tuple[int, int]], limit: int) -> None:
        """Takes bounds in bit/s: the lower (0: default) and upper one of each in `rooms`, the upper one of all others.

        `limit` is for cameras that cannot be asked.

        Raises ValueError if a name in `rooms` is not a valid room name.
        """
        for room in rooms:
            if not valid_room(room):
                raise ValueError(f"{room!r} is not a valid room name")
        self._most = most
        self._limit = limit
        self._rooms = rooms

    def of(self, room: str) -> BitrateBounds:
        """Returns the bounds of the cameras in this room."""
        levels = room.split("/")
        containing = ("/".join(levels[:count]) for count in range(len(levels), 0, -1))
        least, most = next((self._rooms[name] for name in containing if name in self._rooms), (0, self._most))
        return BitrateBounds(least or min(_DEFAULT_MIN_BPS, most), most, self._limit)
