"""From the settings to the entry of the HTTP server and the door for browsers. Never decides about a message."""

from __future__ import annotations

import time

from sfu.access.audit import Audit
from sfu.access.authority import Authority
from sfu.access.users import Users
from sfu.http.door.board import Board
from sfu.http.door.connection import Said
from sfu.http.door.door import Door
from sfu.http.door.identity import DoorIdentity
from sfu.http.entry.entry import Entry
from sfu.http.entry.logins import Logins
from sfu.http.entry.proxies import Proxies
from sfu.setting_parts import AccessSettings
from sfu.signaling.topics import Topics


def make_entry(settings: AccessSettings, authority: Authority, audit: Audit) -> Entry:
    """Returns the entry of a server. Raises ValueError for an unknown role."""
    users = authority.users
    if not isinstance(users, Users):
        raise TypeError(users)
    proxies = Proxies(
        settings.proxy,
        user_header=settings.proxy_user,
        groups_header=settings.proxy_groups,
        groups=settings.groups,
        clock=time.time,
    )
    logins = Logins(authority, users, time.time)
    return Entry(authority, logins=logins, proxies=proxies, audit=audit, clock=time.time)


def make_door(topics: Topics, board: Board, *, said: Said, entry: Entry | None, audit: Audit) -> Door:
    """Returns the door of a server."""
    return Door(
        topics,
        board,
        said=said,
        identity=DoorIdentity() if entry is None else entry.identity,
        audit=audit,
    )
