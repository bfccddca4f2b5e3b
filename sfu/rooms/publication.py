"""What the world is told of rooms: events at once, retained state when it has settled.

Owns which rooms have been spoken of. Never decides what is true of a room: `room` does.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from sfu.rooms.room import Change, Rooms
from sfu.signaling.topics import Leaf


class RoomEvents(Protocol):
    """Where the server's words go."""

    def signal(self, leaf: Leaf, payload: bytes) -> None:
        """One signalling message to a leaf."""

    def event(self, room: str, payload: bytes) -> None:
        """One event of a room."""

    def room_state(self, room: str, state: dict[str, Any] | None) -> None:
        """The room's retained state; None when nothing is left to say about it."""


class Publication:
    """Room state on its way out: many changes within one step of time become one message a room."""

    def __init__(self, rooms: Rooms, outbox: RoomEvents, *, offline: int = 1000) -> None:
        """`offline`: how many rooms that were live once stay told of; beyond it the oldest is forgotten."""
        self._rooms = rooms
        self._outbox = outbox
        self._changed: set[str] = set()
        self._produced: dict[str, None] = {}
        self._offline = offline

    def note(self, change: Change) -> None:
        """Tells the events of a change, and remembers its rooms for `publish`."""
        self._changed |= change.rooms
        for room, event in change.events:
            self._outbox.event(room, json.dumps(event).encode())

    def recall(self, room: str) -> None:
        """The broker remembers a state of this room, the last word of a killed server: `publish` corrects it."""
        self._produced.setdefault(room)
        self._changed.add(room)

    def publish(self) -> None:
        """The state of every room that changed since the last call.

        A room that had a producer stays told of when it is empty, as offline: that is what a switch in somebody's home
        automation waits for. One that only ever had viewers leaves no trace on the broker.
        """
        changed, self._changed = self._changed, set()
        for room in changed:
            state = self._rooms.state(room)
            if state["live"]:
                self._produced.pop(room, None)
                self._produced[room] = None
            told = self._rooms.known(room) or room in self._produced
            self._outbox.room_state(room, state if told else None)
        self._forget()

    def _forget(self) -> None:
        """Room names are anybody's to invent: what is kept about those that are gone has a bound."""
        if len(self._produced) <= self._offline:
            return
        gone = [room for room in self._produced if not self._rooms.known(room)]
        for room in gone[: max(0, len(gone) - self._offline)]:
            del self._produced[room]
            self._outbox.room_state(room, None)
