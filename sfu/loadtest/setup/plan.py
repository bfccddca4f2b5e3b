"""The plan of a load test: the leaf topic of each camera and viewer, and the camera that each viewer watches. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sfu.signaling.topics import Leaf, Role


@dataclass(frozen=True, slots=True)
class Plan:
    """Numbers of a load test. `bitrate`: bit/s of one camera; `ramp`: joins per second; `seconds` to measure.

    With 0 `publishers`, viewers watch the cameras that are in `room` already.
    """

    publishers: int = 1
    viewers: int = 10
    rooms: int = 1
    room: str = "load"
    ramp: float = 20.0
    bitrate: int = 2_500_000
    seconds: float = 10.0

    def room_of(self, number: int) -> str:
        """Returns the room of camera or viewer `number`. Cameras and viewers are distributed evenly over all rooms."""
        return self.room if self.rooms == 1 else f"{self.room}/{number % self.rooms + 1}"

    def camera(self, number: int) -> Leaf:
        """Returns a camera's leaf."""
        return Leaf(self.room_of(number), Role.PUB, f"load-camera-{number + 1}")

    def cameras(self) -> tuple[Leaf, ...]:
        """Returns the leaves of all cameras."""
        return tuple(self.camera(number) for number in range(self.publishers))

    def viewer(self, number: int) -> Leaf:
        """Returns a viewer's leaf."""
        return Leaf(self.room_of(number), Role.VIEW, f"load-viewer-{number + 1}")

    def watched(self, number: int) -> int | None:
        """Returns the number of the camera that viewer `number` watches; None if the test brings no cameras.

        The viewers of a room are distributed evenly over its cameras.
        """
        room = number % self.rooms
        cameras = range(room, self.publishers, self.rooms)
        return cameras[number // self.rooms % len(cameras)] if cameras else None

    def faults(self) -> Iterator[str]:
        """Yields one sentence for each impossible value."""
        if self.publishers < 0 or self.viewers < 1 or self.rooms < 1:
            yield "viewers and rooms must be at least 1, publishers at least 0"
        elif self.rooms > max(self.publishers, 1):
            yield f"{self.rooms} rooms need at least {self.rooms} publishers, one camera for each"
        if self.ramp <= 0 or self.seconds <= 0:
            yield "ramp and seconds must be above 0"
        if not 50_000 <= self.bitrate <= 50_000_000:
            yield "the bitrate must be between 50k and 50M bit/s"
