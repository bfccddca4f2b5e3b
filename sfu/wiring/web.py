"""From the settings to the entry of the HTTP server and the door for browsers. Never decides about a message."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from sfu.access.audit import Audit
from sfu.access.authority import Authority
from sfu.access.turn import needs_login, servers_for
from sfu.access.users import Users
from sfu.http.door.board import Board
from sfu.http.door.connection import Said
from sfu.http.door.door import Door
from sfu.http.door.identity import DoorIdentity
from sfu.http.entry.entry import Entry
from sfu.http.entry.logins import Logins
from sfu.http.entry.proxies import Proxies
from sfu.setting_parts import AccessSettings, MediaSettings
from sfu.signaling.topics import Topics

_log = logging.getLogger(__name__)


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


def make_ice_servers(settings: MediaSettings) -> Callable[[str], Sequence[Mapping[str, object]]]:
    """Returns a function from a person's name to the ICE servers for that person, with logins at TURN servers."""
    secret = settings.turn_secret.get_secret_value()
    turn = [url for url in settings.ice_servers if needs_login(url)]
    if turn and not secret:
        _log.warning(
            "media.ice_servers: browsers use no TURN server without a login, and pages do not get %s: set "
            "SFU_MEDIA__TURN_SECRET to the server's secret (coturn: use-auth-secret)",
            ", ".join(turn),
        )
    return lambda name: servers_for(settings.ice_servers, secret, name, time.time())


def make_door(topics: Topics, board: Board, *, said: Said, entry: Entry | None, audit: Audit) -> Door:
    """Returns the door of a server."""
    return Door(
        topics,
        board,
        said=said,
        identity=DoorIdentity() if entry is None else entry.identity,
        audit=audit,
    )
