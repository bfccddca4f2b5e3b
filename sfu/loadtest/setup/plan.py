"""What a load test consists of: which camera and which viewer stands on which leaf and watches what. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sfu.signaling.topics import Leaf, Role


@dataclass(frozen=True, slots=True)
class Plan:
    """The user's wishes. `bitrate` in bit/s of one camera; `ramp` in joins a second; `seconds` of measuring.

    Without `publishers` the cameras are somebody else's, those in `room`.
    """

    publishers: int = 1
    viewers: int = 10
    rooms: int = 1
    room: str = "load"
    ramp: float = 20.0
    bitrate: int = 2_500_000
    seconds: float = 10.0

    def room_of(self, number: int) -> str:
        """The room of the camera or viewer of that number: they go round all rooms."""
        return self.room if self.rooms == 1 else f"{self.room}/{number % self.rooms + 1}"

    def camera(self, number: int) -> Leaf:
        """A camera's leaf."""
        return Leaf(self.room_of(number), Role.PUB, f"load-camera-{number + 1}")

    def cameras(self) -> tuple[Leaf, ...]:
        """All cameras' leaves."""
        return tuple(self.camera(number) for number in range(self.publishers))

    def viewer(self, number: int) -> Leaf:
        """A viewer's leaf."""
        return Leaf(self.room_of(number), Role.VIEW, f"load-viewer-{number + 1}")

    def watched(self, number: int) -> int | None:
        """The number of the camera that viewer `number` watches; None where the cameras are somebody else's.

        The viewers of a room go round its cameras.
        """
        room = number % self.rooms
        cameras = range(room, self.publishers, self.rooms)
        return cameras[number // self.rooms % len(cameras)] if cameras else None

    def faults(self) -> Iterator[str]:
        """What is impossible about it, one sentence each."""
        if self.publishers < 0 or self.viewers < 1 or self.rooms < 1:
            yield "viewers and rooms are at least 1, publishers at least 0"
        elif self.rooms > max(self.publishers, 1):
            yield f"{self.rooms} rooms need as many publishers: a room without a camera shows nothing"
        if self.ramp <= 0 or self.seconds <= 0:
            yield "ramp and seconds are above 0"
        if not 50_000 <= self.bitrate <= 50_000_000:
            yield "the bitrate is between 50k and 50M bit/s"
