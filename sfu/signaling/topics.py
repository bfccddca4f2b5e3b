"""Topic grammar: from a topic to its meaning, and from rooms and leaves to their topics.

Owns the shape of every topic below `<base>` (docs/protocol.md section 2). Pure: never knows payloads or brokers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MAX_ROOM_LEVELS = 4
RESERVED = frozenset(
    ("bridge", "pub", "view", "join", "state", "availability", "viewers", "recordings", "snapshot", "event")
)

_LEVEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_PEER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_COMMAND = re.compile(r"[A-Za-z0-9_-]{1,64}(?:/[A-Za-z0-9_-]{1,64}){0,3}")
# MQTT 5 section 4.7: no wildcards, no NUL, and `$...` belongs to the broker. Spaces and controls are always mistakes.
_PLAIN_LEVEL = re.compile(r"[^\x00-\x20\x7f+#/$][^\x00-\x20\x7f+#/]*")


class TopicError(ValueError):
    """A base, room, leaf or legacy topic, in settings or on the command line, that does not fit the grammar."""


class Role(StrEnum):
    """A peer's part in a room: to send, to watch, or both. It is the level before the id in the leaf's topic."""

    PUB = "pub"
    VIEW = "view"
    JOIN = "join"


_ROLES = frozenset(Role)
_MISTAKEN_ROLES: Final = ("publish", "subscribe")


@dataclass(frozen=True, slots=True, order=True)
class Leaf:
    """One peer's place in a room: the topic on which the peer and the server talk to each other."""

    room: str
    role: Role
    peer: str

    @classmethod
    def parse(cls, text: str) -> Leaf:
        """Reads a leaf from `<room>/<role>/<peer>`. Raises TopicError if it is not one."""
        room, _, peer = text.rpartition("/")
        room, _, role = room.rpartition("/")
        if role not in _ROLES:
            raise TopicError(f"{text!r} is not <room>/<pub|view|join>/<peer>")
        check_room(room)
        if not valid_peer(peer):
            raise TopicError(f"{peer!r} is no id: an id has 1 to 64 letters, digits, _ and -")
        return cls(room, Role(role), peer)

    def __str__(self) -> str:
        return f"{self.room}/{self.role}/{self.peer}"


@dataclass(frozen=True, slots=True)
class BridgeRequest:
    """A command to the server: the levels after `<base>/bridge/request/`."""

    command: str


@dataclass(frozen=True, slots=True)
class RecordingSwitch:
    """The switch of a room's recording: `<base>/<room>/recordings/set`."""

    room: str


@dataclass(frozen=True, slots=True)
class SnapshotButton:
    """The button for a picture of a room: `<base>/<room>/snapshot/set`."""

    room: str


def valid_room(text: str) -> bool:
    """Returns True if `text` is a room: a path of 1 to 4 levels, none of them a reserved word."""
    levels = text.split("/")
    return len(levels) <= MAX_ROOM_LEVELS and all(
        _LEVEL.fullmatch(level) is not None and level not in RESERVED for level in levels
    )


def check_room(text: str) -> None:
    """Raises TopicError, with the form of rooms, if `text` is none."""
    if valid_room(text):
        return
    taken = [level for level in text.split("/") if level in RESERVED]
    if taken:
        raise TopicError(f"{text!r} is no room: {taken[0]} has a meaning of its own in topics")
    raise TopicError(
        f"{text!r} is no room: a room is 1 to {MAX_ROOM_LEVELS} names with / between them, each of letters, digits, "
        "_ and -, with a letter or digit first"
    )


def valid_peer(text: str) -> bool:
    """Returns True if `text` can be a peer's id."""
    return _PEER.fullmatch(text) is not None


def contains(room: str, other: str) -> bool:
    """Returns True if `other` is `room` or one of its sub-rooms: viewers of `room` see the producers of `other`."""
    return other == room or other.startswith(room + "/")


def parse_legacy(setting: Mapping[str, str]) -> Mapping[str, Leaf]:
    """Reads flat topics of apps that cannot change theirs, e.g. `{"webrtcphone": "lobby/join/phone"}`.

    Raises TopicError if a topic is not plain, a leaf is not one, or two topics mean the same leaf.
    """
    legacy: dict[str, Leaf] = {}
    for topic, text in setting.items():
        if not _plain(topic):
            raise TopicError(f"legacy topic {topic!r}: no empty levels, wildcards, spaces or leading $")
        leaf = Leaf.parse(text)
        if leaf in legacy.values():
            raise TopicError(f"legacy topic {topic!r}: {leaf} has another topic already")
        legacy[topic] = leaf
    return legacy


_ROOM_STATES: Final = ("state", "availability", "viewers", "recordings/state", "snapshot/url")
"""Topics of a room that the server retains."""
_ROOM_COMMANDS: Final[Mapping[str, type[RecordingSwitch | SnapshotButton]]] = {
    "recordings/set": RecordingSwitch,
    "snapshot/set": SnapshotButton,
}


