"""The inbox: each message from the broker reaches the part that it concerns, and no other."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable

import pytest

from sfu.access.caller import Caller
from sfu.access.rights import Right
from sfu.inbox import Inbox
from sfu.signaling.intake import Incoming
from sfu.signaling.strays import Strays
from sfu.signaling.topics import BridgeRequest, Leaf, Role, Topics

LEAF = Leaf("lobby", Role.PUB, "phone")


class FakeParts:
    """All parts behind an inbox at once; `calls` has what was asked of them."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.counters: Counter[str] = Counter()

    def receive(self, leaf: Leaf, payload: bytes, caller: Caller | None = None) -> None:
        self.calls.append(("receive", leaf, payload))

    def refuse(self, leaf: Leaf, payload: bytes) -> None:
        self.calls.append(("refuse", leaf, payload))

    def known(self, room: str) -> bool:
        return room == "lobby"

    def command(self, topic: str, room: str, right: Right, payload: bytes) -> bytes | None:
        return None if b"{" in payload else payload

    def heard(self, topic: str, payload: bytes) -> None:
        self.calls.append(("heard", topic, payload))

    def stray(self, topic: str, payload: bytes) -> None:
        self.calls.append(("stray", topic, json.loads(payload)["data"]))

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


def received(
    *messages: Incoming, page: str | None = None, wall_clock: Callable[[], float] = lambda: 1234.5678
) -> FakeParts:
    parts = FakeParts()
    topics = Topics("sfu", {"webrtcphone": LEAF})
    inbox = Inbox(
        topics,
        parts,
        parts,
        parts,
        parts,
        commands=parts,
        own=parts,
        strays=Strays("sfu"),
        page_url=lambda: page,
        clock=lambda: 0.0,
        wall_clock=wall_clock,
    )
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
        Incoming("sfu/lobby/state", b"", retained=True),
    ],
    ids=["cleared", "our own state", "a room's state cleared"],
)
def test_nothing_follows_a_cleared_topic_or_our_own_state(message: Incoming) -> None:
    parts = received(message)
    assert parts.calls == []
    assert not parts.counters


@pytest.mark.parametrize("topic", ["sfu/lobby/state", "sfu/lobby/snapshot/url", "sfu/bridge/state", "sfu/bridge/info"])
@pytest.mark.parametrize("payload", [b"x", b""], ids=["written", "cleared"])
def test_what_is_written_on_our_own_topics_is_noted(topic: str, payload: bytes) -> None:
    assert received(Incoming(topic, payload)).calls == [("heard", topic, payload)]


OFFER = json.dumps({"command": "signal", "clientid": "cam", "type": "offer", "data": "v=0", "session": "12345678"})


@pytest.mark.parametrize(
    ("topic", "word"),
    [
        ("sfu/lobby/publish/cam", "pub, view or join, not publish"),
        ("sfu/lobby/pub/cam.1", "a peer's id"),
        ("sfu/lobby.1/pub/cam", "a room has"),
        ("sfu/lobby/pub/phone", "the topic webrtcphone only"),
    ],
)
def test_an_offer_on_a_wrong_topic_is_told_once_what_is_wrong(topic: str, word: str) -> None:
    parts = received(*[Incoming(topic, payload) for payload in (b"x", OFFER.encode(), OFFER.encode())])
    ((_, where, data),) = parts.calls
    assert where == topic
    assert isinstance(data, dict)
    assert data["code"] == "bad_request"
    assert word in data["message"]


def test_a_wall_clock_that_leaps_changes_nothing_about_the_answers() -> None:
    offers = [Incoming("sfu/lobby/publish/cam", OFFER.encode())] * 2
    assert len(received(*offers, wall_clock=itertools.count(0.0, 3600.0).__next__).calls) == 1


@pytest.mark.parametrize("kind", ["answer", "error", "bye", "tracks"])
def test_no_other_message_on_a_wrong_topic_is_answered(kind: str) -> None:
    data: object = {"answer": "v=0", "error": {"code": "internal", "message": ""}, "tracks": {"slots": []}}.get(
        kind, {}
    )
    message = {"command": "signal", "clientid": "other-server", "type": kind, "data": data}
    assert received(Incoming("sfu/lobby/publish/cam", json.dumps(message).encode())).calls == []


@pytest.mark.parametrize("topic", ["sfu/lobby/state", "sfu/lobby/recordings/state", "sfu/lobby/viewers"])
def test_a_retained_room_state_is_recalled(topic: str) -> None:
    assert received(Incoming(topic, b"{}", retained=True)).calls == [("recall", "lobby")]


def test_a_snapshot_s_url_has_the_time_in_it() -> None:
    parts = received(Incoming("sfu/site/gate/snapshot/set", b"PRESS"), page="http://cam.lan:8080/")
    url = "http://cam.lan:8080/api/rooms/site/gate/snapshot.jpg?at=1234567"
    assert parts.calls == [("snapshot", "site/gate", b"jpeg", url)]


@pytest.mark.parametrize("topic", ["invented{}/recordings/set", "invented{}/snapshot/set", "bridge/request/dance{}"])
def test_a_flood_of_commands_leaves_those_for_known_rooms_their_share(topic: str) -> None:
    payload = b"PRESS" if "snapshot" in topic else b"ON"
    flood = [Incoming(f"sfu/{topic.format(number)}", payload) for number in range(1000)]
    parts = received(*flood, Incoming("sfu/lobby/recordings/set", b"OFF"))
    assert parts.calls[-1] == ("switch", "lobby", False)
    assert len(parts.calls) <= 201
    assert parts.counters["commands_refused"] == 1001 - len(parts.calls)
