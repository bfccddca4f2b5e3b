"""Publication of rooms: events at once, retained state once per tick.

Owns the list of rooms that have retained state. Never decides the state of a room: `room` does.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from sfu.media.ingest.uplink import Uplink
from sfu.rooms.room import Change, Rooms
from sfu.signaling.topics import Leaf


class RoomEvents(Protocol):
    """A listener for everything that the room server sends: the broker's topics."""

    def signal(self, leaf: Leaf, payload: bytes) -> None:
        """Sends one signalling message to a leaf."""

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
        """`offline` is the most rooms without participants that keep a retained state; the oldest loses it first."""
        self._rooms = rooms
        self._publisher = publisher
        self._changed: set[str] = set()
        self._produced: dict[str, None] = {}
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
        self._produced.setdefault(room)
        self._changed.add(room)

    def produced(self, room: str) -> bool:
        """Returns True if the room had a producer when its state was last published, or before."""
        return room in self._produced

    def publish(self) -> None:
        """Publishes the state of every room that changed since the last call.

        A room that had a producer keeps its retained state when it is empty, as offline, so that home automation sees
        it go offline. A room that only ever had viewers leaves no state on the broker.
        """
        changed, self._changed = self._changed, set()
        for room in changed:
            state = self._rooms.state(room)
            if state["live"]:
                self._produced.pop(room, None)
                self._produced[room] = None
            kept = self._rooms.known(room) or room in self._produced
            self._publisher.room_state(room, state if kept else None)
        self._forget()

    def _forget(self) -> None:
        """Clears the state of the oldest empty rooms beyond the bound, because any client can invent room names."""
        if len(self._produced) <= self._offline:
            return
        gone = [room for room in self._produced if not self._rooms.known(room)]
        for room in gone[: max(0, len(gone) - self._offline)]:
            del self._produced[room]
            self._publisher.room_state(room, None)
