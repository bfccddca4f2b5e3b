"""Publication of rooms: events at once, retained state once per tick.

Owns the list of rooms that have retained state. Never decides the state of a room: `room` does.
"""

from __future__ import annotations

import json
from typing import Any, Final, Protocol

from sfu.media.ingest.uplink import Uplink
from sfu.rooms.room import Change, Rooms

OFFLINE_S: Final = 24 * 3600.0
"""Time for which an empty room keeps its retained state."""
_LOOK_EACH_S: Final = 60.0


class RoomEvents(Protocol):
    """A listener for what the room server tells everybody: the broker's topics."""

    def event(self, room: str, payload: bytes) -> None:
        """Sends one event of a room."""

    def room_state(self, room: str, state: dict[str, Any] | None) -> None:
        """Sets the room's retained state; None clears it."""


class RoomServerListener(Protocol):
    """The recordings, which follow what participants send."""

    def uplink(self, room: str, peer: str, uplink: Uplink | None) -> None:
        """Called when the tracks that a peer sends have changed; None if its session has ended."""


class Publication:
    """The events and states of all rooms: many changes within one tick become one message a room."""

    def __init__(self, rooms: Rooms, publisher: RoomEvents, *, offline: int = 1000) -> None:
        """`offline` is the most rooms without participants that keep a retained state; the oldest loses it first.

        Each loses it `OFFLINE_S` after the last participant has left.
        """
        self._rooms = rooms
        self._publisher = publisher
        self._changed: set[str] = set()
        self._produced: dict[str, float | None] = {}
        """Rooms that had a producer, and since when nobody is there."""
        self._look_at = 0.0
        self._offline = offline

    def note(self, change: Change) -> None:
        """Sends the events of a change, and remembers its rooms for `publish`."""
        self._changed |= change.rooms
        for room, event in change.events:
            self._publisher.event(room, json.dumps(event).encode())

    def note_recording(self, room: str, peer: str, *, on: bool, event: dict[str, Any]) -> None:
        """Sends the event that a recording of a peer has started or stopped, and notes it in the state of its rooms."""
        self.note(self._rooms.set_recording(room, peer, on=on, event=event))

    def recall(self, room: str) -> None:
        """Has `publish` replace the state of this room. The broker retains one from a server that was killed."""
        self._produced.setdefault(room, None)
        self._changed.add(room)

    def produced(self, room: str) -> bool:
        """Returns True if the room had a producer when its state was last published, or before."""
        return room in self._produced

    def publish(self, now: float) -> None:
        """Publishes the state of every room that changed since the last call. `now` is in seconds.

        A room that had a producer keeps its retained state when it is empty, as offline, so that home automation sees
        it go offline. A room that only ever had viewers leaves no state on the broker.
        """
        changed, self._changed = self._changed, set()
        for room in changed:
            state = self._rooms.state(room)
            if state["live"]:
                self._produced.pop(room, None)
                self._produced[room] = None
            known = self._rooms.known(room)
            if room in self._produced:
                self._produced[room] = None if known else self._produced[room] or now
            self._publisher.room_state(room, state if known or room in self._produced else None)
        if changed or now >= self._look_at:
            self._look_at = now + _LOOK_EACH_S
            self._forget(now)

    def _forget(self, now: float) -> None:
        """Clears the state of rooms that are empty for long, and of the oldest ones beyond the bound.

        Any client can invent room names, and a room that was once used would be listed for ever.
        """
        empty = {room: at for room, at in self._produced.items() if at is not None}
        beyond = len(empty) - self._offline
        for number, (room, at) in enumerate(empty.items()):
            if number < beyond or now - at >= OFFLINE_S:
                del self._produced[room]
                self._publisher.room_state(room, None)
