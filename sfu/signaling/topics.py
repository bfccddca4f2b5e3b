"""Topic grammar: which topic names which leaf of which room, and back.

Owns the shape of every topic below `<base>` (CONTRACT, "Rooms and topics"). Pure: knows neither payloads nor brokers.
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
# MQTT 5 section 4.7: no wildcards, no NUL, and `$...` belongs to the broker. Spaces and controls are nobody's wish.
_PLAIN_LEVEL = re.compile(r"[^\x00-\x20\x7f+#/$][^\x00-\x20\x7f+#/]*")


class TopicError(ValueError):
    """A base, room, leaf or legacy topic in the settings or on the command line does not fit the grammar."""


class Role(StrEnum):
    """What a peer may do in a room; the level before its id in the leaf's topic."""

    PUB = "pub"
    VIEW = "view"
    JOIN = "join"


_ROLES = frozenset(Role)


@dataclass(frozen=True, slots=True, order=True)
class Leaf:
    """One peer's place in a room: the topic on which both it and the server speak."""

    room: str
    role: Role
    peer: str

    @classmethod
    def parse(cls, text: str) -> Leaf:
        """The leaf written as `<room>/<role>/<peer>`; TopicError when it is not one."""
        room, _, peer = text.rpartition("/")
        room, _, role = room.rpartition("/")
        if role not in _ROLES or not valid_room(room) or not valid_peer(peer):
            raise TopicError(f"{text!r} is not <room>/<pub|view|join>/<peer>")
        return cls(room, Role(role), peer)

    def __str__(self) -> str:
        return f"{self.room}/{self.role}/{self.peer}"


@dataclass(frozen=True, slots=True)
class BridgeRequest:
    """A command to the server: what follows `<base>/bridge/request/`."""

    command: str


@dataclass(frozen=True, slots=True)
class RecordingSwitch:
    """Whether a room is to be recorded: `<base>/<room>/recordings/set`."""

    room: str


@dataclass(frozen=True, slots=True)
class SnapshotButton:
    """A picture of a room is wanted: `<base>/<room>/snapshot/set`."""

    room: str


def valid_room(text: str) -> bool:
    """Whether `text` is a room: a path of 1 to 4 levels, none of them a reserved word."""
    levels = text.split("/")
    return len(levels) <= MAX_ROOM_LEVELS and all(
        _LEVEL.fullmatch(level) is not None and level not in RESERVED for level in levels
    )


def valid_peer(text: str) -> bool:
    """Whether `text` can be a peer's id."""
    return _PEER.fullmatch(text) is not None


def contains(room: str, other: str) -> bool:
    """Whether who views `room` may be shown the producers of `other`: the room itself and its sub-rooms."""
    return other == room or other.startswith(room + "/")


def parse_legacy(setting: Mapping[str, str]) -> Mapping[str, Leaf]:
    """Flat topics of apps that cannot change theirs, e.g. `{"webrtcphone": "lobby/join/phone"}`.

    TopicError when a topic is not a plain one, a leaf is not a leaf, or two topics mean the same leaf.
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


_ROOM_COMMANDS: Final[Mapping[str, type[RecordingSwitch | SnapshotButton]]] = {
    "recordings/set": RecordingSwitch,
    "snapshot/set": SnapshotButton,
}


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics of one server: `base` (one or more levels) and the legacy topics it also serves.

    TopicError when the base is not plain levels, or a legacy topic lies below it.
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
        """Every filter the server subscribes; no signalling topic is matched by two of them."""
        depths = ["/".join("+" * levels) for levels in range(1, MAX_ROOM_LEVELS + 1)]
        leaves = (f"{self.base}/{depth}/{role}/+" for depth in depths for role in Role)
        commands = (f"{self.base}/{depth}/{word}" for depth in depths for word in _ROOM_COMMANDS)
        return (*leaves, *commands, f"{self.base}/bridge/request/#", *self.legacy)

    def states(self) -> tuple[str, ...]:
        """Filters that match the state of every room, and whether it is recorded, which is two levels deeper."""
        return tuple(self.state("/".join("+" * levels)) for levels in range(1, MAX_ROOM_LEVELS + 3))

    def room_of_state(self, topic: str) -> str | None:
        """The room whose state, of recording too, `topic` holds; None for every other topic, `bridge/state` say."""
        room = topic.removeprefix(self.base + "/").removesuffix("/state").removesuffix("/recordings")
        return room if topic in (self.state(room), self.recordings(room)) and valid_room(room) else None

    def parse(self, topic: str) -> Leaf | BridgeRequest | RecordingSwitch | SnapshotButton | None:
        """What an incoming topic means; None for everything outside the grammar.

        A leaf with a legacy topic lives there alone: on its ordinary topic nobody would see the answers.
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

    def leaf(self, leaf: Leaf) -> str:
        """The topic of a leaf: its legacy topic if it has one."""
        for topic, legacy in self.legacy.items():
            if legacy == leaf:
                return topic
        return f"{self.base}/{leaf}"

    def state(self, room: str) -> str:
        """Retained JSON: producers, viewers, whether it is live."""
        return f"{self.base}/{room}/state"

    def availability(self, room: str) -> str:
        """Retained `online` while media flows, else `offline`."""
        return f"{self.base}/{room}/availability"

    def viewers(self, room: str) -> str:
        """Retained integer."""
        return f"{self.base}/{room}/viewers"

    def recordings(self, room: str) -> str:
        """Retained `ON` while anything in the room is being recorded, else `OFF`."""
        return f"{self.base}/{room}/recordings/state"

    def snapshot(self, room: str) -> str:
        """JPEG, never retained."""
        return f"{self.base}/{room}/snapshot"

    def snapshot_url(self, room: str) -> str:
        """Retained URL of the latest one."""
        return f"{self.base}/{room}/snapshot/url"

    def event(self, room: str) -> str:
        """JSON events, never retained."""
        return f"{self.base}/{room}/event"

    @property
    def bridge_state(self) -> str:
        """Retained `online`/`offline`: the server itself, also its last will."""
        return f"{self.base}/bridge/state"

    @property
    def bridge_info(self) -> str:
        """Retained JSON: who the server is."""
        return f"{self.base}/bridge/info"

    def response(self, command: str) -> str:
        """Where the answer to `bridge/request/<command>` goes when the request names no place of its own."""
        return f"{self.base}/bridge/response/{command}"


def _plain(topic: str) -> bool:
    return len(topic) <= 256 and all(_PLAIN_LEVEL.fullmatch(level) for level in topic.split("/"))