_DEPTHS: Final = tuple("/".join("+" * levels) for levels in range(1, MAX_ROOM_LEVELS + 1))


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics of one server: those below `base` (one or more levels) and the legacy topics.

    Raises TopicError if a level of the base is not plain, or a legacy topic lies below the base.
    """

    base: str
    legacy: Mapping[str, Leaf] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _plain(self.base):
            raise TopicError(f"base {self.base!r}: no empty levels, wildcards, spaces or leading $")
        for topic in self.legacy:
            if contains(self.base, topic):
                raise TopicError(f"legacy topic {topic!r} lies below the base {self.base!r}, which has its own grammar")

    def subscriptions(self) -> tuple[str, ...]:
        """Returns the filters of all that others say to the server. No two of them match the same topic."""
        leaves = (f"{self.base}/{depth}/{role}/+" for depth in _DEPTHS for role in (*Role, *_MISTAKEN_ROLES))
        commands = (f"{self.base}/{depth}/{word}" for depth in _DEPTHS for word in _ROOM_COMMANDS)
        return (*leaves, *commands, f"{self.base}/bridge/request/#", *self.legacy)

    def own_state(self) -> tuple[str, ...]:
        """Returns the filters of all that the server retains. They match nothing that it is asked to do."""
        words = [word for word in _ROOM_STATES if "state" not in word]
        rooms = (f"{self.base}/{depth}/{word}" for depth in _DEPTHS for word in words)
        # These match `recordings/state` too, and `bridge/state`.
        states = (self.state("/".join("+" * levels)) for levels in range(1, MAX_ROOM_LEVELS + 3))
        return (*states, *rooms, self.bridge_info)

    def room_of_state(self, topic: str) -> str | None:
        """Returns the room whose retained topic this is; None for others, such as `bridge/state`."""
        rest = topic.removeprefix(self.base + "/")
        for word in _ROOM_STATES:
            room = rest.removesuffix(f"/{word}")
            if room != rest != topic and valid_room(room):
                return room
        return None

    def parse(self, topic: str) -> Leaf | BridgeRequest | RecordingSwitch | SnapshotButton | None:
        """Returns the meaning of an incoming topic; None for a topic outside the grammar.

        A leaf with a legacy topic has only that one: nobody would see the answers on its ordinary topic.
        """
        if topic in self.legacy:
            return self.legacy[topic]
        if not topic.startswith(self.base + "/"):
            return None
        rest = topic[len(self.base) + 1 :]
        command = rest.removeprefix("bridge/request/")
        if command != rest:
            return BridgeRequest(command) if _COMMAND.fullmatch(command) else None
        for word, meaning in _ROOM_COMMANDS.items():
            room = rest.removesuffix(f"/{word}")
            if room != rest:
                return meaning(room) if valid_room(room) else None
        try:
            leaf = Leaf.parse(rest)
        except TopicError:
            return None
        return None if leaf in self.legacy.values() else leaf

    def mistake(self, topic: str) -> str | None:
        """Returns what is wrong with a topic that was meant as a leaf; None for others, and for leaves."""
        place, _, peer = topic.removeprefix(self.base + "/").rpartition("/")
        room, slash, role = place.rpartition("/")
        if not slash or topic in self.legacy or role not in (*_ROLES, *_MISTAKEN_ROLES):
            return None
        if role in _MISTAKEN_ROLES:
            return f"a topic is {self.base}/<room>/<role>/<peer>, and the role is pub, view or join, not {role}"
        if not valid_room(room):
            return "a room has 1 to 4 levels of letters, digits, - and _, and no level is a word such as state or pub"
        if not valid_peer(peer):
            return "a peer's id has 1 to 64 letters, digits, - and _, and nothing else"
        leaf = Leaf(room, Role(role), peer)
        return f"this peer has the topic {self.leaf(leaf)} only" if leaf in self.legacy.values() else None

    def leaf(self, leaf: Leaf) -> str:
        """Returns the topic of a leaf: its legacy topic if it has one."""
        for topic, legacy in self.legacy.items():
            if legacy == leaf:
                return topic
        return f"{self.base}/{leaf}"

    def state(self, room: str) -> str:
        """Returns the topic of the room's state: retained JSON."""
        return f"{self.base}/{room}/state"

    def availability(self, room: str) -> str:
        """Returns the topic of its availability: retained `online` while media flows, else `offline`."""
        return f"{self.base}/{room}/availability"

    def viewers(self, room: str) -> str:
        """Returns the topic of its number of viewers: a retained integer."""
        return f"{self.base}/{room}/viewers"

    def recordings(self, room: str) -> str:
        """Returns the topic of its recording state: retained `ON` while a producer in it is recorded, else `OFF`."""
        return f"{self.base}/{room}/recordings/state"

    def snapshot(self, room: str) -> str:
        """Returns the topic of its snapshots: JPEG, never retained."""
        return f"{self.base}/{room}/snapshot"

    def snapshot_url(self, room: str) -> str:
        """Returns the topic of the latest snapshot's URL, retained."""
        return f"{self.base}/{room}/snapshot/url"

    def event(self, room: str) -> str:
        """Returns the topic of its events: JSON, never retained."""
        return f"{self.base}/{room}/event"

    @property
    def bridge_state(self) -> str:
        """Topic of the server's own state: retained `online` or `offline`, which is also its will."""
        return f"{self.base}/bridge/state"

    @property
    def bridge_info(self) -> str:
        """Topic of the server's description: retained JSON."""
        return f"{self.base}/bridge/info"

    def response(self, command: str) -> str:
        """Returns the topic of the answer to `bridge/request/<command>`."""
        return f"{self.base}/bridge/response/{command}"


def _plain(topic: str) -> bool:
    return len(topic) <= 256 and all(_PLAIN_LEVEL.fullmatch(level) for level in topic.split("/"))
