"""The rules of the door: what a client with these claims may subscribe to and publish.

Pure. Never knows a connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sfu.access.rights import Claims, Right
from sfu.http.door.packets import PublishPacket
from sfu.signaling.topics import MAX_ROOM_LEVELS, Leaf, RecordingSwitch, SnapshotButton, Topics, valid_room

_WORDS: Final[Mapping[str, Right | None]] = {
    "state": None,
    "availability": None,
    "viewers": None,
    "recordings/state": None,
    "snapshot/url": Right.VIEW,
    "snapshot": Right.VIEW,
    "event": None,
}
"""What may be read of a room, and the right that it needs besides knowing the room."""


class ForbiddenError(Exception):
    """A client asks for what it has no right to, and is to be closed. `kind`: for counters and the audit log."""

    def __init__(self, kind: str, topic: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.topic = topic


class DoorRules:
    """The rules for one client."""

    def __init__(self, topics: Topics, claims: Claims) -> None:
        self._topics = topics
        self._claims = claims

    def may_read(self, wanted: str) -> bool:
        """Returns True if a filter may be subscribed to, False for a room or a word of rooms that is not for them.

        A filter with `+` is allowed, since messages are filtered by room. Raises ForbiddenError for all other filters.
        """
        topics = self._topics
        if wanted in (topics.bridge_info, topics.bridge_state):
            return True
        if isinstance(leaf := topics.parse(wanted), Leaf):
            if not self._claims.may_use(leaf):
                raise ForbiddenError("foreign_leaf", wanted)
            return True
        rest = wanted.removeprefix(topics.base + "/")
        for word, right in _WORDS.items():
            rooms = rest.removesuffix(f"/{word}")
            if rooms != rest != wanted and _are_rooms(rooms):
                known = "+" in rooms or self._claims.knows(rooms)
                return known and (right is None or self._claims.may_anywhere(right))
        raise ForbiddenError("foreign_filter", wanted)

    def check_said(self, packet: PublishPacket) -> None:
        """Raises ForbiddenError for a message that this client may not publish."""
        topic = packet.topic
        if packet.retain:
            raise ForbiddenError("retained", topic)
        target = self._topics.parse(topic)
        if isinstance(target, Leaf):
            allowed, kind = self._claims.may_use(target), "foreign_leaf"
        elif isinstance(target, RecordingSwitch):
            allowed, kind = self._claims.may(Right.RECORD, target.room), "no_right_to_record"
        elif isinstance(target, SnapshotButton):
            allowed, kind = self._claims.may(Right.VIEW, target.room), "no_right_to_view"
        else:
            allowed, kind = False, "foreign_topic"
        if not allowed:
            raise ForbiddenError(kind, topic)


def _are_rooms(text: str) -> bool:
    """Returns True for the name of a room, and for one with `+` for any of its levels."""
    levels = text.split("/")
    named = [level for level in levels if level != "+"]
    return len(levels) <= MAX_ROOM_LEVELS and all(valid_room(level) for level in named)
