"""The board: who gets what, now and when they come."""

from __future__ import annotations

from sfu.http.door.board import Board


class Reader:
    """A reader who knows some rooms."""

    def __init__(self, *rooms: str) -> None:
        self.rooms = rooms
        self.got: list[tuple[str, bytes, int, bool]] = []

    def knows(self, room: str) -> bool:
        return not self.rooms or room in self.rooms

    def deliver(self, topic: str, payload: bytes, qos: int, *, retained: bool) -> None:
        self.got.append((topic, payload, qos, retained))


def test_what_is_retained_comes_at_once_and_what_changes_later() -> None:
    board, reader = Board("home/sfu"), Reader()
    board.retain("home/sfu/hall/state", b"1", "hall")
    board.subscribe(reader, "home/sfu/+/state", 1)
    board.retain("home/sfu/hall/state", b"1", "hall")
    board.retain("home/sfu/hall/state", b"2", "hall")
    board.retain("home/sfu/hall/east/state", b"3", "hall/east")
    board.retain("home/sfu/hall/state", None, "hall")
    board.retain("home/sfu/hall/state", None, "hall")
    board.retain("home/sfu/bridge/state", b"online")
    assert reader.got == [
        ("home/sfu/hall/state", b"1", 1, True),
        ("home/sfu/hall/state", b"2", 1, False),
        ("home/sfu/hall/state", b"", 1, False),
        ("home/sfu/bridge/state", b"online", 1, False),
    ]
    late = Reader()
    board.subscribe(late, "home/sfu/+/+/state", 0)
    assert late.got == [("home/sfu/hall/east/state", b"3", 0, True)]


def test_foreign_rooms_stay_unknown() -> None:
    board, reader = Board("sfu"), Reader("hall")
    board.retain("sfu/yard/state", b"1", "yard")
    board.subscribe(reader, "sfu/+/state", 1)
    board.retain("sfu/yard/state", b"2", "yard")
    board.say("sfu/yard/event", b"3", "yard")
    assert reader.got == []


def test_two_filters_bring_one_message() -> None:
    board, reader = Board("sfu"), Reader()
    board.subscribe(reader, "sfu/+/state", 0)
    board.subscribe(reader, "sfu/hall/state", 1)
    board.retain("sfu/hall/state", b"1", "hall")
    assert reader.got == [("sfu/hall/state", b"1", 1, False)]
    board.unsubscribe(reader, "sfu/hall/state")
    board.unsubscribe(reader, "sfu/+/state")
    board.unsubscribe(reader, "sfu/+/state")
    board.say("sfu/hall/state", b"2", "hall")
    assert len(reader.got) == 1


def test_a_legacy_topic_outside_the_base_is_said_to_its_readers() -> None:
    board, reader = Board("sfu"), Reader()
    board.subscribe(reader, "old/camera", 0)
    board.say("old/camera", b"answer")
    assert [topic for topic, *_ in reader.got] == ["old/camera"]
