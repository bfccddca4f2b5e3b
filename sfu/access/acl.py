"""Rules for a broker's own access control: the topics of the server, of cameras and of users.

Owns which topics a right opens, and the forms of Mosquitto and EMQX. Pure: never knows where users are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Final

from sfu.access.rights import EVERYWHERE, Right, rights_of
from sfu.signaling.topics import MAX_ROOM_LEVELS, Leaf

_STATES: Final = ("state", "availability", "viewers", "recordings/state", "snapshot", "snapshot/url", "event")
"""Topics of a room that the server writes."""


class Reach(StrEnum):
    """The ways to use a topic, in Mosquitto's words."""

    READ = "read"
    WRITE = "write"
    BOTH = "readwrite"


_EMQX: Final = {Reach.READ: "subscribe", Reach.WRITE: "publish", Reach.BOTH: "all"}


@dataclass(frozen=True, slots=True)
class Account:
    """One account of the broker that is a user of the page too. Each role holds in each room."""

    name: str
    roles: tuple[str, ...]
    rooms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AclRule:
    """One topic filter that one account may use."""

    account: str
    reach: Reach
    topic: str


def acl_rules(base: str, server: str, cameras: Iterable[Leaf], users: Iterable[Account]) -> Iterator[AclRule]:
    """Yields all rules, those of one account together. `server`: the name of the server's own account."""
    yield AclRule(server, Reach.BOTH, f"{base}/#")
    for camera in sorted(cameras, key=lambda leaf: (leaf.peer, leaf)):
        yield AclRule(camera.peer, Reach.READ, f"{base}/bridge/+")
        yield AclRule(camera.peer, Reach.BOTH, f"{base}/{camera}")
    for user in users:
        yield AclRule(user.name, Reach.READ, f"{base}/bridge/+")
        rights = rights_of(user.roles)
        for room in user.rooms:
            for filter_ in _with_sub_rooms(room):
                yield from _of_room(user.name, f"{base}/{filter_}", rights)


def mosquitto(rules: Iterable[AclRule]) -> str:
    """Returns Mosquitto's `acl_file`."""
    parts = []
    for account, own in groupby(rules, key=lambda rule: rule.account):
        lines = dict.fromkeys(f"topic {rule.reach} {rule.topic}" for rule in own)
        parts.append("\n".join((f"user {account}", *lines)))
    return "\n\n".join(parts) + "\n"


def emqx(rules: Iterable[AclRule], base: str) -> str:
    """Returns the rules of EMQX's `acl.conf`. The last one refuses everybody else below `base`."""
    lines = dict.fromkeys(
        f"{{allow, {{username, {_erlang(rule.account)}}}, {_EMQX[rule.reach]}, [{_erlang(rule.topic)}]}}."
        for rule in rules
    )
    return "\n".join((*lines, f"{{deny, all, all, [{_erlang(f'{base}/#')}]}}.")) + "\n"


def _with_sub_rooms(room: str) -> Iterator[str]:
    """Yields the filters that match a room and its sub-rooms: `+` stands for one level."""
    levels = 0 if room == EVERYWHERE else room.count("/") + 1
    own = [] if room == EVERYWHERE else [room]
    for more in range(0 if own else 1, MAX_ROOM_LEVELS - levels + 1):
        yield "/".join([*own, *["+"] * more])


def _of_room(name: str, room: str, rights: frozenset[Right]) -> Iterator[AclRule]:
    """Yields the rules of one user in one room. Viewers have a new id at each start, so their leaves are all."""
    if Right.VIEW in rights:
        yield from (AclRule(name, Reach.READ, f"{room}/{word}") for word in _STATES)
        yield AclRule(name, Reach.BOTH, f"{room}/view/+")
        yield AclRule(name, Reach.WRITE, f"{room}/snapshot/set")
    if Right.PUBLISH in rights:
        yield AclRule(name, Reach.BOTH, f"{room}/pub/{name}")
    if {Right.VIEW, Right.PUBLISH} <= rights:
        yield AclRule(name, Reach.BOTH, f"{room}/join/{name}")
    if Right.RECORD in rights:
        yield AclRule(name, Reach.WRITE, f"{room}/recordings/set")


def _erlang(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
