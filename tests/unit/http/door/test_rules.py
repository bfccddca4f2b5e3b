"""Who may read and say what at the door."""

from __future__ import annotations

import pytest

from sfu.access.rights import ROLES, Claims, Use
from sfu.http.door.identity import EVERYBODY
from sfu.http.door.packets import PublishPacket
from sfu.http.door.rules import DoorRules, ForbiddenError
from sfu.signaling.topics import Leaf, Role, Topics

TOPICS = Topics("home/sfu", {"old/bell": Leaf("hall", Role.PUB, "bell")})


def rules(role: str, *rooms: str, sub: str = "ann", use: Use = Use.ACCESS) -> DoorRules:
    return DoorRules(TOPICS, Claims(sub, rooms, ROLES[role], 1e12, "1", use))


def said(topic: str, *, retain: bool = False) -> PublishPacket:
    return PublishPacket(topic, b"ON", 1, retain, 1)


@pytest.mark.parametrize(
    "wanted",
    [
        "home/sfu/bridge/info",
        "home/sfu/bridge/state",
        "home/sfu/+/state",
        "home/sfu/+/+/+/+/state",
        "home/sfu/hall/+/recordings/state",
        "home/sfu/hall/state",
        "home/sfu/hall/east/availability",
        "home/sfu/hall/snapshot",
        "home/sfu/hall/snapshot/url",
        "home/sfu/hall/event",
        "home/sfu/hall/view/ann",
        "home/sfu/hall/east/view/ann--tab",
    ],
)
def test_a_viewer_reads_its_rooms_and_its_leaves(wanted: str) -> None:
    assert rules("view", "hall").may_read(wanted)


@pytest.mark.parametrize("wanted", ["home/sfu/yard/state", "home/sfu/yard/event", "home/sfu/yard/recordings/state"])
def test_a_foreign_room_is_refused_and_no_more(wanted: str) -> None:
    assert not rules("view", "hall").may_read(wanted)


def test_pictures_need_the_right_to_see_them() -> None:
    assert not rules("publish", "hall").may_read("home/sfu/hall/snapshot")
    assert rules("publish", "hall").may_read("home/sfu/hall/state")


@pytest.mark.parametrize(
    "wanted",
    [
        "#",
        "+/#",
        "home/sfu/#",
        "home/sfu/hall/#",
        "$SYS/#",
        "$SYS/broker/uptime",
        "homeassistant/#",
        "home/sfu/+/+/+/+/+/state",
        "home/sfu/hall/view/+",
        "home/sfu/+/view/ann",
        "home/sfu/hall/view/bob",
        "home/sfu/yard/view/ann",
        "home/sfu/hall/pub/ann",
        "home/sfu/hall/+",
        "home/sfu/hall/recordings/set",
        "home/sfu/bridge/+",
        "home/sfu/bridge/response/x",
        "home/sfu/bridge/request/x",
        "home/sfu/ha+l/state",
        "sfu/hall/state",
        "old/bell",
        "",
    ],
)
def test_all_else_ends_a_viewer(wanted: str) -> None:
    with pytest.raises(ForbiddenError):
        rules("view", "hall").may_read(wanted)


@pytest.mark.parametrize(
    ("role", "topic"),
    [
        ("view", "home/sfu/hall/view/ann"),
        ("view", "home/sfu/hall/snapshot/set"),
        ("publish", "home/sfu/hall/east/pub/ann"),
        ("join", "home/sfu/hall/join/ann"),
        ("record", "home/sfu/hall/recordings/set"),
        ("admin", "home/sfu/hall/pub/any"),
        ("admin", "old/bell"),
    ],
)
def test_what_may_be_said(role: str, topic: str) -> None:
    rules(role, "hall").check_said(said(topic))
    with pytest.raises(ForbiddenError) as fault:
        rules(role, "hall").check_said(said(topic, retain=True))
    assert fault.value.kind == "retained"
    with pytest.raises(ForbiddenError):
        rules(role, "yard").check_said(said(topic))


@pytest.mark.parametrize(
    ("topic", "kind"),
    [
        ("home/sfu/hall/recordings/set", "no_right_to_record"),
        ("home/sfu/yard/snapshot/set", "no_right_to_view"),
        ("home/sfu/hall/view/bob", "foreign_leaf"),
        ("home/sfu/hall/pub/ann", "foreign_leaf"),
        ("home/sfu/hall/state", "foreign_topic"),
        ("home/sfu/hall/availability", "foreign_topic"),
        ("home/sfu/bridge/state", "foreign_topic"),
        ("home/sfu/bridge/request/x", "foreign_topic"),
        ("home/sfu/hall/publish/ann", "foreign_topic"),
        ("homeassistant/camera/x/config", "foreign_topic"),
        ("$SYS/x", "foreign_topic"),
    ],
)
def test_all_else_that_is_said_ends_a_viewer(topic: str, kind: str) -> None:
    with pytest.raises(ForbiddenError) as fault:
        rules("view", "hall").check_said(said(topic))
    assert fault.value.kind == kind


def test_everybody_may_do_all_that_pages_do_and_no_more() -> None:
    everybody = DoorRules(TOPICS, EVERYBODY)
    everybody.check_said(said("home/sfu/hall/pub/any"))
    everybody.check_said(said("home/sfu/hall/recordings/set"))
    assert everybody.may_read("home/sfu/hall/view/any")
    with pytest.raises(ForbiddenError):
        everybody.may_read("#")
    with pytest.raises(ForbiddenError):
        everybody.check_said(said("home/sfu/bridge/state"))
