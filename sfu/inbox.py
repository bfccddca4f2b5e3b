"""The server's inbox: each message from the broker goes to the part of the server that it concerns.

Owns the meaning of topics and of the words `ON`, `OFF` and `PRESS`, the rule for retained messages, and how many
commands are obeyed. Never parses signalling and keeps no connection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from sfu.access.caller import Caller
from sfu.access.rights import Right
from sfu.media.token_bucket import TokenBucket
from sfu.signaling.intake import Incoming
from sfu.signaling.strays import Strays
from sfu.signaling.topics import BridgeRequest, Leaf, RecordingSwitch, SnapshotButton, Topics

_SWITCHES: Final = {b"ON": True, b"OFF": False}
_WORDS: Final = {RecordingSwitch: frozenset(_SWITCHES), SnapshotButton: frozenset((b"PRESS",))}

# (a second, at once): commands for rooms with participants and for others, which anybody can invent, and requests. More
# than a home automation sends when it starts.
_KNOWN_ROOMS: Final = (50.0, 500.0)
_OTHER_ROOMS: Final = (20.0, 200.0)
_REQUESTS: Final = (10.0, 50.0)


class Signaling(Protocol):
    """The part that knows the rooms."""

    counters: Counter[str]

    def receive(self, leaf: Leaf, payload: bytes, caller: Caller | None = None) -> None:
        """Takes one signalling message that arrived on a leaf: of `caller`, or from the broker."""

    def refuse(self, leaf: Leaf, payload: bytes) -> None:
        """Refuses one signalling message unread, because too many wait."""

    def known(self, room: str) -> bool:
        """Returns True if the room or one below it has a participant."""
        ...

    def recall(self, room: str) -> None:
        """Publishes the room's state at the next tick if nobody is in the room. The broker retains an older one."""


class CommandRules(Protocol):
    """The part that knows who may command."""

    def command(self, topic: str, room: str, right: Right, payload: bytes) -> bytes | None:
        """Returns the word of a command that may be obeyed; None for any other."""
        ...


class RecordingSwitches(Protocol):
    """The part that records."""

    def switch(self, room: str, on: bool) -> None:
        """Switches recording on or off for a room and its sub-rooms."""


class SnapshotButtons(Protocol):
    """The part that takes pictures."""

    def request(self, room: str, deliver: Callable[[str, bytes], None]) -> None:
        """Takes a picture of the room; calls `deliver` with the room and the JPEG when it is there."""


class OwnState(Protocol):
    """The part that keeps what the broker retains for the server."""

    def heard(self, topic: str, payload: bytes) -> None:
        """Learns what somebody has written on a topic that the server retains."""


class Replies(Protocol):
    """The part that publishes."""

    def stray(self, topic: str, payload: bytes) -> None:
        """Publishes a message on a topic that is no leaf."""

    def response(self, request: BridgeRequest, payload: bytes) -> None:
        """Answers a bridge request, whose payload is given."""

    def snapshot(self, room: str, picture: bytes, url: str | None) -> None:
        """Publishes a picture of the room, and the URL of a larger one if there is one."""


