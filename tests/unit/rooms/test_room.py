"""Rooms: who may join, which viewers get which news, and the JSON of `<room>/state`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sfu.media.ingest.starts import Problem, Trouble
from sfu.rooms.room import Change, RoomError, RoomLimits, Rooms
from sfu.signaling.topics import Leaf, Role
from tests.helpers.media_tracks import H264, audio, video, windows

AV = (video(), audio())
SINCE = "2026-01-02T03:04:05Z"


def rooms(*, viewers: int = 10, limit: int = 10, producers: int = 10, reject: bool = False) -> Rooms:
    limits = RoomLimits(viewers_per_room=viewers, rooms=limit, producers_per_room=producers)
    return Rooms(limits, same_peer="reject" if reject else "replace")


def leaf(text: str) -> Leaf:
    room, role, peer = text.rsplit("/", 2)
    return Leaf(room, Role(role), peer)


def comes(house: Rooms, text: str, *, shows: int = 0) -> Leaf:
    """Joins; `pub` and `join` send a picture and sound, `view` and `join` have `shows` windows."""
    who = leaf(text)
    house.admit(who)
    house.join(who, since=SINCE)
    if who.role is not Role.PUB:
        house.set_slots(who, windows(shows))
    if who.role is not Role.VIEW:
        house.set_tracks(who, AV)
    return who


def shown(house: Rooms, viewer: Leaf) -> list[str]:
    return [f"{state.source.room}/{state.source.peer}" if state.source else "" for state in house.slots(viewer)]


def refused(call: object, *args: object, **keywords: object) -> str:
    with pytest.raises(RoomError) as caught:
        call(*args, **keywords)  # type: ignore[operator]
    assert caught.value.message
    return caught.value.code


def test_a_viewer_sees_its_room_and_those_below_and_no_other() -> None:
    house = rooms()
    for camera in ("site/pub/one", "site/gate/north/pub/two", "siteb/pub/three", "yard/pub/four"):
        comes(house, camera)
    assert shown(house, comes(house, "site/view/guard", shows=3))[::2] == ["site/one", "site/gate/north/two", ""]
    assert shown(house, comes(house, "site/gate/view/guard", shows=2))[::2] == ["site/gate/north/two", ""]


def test_two_members_see_each_other_and_not_themselves() -> None:
    house = rooms()
    one = comes(house, "hall/join/one", shows=2)
    two = comes(house, "hall/join/two", shows=2)
    assert shown(house, one) == ["hall/two", "hall/two", "", ""]
    assert shown(house, two) == ["hall/one", "hall/one", "", ""]


def test_state_lists_producers_of_the_room_and_below_with_their_room() -> None:
    house = rooms()
    comes(house, "site/gate/pub/north")
    comes(house, "site/pub/yard")
    comes(house, "site/view/guard")
    tracks = [{"id": "v", "kind": "video", "codec": "VP8"}, {"id": "a", "kind": "audio", "codec": "opus"}]
    north = {"peer": "north", "room": "site/gate", "since": SINCE, "tracks": tracks}
    yard = {"peer": "yard", "since": SINCE, "tracks": tracks}
    assert house.state("site") == {
        "v": 2,
        "live": True,
        "producers": [north, yard],
        "viewers": 1,
        "recording": False,
    }
    del north["room"]
    assert house.state("site/gate")["producers"] == [north]
    assert house.state("site/gate")["viewers"] == house.viewers("site/gate") == 0


def test_a_producer_is_one_whose_media_flows() -> None:
    house = rooms()
    camera = leaf("site/pub/one")
    joined = house.join(camera, since=SINCE)
    assert (joined.rooms, joined.events, house.live("site")) == ({"site"}, [], False)
    first = house.set_tracks(camera, [video()])
    assert first.events == [("site", {"type": "producer_joined", "peer": "one"})]
    assert house.live("site")
    assert house.set_tracks(camera, AV).events == []
    assert house.set_tracks(camera, []).events == [("site", {"type": "producer_left", "peer": "one"})]
    assert not house.live("site")
    assert house.state("site")["producers"] == []


def test_a_camera_changes_the_state_of_every_room_above_a_viewer_that_of_its_own() -> None:
    house = rooms()
    comes(house, "site/gate/pub/one")
    camera, viewer = leaf("site/gate/pub/two"), leaf("site/gate/view/guard")
    assert house.join(camera, since=SINCE).rooms == set()
    assert house.set_tracks(camera, AV).rooms == {"site/gate", "site"}
    assert house.join(viewer, since=SINCE).rooms == {"site/gate"}
    assert house.leave(viewer) == Change(
        rooms={"site/gate"}, events=[("site/gate", {"type": "viewer_left", "peer": "guard"})]
    )


def test_the_same_tracks_again_change_nothing() -> None:
    house = rooms()
    camera = comes(house, "site/pub/one")
    comes(house, "site/view/guard", shows=1)
    assert house.set_tracks(camera, AV) == Change()


def test_a_track_that_changes_codec_is_told_to_those_who_see_it() -> None:
    house = rooms()
    camera = comes(house, "site/pub/one")
    viewer = comes(house, "site/view/guard", shows=1)
    comes(house, "site/view/blind")
    change = house.set_tracks(camera, [video(codec=H264), audio()])
    assert list(change.slots) == [viewer]
    assert (change.slots[viewer], change.rooms) == (house.slots(viewer), {"site"})
    renumbered = [video(codec=replace(H264, payload_type=125)), audio()]
    assert house.set_tracks(camera, renumbered) == Change(), "payload types are a matter of each transport"


def test_a_room_is_known_while_it_or_a_room_below_has_anyone_and_then_forgotten() -> None:
    house = rooms()
    joined = house.join(leaf("a/b/c/view/me"), since=SINCE)
    assert joined.rooms == {"a", "a/b", "a/b/c"} == set(house.rooms())
    left = house.leave(leaf("a/b/c/view/me"))
    assert left.rooms == {"a", "a/b", "a/b/c"}
    assert house.rooms() == []
    assert not house.known("a")
    assert house.state("a") == {"v": 2, "live": False, "producers": [], "viewers": 0, "recording": False}


def test_leaving_twice_changes_nothing_more() -> None:
    house = rooms()
    member = comes(house, "hall/join/one", shows=1)
    left = house.leave(member)
    assert [event["type"] for _, event in left.events] == ["producer_left", "viewer_left"]
    assert house.leave(member) == Change()


def test_a_leaf_is_in_once() -> None:
    house = rooms()
    member = comes(house, "hall/join/one")
    with pytest.raises(ValueError, match="has a session already"):
        house.join(member, since=SINCE)


def test_limits_refuse_who_is_one_too_many_and_let_replacements_in() -> None:
    house = rooms(viewers=1, limit=1, producers=1)
    comes(house, "site/view/one")
    comes(house, "site/pub/cam")
    assert refused(house.admit, leaf("site/view/two")) == "limit"
    assert refused(house.admit, leaf("site/pub/two")) == "limit"
    assert refused(house.admit, leaf("site/join/two")) == "limit"
    assert refused(house.admit, leaf("yard/view/one")) == "limit"
    assert house.admit(leaf("site/view/one")) == (leaf("site/view/one"),)
    assert house.admit(leaf("site/pub/cam")) == (leaf("site/pub/cam"),)


def test_rooms_that_only_contain_others_do_not_count_as_rooms() -> None:
    house = rooms(limit=1)
    comes(house, "site/gate/north/pub/cam")
    comes(house, "site/gate/north/view/one")
    assert refused(house.admit, leaf("site/view/one")) == "limit"


def test_the_newest_session_of_a_peer_replaces_the_one_on_its_other_leaf() -> None:
    house = rooms(producers=1)
    comes(house, "hall/pub/phone")
    assert house.admit(leaf("hall/join/phone")) == (leaf("hall/pub/phone"),)
    assert house.admit(leaf("hall/view/phone")) == ()
    assert house.admit(leaf("hall/side/pub/phone")) == ()


@pytest.mark.parametrize("role", ["pub", "join"])
def test_under_reject_who_sends_already_keeps_its_place(role: str) -> None:
    house = rooms(reject=True)
    comes(house, "hall/pub/phone")
    assert refused(house.admit, leaf(f"hall/{role}/phone")) == "producer_exists"
    viewer = comes(house, "hall/view/phone")
    assert house.admit(viewer) == (viewer,), "a page that is loaded again is no rival"


def test_selecting_finds_the_one_peer_of_that_name_below() -> None:
    house = rooms()
    comes(house, "site/pub/one")
    comes(house, "site/gate/pub/two")
    viewer = comes(house, "site/view/guard", shows=1)
    change = house.select(viewer, mid="v1", peer="two")
    assert change.slots == {viewer: house.slots(viewer)}
    assert shown(house, viewer) == ["site/gate/two", "site/gate/two"]
    assert house.select(viewer, mid="v1", peer="two", room="site/gate") == Change()


def test_selecting_is_refused_where_it_can_mean_nothing() -> None:
    house = rooms()
    comes(house, "site/a/pub/cam")
    comes(house, "site/b/pub/cam")
    comes(house, "yard/pub/far")
    member = comes(house, "site/join/me", shows=1)
    for arguments in (
        {"mid": "v9", "peer": "cam", "room": "site/a"},
        {"mid": "v9", "peer": None},
        {"mid": "v1", "peer": "cam"},
        {"mid": "v1", "peer": "far", "room": "yard"},
        {"mid": "v1", "peer": "me", "room": "site"},
        {"mid": "v1", "peer": "not a peer"},
        {"mid": "v1", "peer": "cam", "room": "site/"},
        {"mid": "v1", "peer": "cam", "room": "site/a", "track": "a"},
    ):
        before = house.slots(member)
        assert refused(house.select, member, **arguments) == "bad_request", arguments
        assert house.slots(member) == before


def test_selecting_a_room_says_which_of_two_namesakes_is_meant() -> None:
    house = rooms()
    comes(house, "site/a/pub/cam")
    comes(house, "site/b/pub/cam")
    viewer = comes(house, "site/view/guard", shows=1)
    house.select(viewer, mid="v1", peer="cam", room="site/b")
    assert shown(house, viewer)[0] == "site/b/cam"


def test_a_selected_peer_that_is_not_here_is_away_until_it_comes() -> None:
    house = rooms()
    viewer = comes(house, "site/view/guard", shows=1)
    change = house.select(viewer, mid="v1", peer="late", room="site/gate")
    assert [state.reason for state in change.slots[viewer]] == ["away", "away"]
    comes(house, "site/gate/pub/late")
    assert shown(house, viewer) == ["site/gate/late", "site/gate/late"]


def test_a_track_that_cannot_be_shown_says_why_in_the_state_and_in_an_event() -> None:
    house = rooms()
    camera = comes(house, "site/gate/pub/north")
    trouble = {"v": Trouble("video", "VP8", Problem.NO_KEY_FRAME)}
    change = house.set_tracks(camera, AV, trouble)
    event = {"type": "track_problem", "peer": "north", "track": "v", "problem": "no_key_frame"}
    assert (change.rooms, change.events) == ({"site", "site/gate"}, [("site/gate", event)])
    (entry,) = house.state("site")["producers"]
    assert [track.get("problem") for track in entry["tracks"]] == ["no_key_frame", None]
    assert not house.set_tracks(camera, AV, dict(trouble)).rooms
    change = house.set_tracks(camera, AV)
    assert change.events == [("site/gate", event | {"problem": None})]
    assert "problem" not in house.state("site")["producers"][0]["tracks"][0]


def test_a_peer_without_any_track_that_can_be_shown_is_listed_and_makes_no_room_live() -> None:
    house = rooms()
    camera = leaf("site/gate/pub/north")
    house.join(camera, since=SINCE)
    house.set_tracks(camera, (), {"0": Trouble("video", "unknown", Problem.NO_CODEC)})
    state = house.state("site")
    tracks = [{"id": "0", "kind": "video", "codec": "unknown", "problem": "no_codec"}]
    assert state["producers"] == [{"peer": "north", "room": "site/gate", "since": SINCE, "tracks": tracks}]
    assert (state["live"], house.state("yard")["producers"]) == (False, [])
    change = house.leave(camera)
    assert change.events[0][1]["problem"] is None
    assert house.state("site")["producers"] == []
