"""Retained messages about rooms: their content, and when they are cleared."""

from __future__ import annotations

from typing import Any

from sfu.clients.frames import VP8
from sfu.rooms.publication import OFFLINE_S, Publication
from sfu.rooms.room import RoomLimits, Rooms
from sfu.rooms.senders import Track
from sfu.signaling.topics import Leaf, Topics

NOW = "2026-01-01T00:00:00.000Z"


class Board:
    """An `Outbox` that remembers what is retained."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Any] | None] = {}

    def signal(self, leaf: Leaf, payload: bytes) -> None: ...
    def event(self, room: str, payload: bytes) -> None: ...

    def room_state(self, room: str, state: dict[str, Any] | None) -> None:
        self.states[room] = state

    @property
    def told(self) -> dict[str, bool]:
        return {room: state["live"] for room, state in self.states.items() if state is not None}


def visit(rooms: Rooms, publication: Publication, text: str, at: float = 1.0) -> None:
    """Somebody comes, sends if it may, and leaves again."""
    leaf = Leaf.parse(text)
    publication.note(rooms.join(leaf, since=NOW))
    if "/pub/" in text:
        publication.note(rooms.set_tracks(leaf, [Track("0", VP8)]))
    publication.publish(at)
    publication.note(rooms.leave(leaf))
    publication.publish(at)


def setting(**options: Any) -> tuple[Rooms, Board, Publication]:
    rooms, board = Rooms(RoomLimits(viewers_per_room=10, rooms=10, producers_per_room=10)), Board()
    return rooms, board, Publication(rooms, board, **options)


def test_a_room_that_had_a_camera_stays_told_of_as_offline_and_others_leave_no_trace() -> None:
    rooms, board, publication = setting()
    visit(rooms, publication, "front/pub/cam1")
    visit(rooms, publication, "hall/view/anna")
    assert board.told == {"front": False}
    assert "hall" in board.states
    assert [publication.produced(room) for room in ("front", "hall")] == [True, False]


def test_of_rooms_that_are_gone_the_oldest_are_forgotten_first_and_live_ones_never() -> None:
    rooms, board, publication = setting(offline=3)
    leaf = Leaf.parse("live/pub/cam1")
    publication.note(rooms.join(leaf, since=NOW))
    publication.note(rooms.set_tracks(leaf, [Track("0", VP8)]))
    publication.publish(1.0)
    for number in range(50):
        visit(rooms, publication, f"room{number}/pub/cam1")
    assert board.told == {"live": True, "room47": False, "room48": False, "room49": False}


def test_a_room_that_is_empty_for_a_day_leaves_no_trace() -> None:
    rooms, board, publication = setting()
    visit(rooms, publication, "old/pub/cam1", at=100.0)
    visit(rooms, publication, "used/pub/cam1", at=100.0)
    publication.recall("recalled")
    publication.publish(100.0)
    publication.note(rooms.join(Leaf.parse("watched/pub/cam1"), since=NOW))
    publication.note(rooms.set_tracks(Leaf.parse("watched/pub/cam1"), [Track("0", VP8)]))
    publication.publish(100.0)
    visit(rooms, publication, "used/view/anna", at=50_000.0)
    publication.publish(100.0 + OFFLINE_S - 1)
    assert set(board.told) == {"old", "used", "recalled", "watched"}
    publication.publish(100.0 + OFFLINE_S + 60)
    assert board.told == {"used": False, "watched": True}
    publication.publish(50_000.0 + OFFLINE_S + 60)
    assert board.told == {"watched": True}
    publication.note(rooms.leave(Leaf.parse("watched/pub/cam1")))
    publication.publish(200_000.0)
    assert board.told == {"watched": False}
    publication.publish(200_000.0 + OFFLINE_S + 60)
    assert not board.told


def test_a_state_that_another_server_left_is_corrected() -> None:
    _, board, publication = setting(offline=2)
    for room in ("a", "b", "c"):
        publication.recall(room)
    publication.publish(1.0)
    assert len(board.told) == 2
    assert not any(board.told.values())
    assert set(board.states) == {"a", "b", "c"}


def test_the_state_of_a_room_is_told_from_every_other_topic() -> None:
    topics = Topics("home/sfu")
    assert topics.room_of_state("home/sfu/front/state") == "front"
    assert topics.room_of_state("home/sfu/a/b/c/d/state") == "a/b/c/d"
    for word in ("recordings/state", "availability", "viewers", "snapshot/url"):
        assert topics.room_of_state(f"home/sfu/a/b/c/d/{word}") == "a/b/c/d"
    for topic in (
        topics.bridge_state,
        "home/sfu/front/pub/state",  # a camera with that name
        topics.bridge_info,
        "home/sfu/front/pub/availability",
        "home/sfu/front/snapshot",
        "home/sfu/state",
        "front/state",
    ):
        assert topics.room_of_state(topic) is None, topic
    assert len(topics.own_state()) == 6 + 3 * 4 + 1
