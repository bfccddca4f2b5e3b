"""Packets of a live input that come too late: from before the reader came, or that it has no time for.

Pure: `now` (any clock) and the time a read took are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_HELD: Final = 1000
LONGEST_HOLD_S: Final = 0.5
WAIT_S: Final = 0.005
"""A read that took longer waited for the camera."""
EDGE_WAIT_S: Final = 0.02
"""A read that took longer waited for what the camera had not sent yet: nothing older is on the way."""
LATEST_S: Final = 0.5
"""Pictures that wait for longer in front of a slow encoder are left out."""
_LEAP_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Piece:
    """One packet: its track, its time in the input, and True if a picture can begin with it."""

    track: int
    seconds: float
    key: bool


def beginning(held: list[Piece], video: int | None) -> list[bool]:
    """Returns for each packet if it is worth sending: those from the newest key frame of track `video` on.

    All of them if there is no key frame yet. Without video, the latest packet is enough.
    """
    if video is None:
        return [number == len(held) - 1 for number in range(len(held))]
    keys = [number for number, piece in enumerate(held) if piece.track == video and piece.key]
    if not keys:
        return [True] * len(held)
    at, since = keys[-1], held[keys[-1]].seconds
    return [number >= at if piece.track == video else piece.seconds >= since for number, piece in enumerate(held)]


class Slowness:
    """How far the encoder of one live video track is behind the camera, and which packets it must leave out."""

    def __init__(self) -> None:
        self._edge: tuple[float, float] | None = None
        self._last = 0.0
        self._skipping = False

    def skips(self, piece: Piece, now: float, *, waited: bool) -> bool:
        """Returns True for a packet to leave out: we are behind, and this is no key frame to go on with.

        `waited`: the read of this packet waited for the camera, so that we are not behind.
        """
        leapt = abs(piece.seconds - self._last) > _LEAP_S
        self._last = piece.seconds
        if waited or leapt or self._edge is None:
            self._edge = (now, piece.seconds)
        behind = (now - self._edge[0]) - (piece.seconds - self._edge[1])
        if behind > LATEST_S:
            self._skipping = True
        elif piece.key:
            self._skipping = False
        return self._skipping
