"""Topic grammar: every row of the table in docs/protocol.md section 2, and what must not pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.signaling.topics import (
    RESERVED,
    BridgeRequest,
    Leaf,
    RecordingSwitch,
    Role,
    SnapshotButton,
    TopicError,
    Topics,
    contains,
    parse_legacy,
    valid_peer,
    valid_room,
)

TOPICS = Topics("sfu")

levels = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", fullmatch=True).filter(lambda level: level not in RESERVED)
rooms = st.lists(levels, min_size=1, max_size=4).map("/".join)
leaves = st.builds(Leaf, rooms, st.sampled_from(Role), st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
bases = st.lists(levels, min_size=1, max_size=3).map("/".join)


def matches(topic_filter: str, topic: str) -> bool:
    """MQTT 3.1.1 section 4.7, as a broker applies it."""
    wanted, given_levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted, given_levels = wanted[:-1], given_levels[: len(wanted) - 1]
    return len(wanted) == len(given_levels) and all(w in ("+", g) for w, g in zip(wanted, given_levels, strict=True))


@given(bases, leaves)
def test_every_leaf_is_found_again_and_subscribed_exactly_once(base: str, leaf: Leaf) -> None:
    topics = Topics(base)
    topic = topics.leaf(leaf)
    assert topics.parse(topic) == leaf
    assert sum(matches(subscription, topic) for subscription in topics.subscriptions()) == 1


@given(st.text())
def test_any_text_is_a_leaf_a_request_or_nothing(text: str) -> None:
    for topic in (text, f"sfu/{text}"):
        parsed = TOPICS.parse(topic)
        assert parsed is None or isinstance(parsed, Leaf | BridgeRequest)
        assert not isinstance(parsed, Leaf) or TOPICS.leaf(parsed) == topic


@pytest.mark.parametrize("room", ["frontdoor", "site/gate/north", "a/b/c/d", "9", "A-b_c", "x" * 63, "site/Pub"])
def test_a_room_is_a_path_of_one_to_four_levels(room: str) -> None:
    assert valid_room(room)


@pytest.mark.parametrize(
    "room",
    [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "a/b/c/d/e",
        "-a",
        "_a",
        "a b",
        "x" * 64,
        "é",
        "a\n",
        "+",
        "#",
        "a/#",
        "$SYS",
        *RESERVED,
    ]
    + [f"site/{word}" for word in sorted(RESERVED)],
)
def test_everything_else_is_no_room(room: str) -> None:
    assert not valid_room(room)


@pytest.mark.parametrize(("peer", "valid"), [("a", True), ("-_9", True), ("x" * 64, True), ("pub", True)])
def test_a_peer_id_may_be_any_short_word(peer: str, valid: bool) -> None:
    assert valid_peer(peer) is valid


@pytest.mark.parametrize("peer", ["", "x" * 65, "a/b", "a.b", "é", "a\n", "+"])
def test_other_texts_are_no_peer_id(peer: str) -> None:
    assert not valid_peer(peer)


def test_a_room_contains_itself_and_its_sub_rooms() -> None:
    assert contains("site", "site")
    assert contains("site", "site/gate")
    assert contains("site", "site/gate/north")
    assert not contains("site/gate", "site")
    assert not contains("site", "site2")


@pytest.mark.parametrize(
    "topic",
    [
        "sfu/frontdoor/state",
        "sfu/bridge/state",
        "sfu/bridge/pub/x",
        "sfu/pub/x",
        "sfu/a/b/c/d/e/pub/x",
        "sfu/frontdoor/watch/x",
        "sfu/frontdoor/pub/a.b",
        "sfu/frontdoor/pub/x/y",
        "other/frontdoor/pub/x",
        "sfux/frontdoor/pub/x",
        "sfu/bridge/request",
        "sfu/bridge/request/",
        "sfu/bridge/request/a b",
        "",
    ],
)
def test_topics_outside_the_grammar_mean_nothing(topic: str) -> None:
    assert TOPICS.parse(topic) is None


def test_bridge_requests_carry_their_command() -> None:
    assert TOPICS.parse("sfu/bridge/request/rooms") == BridgeRequest("rooms")
    assert TOPICS.parse("sfu/bridge/request/room/add") == BridgeRequest("room/add")
    assert TOPICS.response("rooms") == "sfu/bridge/response/rooms"


def test_rooms_are_told_what_to_do() -> None:
    assert TOPICS.parse("sfu/site/gate/recordings/set") == RecordingSwitch("site/gate")
    assert TOPICS.parse("sfu/site/gate/snapshot/set") == SnapshotButton("site/gate")
    assert TOPICS.parse("sfu/bridge/snapshot/set") is None
    assert TOPICS.parse("sfu/a/b/c/d/e/snapshot/set") is None


def test_the_servers_own_topics() -> None:
    topics = Topics("home/sfu")
    assert topics.state("site/gate") == "home/sfu/site/gate/state"
    assert topics.availability("a") == "home/sfu/a/availability"
    assert topics.viewers("a") == "home/sfu/a/viewers"
    assert topics.snapshot("a") == "home/sfu/a/snapshot"
    assert topics.snapshot_url("a") == "home/sfu/a/snapshot/url"
    assert topics.event("a") == "home/sfu/a/event"
    assert topics.bridge_state == "home/sfu/bridge/state"
    assert topics.bridge_info == "home/sfu/bridge/info"


def test_a_legacy_topic_is_its_leafs_only_place() -> None:
    leaf = Leaf("lobby", Role.JOIN, "phone")
    topics = Topics("sfu", parse_legacy({"webrtcphone": "lobby/join/phone"}))
    assert topics.parse("webrtcphone") == leaf
    assert topics.leaf(leaf) == "webrtcphone"
    assert topics.parse("sfu/lobby/join/phone") is None
    assert topics.parse("sfu/lobby/join/other") == Leaf("lobby", Role.JOIN, "other")
    assert "webrtcphone" in topics.subscriptions()


@pytest.mark.parametrize(
    "setting",
    [
        {"webrtcphone": "lobby"},
        {"webrtcphone": "lobby/watch/phone"},
        {"webrtcphone": "bridge/join/phone"},
        {"webrtcphone": "/join/phone"},
        {"": "lobby/join/phone"},
        {"phones/+": "lobby/join/phone"},
        {"phones/#": "lobby/join/phone"},
        {"$SYS/phone": "lobby/join/phone"},
        {"a//b": "lobby/join/phone"},
        {"one": "lobby/join/phone", "two": "lobby/join/phone"},
    ],
)
def test_a_legacy_setting_that_cannot_work_is_an_error(setting: dict[str, str]) -> None:
    with pytest.raises(TopicError):
        parse_legacy(setting)


@pytest.mark.parametrize("base", ["", "/", "sfu/", "/sfu", "s f", "sfu/#", "+", "$SYS", "sfu\n", "x" * 257])
def test_a_base_that_cannot_work_is_an_error(base: str) -> None:
    with pytest.raises(TopicError):
        Topics(base)


def test_a_legacy_topic_below_the_base_is_an_error() -> None:
    with pytest.raises(TopicError, match="below the base"):
        Topics("sfu", parse_legacy({"sfu/bridge/state": "lobby/join/phone"}))


def test_leaves_sort_and_print_as_in_topics() -> None:
    assert str(Leaf("site/gate", Role.PUB, "cam")) == "site/gate/pub/cam"
    assert min(Leaf("b", Role.PUB, "a"), Leaf("a", Role.VIEW, "z")).room == "a"


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        (
            "bad.room/pub/cam",
            "'bad.room' is no room: a room is 1 to 4 names with / between them, each of letters, digi",
        ),
        ("a/b/c/d/e/pub/cam", "'a/b/c/d/e' is no room: a room is 1 to 4 names"),
        ("yard/state/pub/cam", "'yard/state' is no room: state has a meaning of its own"),
        ("yard/pub/my cam", "'my cam' is no id: an id has 1 to 64 letters"),
    ],
)
def test_a_wrong_room_or_id_is_named_with_the_right_form(leaf: str, words: str) -> None:
    with pytest.raises(TopicError) as caught:
        Leaf.parse(leaf)
    assert str(caught.value).startswith(words)
