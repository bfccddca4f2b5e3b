"""The rules for brokers: each right opens its topics, in a room and its sub-rooms, and no more."""

from __future__ import annotations

import pytest
from paho.mqtt.client import topic_matches_sub

from sfu.access.acl import Account, AclRule, Reach, acl_rules, emqx, mosquitto
from sfu.signaling.topics import Leaf

CAMERAS = [Leaf.parse("site/gate/pub/gate-cam"), Leaf.parse("frontdoor/pub/front-cam")]


def rules(*roles: str, rooms: tuple[str, ...] = ("site",)) -> list[AclRule]:
    return list(acl_rules("sfu", "server", CAMERAS, [Account("ann", roles, rooms)]))


def may(found: list[AclRule], account: str, reach: Reach, topic: str) -> bool:
    return any(
        rule.account == account and rule.reach in (reach, Reach.BOTH) and topic_matches_sub(rule.topic, topic)
        for rule in found
    )


@pytest.mark.parametrize(
    ("roles", "reads", "writes"),
    [
        (("view",), ("state", "recordings/state", "snapshot", "event", "view/x"), ("view/x", "snapshot/set")),
        (("publish",), ("pub/ann",), ("pub/ann",)),
        (("join",), ("state", "view/x", "pub/ann", "join/ann"), ("view/x", "pub/ann", "join/ann", "snapshot/set")),
        (("record",), ("state", "view/x"), ("recordings/set", "view/x", "snapshot/set")),
        (("admin",), ("state", "view/x", "pub/ann"), ("recordings/set", "view/x", "pub/ann", "join/ann")),
    ],
)
@pytest.mark.parametrize("room", ["site", "site/gate", "site/a/b", "site/a/b/c"])
def test_a_role_opens_its_topics_in_all_sub_rooms(
    roles: tuple[str, ...], reads: tuple[str, ...], writes: tuple[str, ...], room: str
) -> None:
    every = {"state", "recordings/state", "snapshot", "event", "view/x", "pub/ann", "join/ann"}
    commands = {"recordings/set", "snapshot/set", "view/x", "pub/ann", "join/ann"}
    for given in (("site",), ("*",)):
        found = rules(*roles, rooms=given)
        assert all(may(found, "ann", Reach.READ, f"sfu/{room}/{word}") for word in reads)
        assert all(may(found, "ann", Reach.WRITE, f"sfu/{room}/{word}") for word in writes)
        if "admin" not in roles:
            own = {word for word in every if may(found, "ann", Reach.READ, f"sfu/{room}/{word}")}
            assert own - set(reads) <= {"state", "recordings/state", "snapshot", "event"}
            assert {word for word in commands if may(found, "ann", Reach.WRITE, f"sfu/{room}/{word}")} == set(writes)


@pytest.mark.parametrize("reach", [Reach.READ, Reach.WRITE])
@pytest.mark.parametrize(
    "topic",
    [
        "sfu/hall/state",
        "sfu/hall/view/ann",
        "sfu/site2/state",
        "sfu/site/pub/gate-cam",
        "sfu/site/gate/pub/gate-cam",
        "sfu/site/pub/bob",
        "sfu/site/x/pub/bob",
        "sfu/site/join/bob",
        "sfu/bridge/request/x",
        "homeassistant/x",
    ],
)
def test_nobody_reaches_what_is_anothers(reach: Reach, topic: str) -> None:
    found = rules("join", "record")
    assert not may(found, "ann", reach, topic)
    assert may(found, "server", reach, topic) is topic.startswith("sfu/")


def test_a_camera_has_its_leaf_and_hears_of_the_server() -> None:
    found = rules("view")
    assert may(found, "gate-cam", Reach.WRITE, "sfu/site/gate/pub/gate-cam")
    assert may(found, "gate-cam", Reach.READ, "sfu/bridge/info")
    assert not may(found, "gate-cam", Reach.WRITE, "sfu/bridge/info")
    assert not may(found, "gate-cam", Reach.WRITE, "sfu/site/gate/pub/front-cam")
    assert not may(found, "gate-cam", Reach.READ, "sfu/site/gate/state")


def test_the_form_of_mosquitto() -> None:
    text = mosquitto(acl_rules("sfu", "sfu", CAMERAS[1:], [Account("ann", ("publish",), ("a/b/c",))]))
    assert text == (
        "user sfu\ntopic readwrite sfu/#\n\n"
        "user front-cam\ntopic read sfu/bridge/+\ntopic readwrite sfu/frontdoor/pub/front-cam\n\n"
        "user ann\ntopic read sfu/bridge/+\ntopic readwrite sfu/a/b/c/pub/ann\ntopic readwrite sfu/a/b/c/+/pub/ann\n"
    )


def test_the_form_of_emqx() -> None:
    text = emqx(acl_rules('s"f', "sfu", CAMERAS[1:], []), 's"f')
    assert text.splitlines() == [
        r'{allow, {username, "sfu"}, all, ["s\"f/#"]}.',
        r'{allow, {username, "front-cam"}, subscribe, ["s\"f/bridge/+"]}.',
        r'{allow, {username, "front-cam"}, all, ["s\"f/frontdoor/pub/front-cam"]}.',
        r'{deny, all, all, ["s\"f/#"]}.',
    ]
