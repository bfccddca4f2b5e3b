"""The board: all that the server tells everybody, for the clients of the door.

Owns the retained values of the server's topics, and who reads what. Pure. Rooms are filtered for each reader; whether a
reader may subscribe at all is decided before (`rules`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final, Protocol

_MAX_LEVELS: Final = 6
"""A room of four levels and `recordings/state`."""


class BoardReader(Protocol):
    """One client that reads the board."""

    def knows(self, room: str) -> bool:
        """Returns True if the client may know of this room."""
        ...

    def deliver(self, topic: str, payload: bytes, qos: int, *, retained: bool) -> None:
        """Sends one message to the client. Never blocks and never raises."""


@dataclass(frozen=True, slots=True)
class _Retained:
    payload: bytes
    room: str | None
    """None for topics of the server itself, which everybody may read."""


class Board:
    """The board of one server, whose topics are below `base`."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._retained: defaultdict[tuple[int, str], dict[str, _Retained]] = defaultdict(dict)
        """By number of levels and last level: a filter is compared with few topics."""
        self._readers: dict[str, dict[BoardReader, int]] = {}
        """The readers of each filter, with their QoS."""
        self._wild: Counter[tuple[int, str]] = Counter()
        """Number of filters with `+` that have readers: most messages are on leaves, which no such filter matches."""

    def retain(self, topic: str, payload: bytes | None, room: str | None = None) -> None:
        """Keeps a value for all who come, and tells all who are there; None clears it."""
        alike = self._retained[_shape(topic)]
        before = alike.get(topic)
        if (before and before.payload) == payload:
            return
        if payload is None:
            del alike[topic]
        else:
            alike[topic] = _Retained(payload, room)
        self.say(topic, payload or b"", room)

    def say(self, topic: str, payload: bytes, room: str | None = None) -> None:
        """Tells all who read this topic, each once."""
        wanted: dict[BoardReader, int] = {}
        for filter_ in self._filters_of(topic):
            for reader, qos in self._readers.get(filter_, {}).items():
                wanted[reader] = max(qos, wanted.get(reader, 0))
        for reader, qos in wanted.items():
            if room is None or reader.knows(room):
                reader.deliver(topic, payload, qos, retained=False)

    def subscribe(self, reader: BoardReader, wanted: str, qos: int) -> None:
        """Adds a reader of a filter, and gives it what is retained there."""
        if wanted not in self._readers:
            self._readers[wanted] = {}
            self._wild[_shape(wanted)] += "+" in wanted
        self._readers[wanted][reader] = qos
        levels = wanted.split("/")
        for topic, kept in tuple(self._retained.get(_shape(wanted), {}).items()):
            if (kept.room is None or reader.knows(kept.room)) and _matches(levels, topic):
                reader.deliver(topic, kept.payload, qos, retained=True)

    def unsubscribe(self, reader: BoardReader, wanted: str) -> None:
        """Removes a reader of a filter. Idempotent."""
        if (readers := self._readers.get(wanted)) is None:
            return
        readers.pop(reader, None)
        if not readers:
            del self._readers[wanted]
            self._wild[_shape(wanted)] -= "+" in wanted
            self._wild += Counter()  # forgets those of which none is left

    def _filters_of(self, topic: str) -> Iterator[str]:
        """Yields the filters that match a topic: `+` stands for levels between the base and the last one."""
        yield topic
        if not self._wild[_shape(topic)]:
            return
        inner = topic.removeprefix(self._base + "/").split("/")
        if not topic.startswith(self._base + "/") or not 2 <= len(inner) <= _MAX_LEVELS:
            return
        choices = product(*((level, "+") for level in inner[:-1]))
        next(choices)  # the topic itself
        for levels in choices:
            yield "/".join((self._base, *levels, inner[-1]))


def _shape(topic: str) -> tuple[int, str]:
    return topic.count("/"), topic.rpartition("/")[2]


def _matches(levels: list[str], topic: str) -> bool:
    return all(wanted in ("+", level) for wanted, level in zip(levels, topic.split("/"), strict=True))
