"""From the settings to the door for browsers. Never decides about a message."""

from __future__ import annotations

from sfu.access.audit import Audit
from sfu.access.authority import Authority
from sfu.http.door.board import Board
from sfu.http.door.connection import Said
from sfu.http.door.door import Door
from sfu.http.door.identity import DoorIdentity
from sfu.signaling.topics import Topics


def make_door(topics: Topics, board: Board, *, said: Said, authority: Authority | None, audit: Audit) -> Door:
    """Returns the door of a server."""
    return Door(
        topics,
        board,
        said=said,
        identity=DoorIdentity(authority),
        audit=audit,
    )
