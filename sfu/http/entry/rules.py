"""The rule of every route: who may ask it, and in which room the right must be.

Owns the table. Pure. Never knows a request: its method, route and address come in as arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from sfu.access.rights import Claims, Right

Address = Mapping[str, str]
RoomFinder = Callable[[Address, Address], str | None]
"""Finds the room of a request in the parts of its path and in its query; None if it names none."""


class Who(Enum):
    """The people that a rule lets in."""

    PUBLIC = auto()
    """Everybody: there is nothing in it, or the handler asks itself."""
    SESSION = auto()
    """Everybody with claims that hold; with a `right`, where that is."""


class Verdict(Enum):
    """The outcome of a rule."""

    GOOD = auto()
    NO_SESSION = auto()
    HIDDEN = auto()
    """The room is not for them: they do not hear whether it exists."""
    FORBIDDEN = auto()
    """They know the room, but lack the right."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule of one route. `room`: where the right must be; None: anywhere, as the handler filters its list."""

    who: Who = Who.SESSION
    right: Right | None = None
    room: RoomFinder | None = None
    everywhere: bool = False
    """True if the right must be there in all rooms."""
    media: bool = False
    """True if a token in the query opens it: players and pictures in other programs can send no headers."""
    audited: str | None = None
    """The event to write when it was allowed."""

    def judge(self, claims: Claims | None, path: Address, query: Address) -> Verdict:
        """Returns the verdict for somebody with these claims."""
        if self.who is Who.PUBLIC:
            return Verdict.GOOD
        if claims is None:
            return Verdict.NO_SESSION
        room = None if self.room is None else self.room(path, query)
        if room is not None and not claims.knows(room):
            return Verdict.HIDDEN
        if self.right is None:
            return Verdict.GOOD
        may = claims.may_everywhere if self.everywhere else claims.may_anywhere
        return Verdict.GOOD if may(self.right) else Verdict.FORBIDDEN


def _in_path(path: Address, _query: Address) -> str | None:
    return path.get("room")


def _in_query(_path: Address, query: Address) -> str | None:
    return query.get("room", "")


def _of_camera(_path: Address, query: Address) -> str | None:
    """Returns the room of a list of one camera. The list of all cameras is filtered instead."""
    return query.get("room", "") if "peer" in query else None


def _of_file(path: Address, _query: Address) -> str | None:
    """Returns the room of a recorded file, whose name is `<room>/<peer>/<day>/<file>`."""
    levels = path.get("name", "").split("/")
    return "/".join(levels[:-3])


_PUBLIC: Final = Rule(Who.PUBLIC)
_ANY_SESSION: Final = Rule()
_PLAYBACK: Final = Right.PLAYBACK
_PROTECT: Final = Rule(right=Right.RECORD, room=_of_file, audited="protected")

RULES: Final[Mapping[tuple[str, str], Rule]] = {
    ("GET", "/"): _ANY_SESSION,
    ("GET", "/login"): _PUBLIC,
    ("POST", "/login"): _PUBLIC,
    ("POST", "/logout"): _PUBLIC,
    ("GET", "/embed/{room}"): _PUBLIC,
    ("GET", "/static/{name}"): _PUBLIC,
    ("GET", "/healthz"): _PUBLIC,
    ("GET", "/readyz"): _PUBLIC,
    ("GET", "/mqtt"): _PUBLIC,  # the door asks itself: a password may come in CONNECT
    ("GET", "/config.json"): _ANY_SESSION,
    ("GET", "/metrics"): Rule(right=Right.ADMIN, everywhere=True),
    ("GET", "/api/rooms"): Rule(right=Right.VIEW),
    ("GET", "/api/rooms/{room}/snapshot.jpg"): Rule(right=Right.VIEW, room=_in_path, media=True),
    ("GET", "/api/recordings"): Rule(right=_PLAYBACK, room=_of_camera),
    ("GET", "/api/recordings/media/{name}"): Rule(right=_PLAYBACK, room=_of_file, media=True),
    ("GET", "/api/recordings/hls/{room}/{peer}.m3u8"): Rule(right=_PLAYBACK, room=_in_path, media=True),
    ("GET", "/api/recordings/thumbnail"): Rule(right=_PLAYBACK, room=_in_query, media=True),
    ("GET", "/api/recordings/export"): Rule(right=_PLAYBACK, room=_in_query, media=True, audited="export"),
    ("PUT", "/api/recordings/protected/{name}"): _PROTECT,
    ("DELETE", "/api/recordings/protected/{name}"): _PROTECT,
}
"""By method and pattern. HEAD is as GET. What is not here needs a session, and then finds nothing."""


def rule_of(method: str, pattern: str | None) -> Rule | None:
    """Returns the rule of a route; None if there is none, which lets nobody in. `pattern` is None without a route."""
    if pattern is None:
        return _ANY_SESSION
    return RULES.get(("GET" if method == "HEAD" else method, pattern))