class Inbox:
    """The receiver of all messages of one server."""

    def __init__(
        self,
        topics: Topics,
        rooms: Signaling,
        recordings: RecordingSwitches,
        snapshots: SnapshotButtons,
        replies: Replies,
        *,
        commands: CommandRules,
        own: OwnState,
        strays: Strays,
        page_url: Callable[[], str | None],
        picture_token: Callable[[str], str | None] = lambda _room: None,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        """`page_url`: the HTTP server's address, with a slash at its end. `wall_clock`: seconds since 1970.

        `clock`: that of the event loop.
        """
        self._topics = topics
        self._rooms = rooms
        self._recordings = recordings
        self._snapshots = snapshots
        self._replies = replies
        self._commands = commands
        self._own = own
        self._strays = strays
        self._page_url = page_url
        self._picture_token = picture_token
        self._clock = clock
        self._wall_clock = wall_clock
        self._known_rooms = TokenBucket(*_KNOWN_ROOMS)
        self._other_rooms = TokenBucket(*_OTHER_ROOMS)
        self._requests = TokenBucket(*_REQUESTS)

    def receive(self, message: Incoming) -> None:
        """Passes one message on. Counts those that are retained or outside the grammar with the rooms' counters."""
        topics, room = self._topics, self._topics.room_of_state(message.topic)
        if room is not None or message.topic in (topics.bridge_state, topics.bridge_info):
            self._on_state(room, message)
        elif not message.payload:
            return  # a retained message was cleared
        elif message.retained:  # a retained offer or command would be obeyed at every start
            self._rooms.counters["retained"] += 1
        else:
            self._on_command(message)

    def receive_from(self, topic: str, payload: bytes, caller: Caller) -> None:
        """Passes on what a client of the door has said, which may say it: the door looks at that."""
        if payload:
            self._on_command(Incoming(topic, payload), caller)

    def refuse(self, message: Incoming) -> None:
        """Refuses one message because too many wait. A leaf is answered; other messages are only counted."""
        target = None if message.retained else self._topics.parse(message.topic)
        if isinstance(target, Leaf):
            self._rooms.refuse(target, message.payload)

    def _on_state(self, room: str | None, message: Incoming) -> None:
        """Puts a topic right that only the server should write on.

        What was there before us is from a process that was killed, or that ran before us.
        """
        if not message.retained:
            self._own.heard(message.topic, message.payload)
        elif room is not None and message.payload:
            self._rooms.recall(room)

    def _on_command(self, message: Incoming, caller: Caller | None = None) -> None:
        target = self._topics.parse(message.topic)
        if isinstance(target, Leaf):
            self._rooms.receive(target, message.payload, caller)
        elif isinstance(target, BridgeRequest):
            if self._allowed(self._requests):
                self._replies.response(target, message.payload)
        elif isinstance(target, RecordingSwitch | SnapshotButton) and _may_be_command(target, message.payload):
            if self._allowed(self._bucket_of(target.room)):
                self._on_room_command(target, message, caller)
        else:
            self._rooms.counters["outside_grammar"] += 1
            self._answer_stray(message)

    def _on_room_command(
        self, target: RecordingSwitch | SnapshotButton, message: Incoming, caller: Caller | None
    ) -> None:
        right = Right.RECORD if isinstance(target, RecordingSwitch) else Right.VIEW
        if caller is None:
            word = self._commands.command(message.topic, target.room, right, message.payload)
        else:
            may = caller.claims is not None and caller.claims.may(right, target.room)
            word = message.payload if may else None
        if word is None or word not in _WORDS[type(target)]:
            self._rooms.counters["commands_not_allowed"] += 1
        elif isinstance(target, RecordingSwitch):
            self._recordings.switch(target.room, _SWITCHES[word])
        else:
            self._snapshots.request(target.room, self._publish_snapshot)

    def _answer_stray(self, message: Incoming) -> None:
        mistake = self._topics.mistake(message.topic)
        if mistake is not None:
            answer = self._strays.answer(message.topic, message.payload, mistake, self._clock())
            if answer is not None:
                self._replies.stray(message.topic, answer)

    def _bucket_of(self, room: str) -> TokenBucket:
        return self._known_rooms if self._rooms.known(room) else self._other_rooms

    def _allowed(self, bucket: TokenBucket) -> bool:
        """Counts one command. Returns False if there were too many."""
        bucket.fill(self._clock())
        if bucket.tokens < 1:
            self._rooms.counters["commands_refused"] += 1
            return False
        bucket.tokens -= 1
        return True

    def _publish_snapshot(self, room: str, picture: bytes) -> None:
        """Publishes a picture with a URL that is new each time: programs that show it load it again on a change."""
        page = self._page_url()
        at_ms = int(self._wall_clock() * 1000)
        token = self._picture_token(room)
        proof = "" if token is None else f"&token={token}"
        url = None if page is None else f"{page}api/rooms/{room}/snapshot.jpg?at={at_ms}{proof}"
        self._replies.snapshot(room, picture, url)


def _may_be_command(target: RecordingSwitch | SnapshotButton, payload: bytes) -> bool:
    """Returns True for a word that the topic has, and for JSON, in which there may be one."""
    return payload in _WORDS[type(target)] or payload[:1] == b"{"
