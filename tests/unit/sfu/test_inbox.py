"""The inbox: each message from the broker reaches the part that it concerns, and no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from sfu.inbox import Inbox
from sfu.signaling.link import Incoming
from sfu.signaling.topics import BridgeRequest, Leaf, Role, Topics

LEAF = Leaf("lobby", Role.PUB, "phone")


class FakeParts:
    """All parts behind an inbox at once; `calls` has what was asked of them."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.counters: Counter[str] = Counter()

    def receive(self, leaf: Leaf, payload: bytes) -> None:
        self.calls.append(("receive", leaf, payload))

    def recall(self, room: str) -> None:
        self.calls.append(("recall", room))

    def switch(self, room: str, on: bool) -> None:
        self.calls.append(("switch", room, on))

    def request(self, room: str, deliver: Callable[[str, bytes], None]) -> None:
        deliver(room, b"jpeg")

    def response(self, request: BridgeRequest, payload: bytes) -> None:
        self.calls.append(("response", request, payload))

    def snapshot(self, room: str, picture: bytes, url: str | None) -> None:
        self.calls.append(("snapshot", room, picture, url))


def received(*messages: Incoming, page: str | None = None) -> FakeParts:
    parts = FakeParts()
    topics = Topics("sfu", {"webrtcphone": LEAF})
    inbox = Inbox(topics, parts, parts, parts, parts, page_url=lambda: page, wall_clock=lambda: 1234.5678)
    for message in messages:
        inbox.receive(message)
    return parts


@pytest.mark.parametrize(
    ("topic", "payload", "call"),
    [
        ("sfu/lobby/view/wall", b"{}", ("receive", Leaf("lobby", Role.VIEW, "wall"), b"{}")),
        ("webrtcphone", b"{}", ("receive", LEAF, b"{}")),
        ("sfu/bridge/request/restart", b"{}", ("response", BridgeRequest("restart"), b"{}")),
        ("sfu/lobby/recordings/set", b"ON", ("switch", "lobby", True)),
        ("sfu/site/gate/recordings/set", b"OFF", ("switch", "site/gate", False)),
        ("sfu/lobby/snapshot/set", b"PRESS", ("snapshot", "lobby", b"jpeg", None)),
    ],
)
def test_a_message_reaches_its_part(topic: str, payload: bytes, call: tuple[object, ...]) -> None:
    parts = received(Incoming(topic, payload))
    assert parts.calls == [call]
    assert not parts.counters


@pytest.mark.parametrize("topic", ["sfu/lobby/view/wall", "sfu/lobby/recordings/set", "sfu/bridge/request/restart"])
def test_a_retained_command_is_counted_and_not_obeyed(topic: str) -> None:
    parts = received(Incoming(topic, b"ON", retained=True))
    assert parts.calls == []
    assert parts.counters == {"retained": 1}


@pytest.mark.parametrize(
    ("topic", "payload"),
    [("sfu/lobby/recordings/set", b"on"), ("sfu/lobby/snapshot/set", b"x"), ("sfu/a/b/c/d/e/pub/x", b"x")],
)
def test_a_message_outside_the_grammar_is_counted(topic: str, payload: bytes) -> None:
    parts = received(Incoming(topic, payload))
    assert parts.calls == []
    assert parts.counters == {"outside_grammar": 1}


@pytest.mark.parametrize(
    "message",
    [
        Incoming("sfu/lobby/view/wall", b""),
        Incoming("sfu/bridge/state", b"online", retained=True),
        Incoming("sfu/lobby/state", b"{}"),
        Incoming("sfu/lobby/state", b"", retained=True),
    ],
    ids=["cleared", "our own state", "a room's state as we publish it", "a room's state cleared"],
)
def test_nothing_follows_a_cleared_topic_or_our_own_state(message: Incoming) -> None:
    parts = received(message)
    assert parts.calls == []
    assert not parts.counters


@pytest.mark.parametrize("topic", ["sfu/lobby/state", "sfu/lobby/recordings/state"])
def test_a_retained_room_state_is_recalled(topic: str) -> None:
    assert received(Incoming(topic, b"{}", retained=True)).calls == [("recall", "lobby")]


def test_a_snapshot_s_url_has_the_time_in_it() -> None:
    parts = received(Incoming("sfu/site/gate/snapshot/set", b"PRESS"), page="http://cam.lan:8080/")
    url = "http://cam.lan:8080/api/rooms/site/gate/snapshot.jpg?at=1234567"
    assert parts.calls == [("snapshot", "site/gate", b"jpeg", url)]
