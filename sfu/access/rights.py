"""Rights: what somebody may do, in which rooms, as whom and until when.

Owns the words for rights and roles, and every rule about them. Pure: never knows where a token came from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sfu.signaling.topics import Leaf, Role

EVERYWHERE: Final = "*"
"""Stands for all rooms in a list of rooms."""
TAB: Final = "--"
"""Stands between a person's name and what tells the person's tabs and devices apart, in a peer's id."""
OWNER: Final = "owner"
"""The name behind one-time links. It is no user's."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,48}")


class Right(StrEnum):
    """One thing that somebody may do in a room. `admin` contains all others, and what concerns no room."""

    VIEW = "view"
    """See live pictures, snapshots and the state."""
    PLAYBACK = "playback"
    """See what was recorded."""
    PUBLISH = "publish"
    """Be a camera."""
    RECORD = "record"
    """Switch recording, and protect recordings."""
    ADMIN = "admin"


ROLES: Final[Mapping[str, frozenset[Right]]] = {
    "view": frozenset({Right.VIEW}),
    "playback": frozenset({Right.VIEW, Right.PLAYBACK}),
    "publish": frozenset({Right.PUBLISH}),
    "join": frozenset({Right.VIEW, Right.PUBLISH}),
    "record": frozenset({Right.VIEW, Right.PLAYBACK, Right.RECORD}),
    "admin": frozenset(Right),
}
"""The rights of each role, as people choose them."""


class Use(StrEnum):
    """The purpose of a token. A token for one thing is refused for another."""

    ACCESS = "access"
    """All that its rights allow."""
    SEALED = "sealed"
    """Messages on leaves, whose key it is: it is never shown to anybody."""
    SESSION = "session"
    """A browser's cookie."""
    ONCE = "once"
    """A link that opens one session."""
    MEDIA = "media"
    """Pictures and recordings by GET, in a URL."""


_ROLE_NEEDS: Final[Mapping[Role, tuple[Right, ...]]] = {
    Role.PUB: (Right.PUBLISH,),
    Role.VIEW: (Right.VIEW,),
    Role.JOIN: (Right.VIEW, Right.PUBLISH),
}


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a valid token. `room` contains its sub-rooms; `until` is in seconds since 1970."""

    sub: str
    room: tuple[str, ...]
    can: frozenset[Right]
    until: float
    jti: str
    use: Use = Use.ACCESS
    since: float = 0.0
    """The time at which it was made, in seconds since 1970."""
    stamp: str | None = None
    """The mark of the password that a user's session was opened with (see `users`)."""

    def may(self, right: Right, room: str) -> bool:
        """Returns True if this right is there in this room."""
        return right in self.can and self.knows(room)

    def may_anywhere(self, right: Right) -> bool:
        """Returns True if this right is there in at least one room."""
        return right in self.can and bool(self.room)

    def may_everywhere(self, right: Right) -> bool:
        """Returns True if this right is there in all rooms."""
        return right in self.can and EVERYWHERE in self.room

    def knows(self, room: str) -> bool:
        """Returns True if the room is one of these, or below one of them."""
        return any(own in (EVERYWHERE, room) or room.startswith(own + "/") for own in self.room)

    def within(self, rooms: Iterable[str]) -> list[str]:
        """Returns those of the rooms that are known here, in their order."""
        return [room for room in rooms if self.knows(room)]

    def may_use(self, leaf: Leaf) -> bool:
        """Returns True if a peer with these claims may speak on this leaf.

        A camera's id is that of its token, so that no camera takes the place of another one. A viewer may have many
        tabs, and a person who is logged in many devices (`is_peer`). An admin may be anybody.
        """
        if not all(self.may(right, leaf.room) for right in _ROLE_NEEDS[leaf.role]):
            return False
        if Right.ADMIN in self.can:
            return True
        many = leaf.role is Role.VIEW or self.use is Use.SESSION
        return self.is_peer(leaf.peer) if many else leaf.peer == self.sub

    def is_peer(self, peer: str) -> bool:
        """Returns True if this id is that of `sub`, or of one of its tabs and devices (`ann--x7`)."""
        return peer == self.sub or peer.startswith(self.sub + TAB)


def valid_name(text: str) -> bool:
    """Returns True if `text` can be the `sub` of a token: a peer's id of at most 48 characters without `--`."""
    return _NAME.fullmatch(text) is not None and TAB not in text and not text.endswith("-")


def rights_of(roles: Iterable[str]) -> frozenset[Right]:
    """Returns the rights of all these roles together. Raises ValueError with the list of roles for an unknown one."""
    found: frozenset[Right] = frozenset()
    for role in roles:
        if role not in ROLES:
            raise ValueError(f"{role!r} is no role: there are {', '.join(ROLES)}")
        found |= ROLES[role]
    return found
