"""Rights: rooms with their sub-rooms, roles, and the leaves that they open."""

from __future__ import annotations

import pytest

from sfu.access.rights import ROLES, Claims, Right, Use, rights_of, valid_name
from sfu.signaling.topics import Leaf


def claims(*roles: str, room: tuple[str, ...] = ("site",), sub: str = "ann", use: Use = Use.ACCESS) -> Claims:
    return Claims(sub, room, rights_of(roles), 0.0, "id", use)


@pytest.mark.parametrize(
    ("room", "known"),
    [("site", True), ("site/gate", True), ("site/gate/a", True), ("sit", False), ("sites", False), ("Site", False)],
)
def test_a_room_contains_its_sub_rooms_and_nothing_else(room: str, known: bool) -> None:
    assert claims("view").knows(room) is known
    assert claims("view").may(Right.VIEW, room) is known
    assert not claims("view").may(Right.PLAYBACK, room)


def test_a_sub_room_does_not_open_its_parent() -> None:
    assert not claims("view", room=("site/gate",)).knows("site")


def test_all_rooms_and_none() -> None:
    everywhere, nowhere = claims("view", room=("*",)), claims("view", room=())
    assert everywhere.may(Right.VIEW, "any/room")
    assert everywhere.may_everywhere(Right.VIEW)
    assert not everywhere.may_everywhere(Right.RECORD)
    assert not claims("view").may_everywhere(Right.VIEW)
    assert claims("view").may_anywhere(Right.VIEW)
    assert not nowhere.may_anywhere(Right.VIEW)


def test_rooms_are_filtered_in_their_order() -> None:
    rooms = ["z", "site/b", "site", "a", "hall/x"]
    assert claims("view", room=("site", "hall")).within(rooms) == ["site/b", "site", "hall/x"]


def test_roles_contain_what_belongs_to_them() -> None:
    assert rights_of(["playback"]) == {Right.VIEW, Right.PLAYBACK}
    assert rights_of(["record"]) == {Right.VIEW, Right.PLAYBACK, Right.RECORD}
    assert rights_of(["join", "record"]) == set(Right) - {Right.ADMIN}
    assert rights_of(["admin"]) == set(Right)
    assert rights_of([]) == frozenset()


def test_an_unknown_role_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="'fly' is no role: there are view, playback, publish, join, record, admin"):
        rights_of(["view", "fly"])


@pytest.mark.parametrize(
    ("role", "use", "leaf", "may"),
    [
        ("publish", Use.ACCESS, "site/pub/ann", True),
        ("publish", Use.ACCESS, "site/gate/pub/ann", True),
        ("publish", Use.ACCESS, "site/pub/ann--2", False),
        ("publish", Use.ACCESS, "site/pub/cam-2", False),
        ("publish", Use.ACCESS, "hall/pub/ann", False),
        ("publish", Use.ACCESS, "site/view/ann", False),
        ("publish", Use.ACCESS, "site/join/ann", False),
        ("publish", Use.SEALED, "site/pub/ann--2", False),
        ("publish", Use.SESSION, "site/pub/ann--2", True),
        ("publish", Use.SESSION, "site/pub/bob", False),
        ("view", Use.ACCESS, "site/view/ann", True),
        ("view", Use.ACCESS, "site/view/ann--tab", True),
        ("view", Use.ACCESS, "site/view/ann-tab", False),
        ("view", Use.ACCESS, "site/view/anna", False),
        ("view", Use.ACCESS, "site/view/Ann", False),
        ("view", Use.ACCESS, "site/pub/ann", False),
        ("view", Use.ACCESS, "site/join/ann", False),
        ("view", Use.SESSION, "site/view/bob--ann", False),
        ("join", Use.ACCESS, "site/join/ann", True),
        ("join", Use.ACCESS, "site/join/ann--2", False),
        ("join", Use.SESSION, "site/join/ann--2", True),
        ("join", Use.ACCESS, "site/pub/ann", True),
        ("join", Use.ACCESS, "site/view/ann--x", True),
        ("playback", Use.ACCESS, "site/view/ann", True),
        ("record", Use.ACCESS, "site/pub/ann", False),
        ("admin", Use.ACCESS, "site/pub/anybody", True),
        ("admin", Use.ACCESS, "hall/pub/ann", False),
    ],
)
def test_leaves(role: str, use: Use, leaf: str, may: bool) -> None:
    assert claims(role, use=use).may_use(Leaf.parse(leaf)) is may


def test_no_two_names_share_an_id_of_a_peer() -> None:
    names = [text for text in ("a", "a-", "-a", "a-b", "a--b", "a_", "_", "-") if valid_name(text)]
    peers = [f"{name}--{tab}" for name in names for tab in ("", "b", "-b", "a--b")] + names
    for peer in peers:
        assert sum(claims("view", sub=name).is_peer(peer) for name in names) == 1, peer


@pytest.mark.parametrize("text", ["", "a b", "ann/x", "ann--x", "ann-", "é", "a" * 49, "ann\n", "+", "#"])
def test_no_name(text: str) -> None:
    assert not valid_name(text)


def test_every_right_but_those_of_all_are_in_a_role_of_their_own() -> None:
    assert set().union(*(ROLES[name] for name in ROLES if name != "admin")) == set(Right) - {Right.ADMIN}
