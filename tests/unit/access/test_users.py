"""Users: passwords, stamps, and a file that no writer and no damage takes away."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sfu.access.rights import Right
from sfu.access.users import COST, Users, UsersError

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real cost is 0.2 s each; `test_unknown_names_take_as_long` has it."""
    monkeypatch.setitem(COST, "n", 2)


def test_a_user_logs_in_with_the_password_alone(tmp_path: Path) -> None:
    users = Users(tmp_path / "state")
    users.add("ann", PASSWORD, ("record",), ("site", "hall"))
    for known in (users, Users(tmp_path / "state")):
        ann = known.verify("ann", PASSWORD)
        assert ann is not None
        assert (ann.name, ann.rooms) == ("ann", ("site", "hall"))
        assert ann.can == {Right.VIEW, Right.PLAYBACK, Right.RECORD}
        assert PASSWORD not in repr(ann)
        assert repr(ann.hash) not in repr(ann)
        for name, password in (("ann", "wrong"), ("ann", ""), ("Ann", PASSWORD), ("nobody", PASSWORD), ("", "")):
            assert known.verify(name, password) is None
    assert (tmp_path / "state" / "users.json").stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in (tmp_path / "state" / "users.json").read_text()


def test_the_stamp_changes_with_all_that_ends_sessions(tmp_path: Path) -> None:
    users = Users(tmp_path)
    stamps = set()
    for roles, rooms in ((("view",), ("a",)), (("view",), ("b",)), (("record",), ("a",)), (("view",), ("a",))):
        users.add("ann", PASSWORD, roles, rooms)
        stamps.add(users.stamp("ann"))
        users.remove("ann")
        assert users.stamp("ann") is None
    users.add("ann", PASSWORD, ("view",), ("a",))
    before = users.stamp("ann")
    users.change_password("ann", PASSWORD)
    assert users.stamp("ann") != before
    assert len({*stamps, before, users.stamp("ann")}) == 6
    assert users.verify("ann", PASSWORD) is not None


def test_a_server_notices_what_a_command_changes(tmp_path: Path) -> None:
    server, command = Users(tmp_path), Users(tmp_path)
    command.add("ann", PASSWORD, ("view",), ("*",))
    server.refresh()
    assert server.verify("ann", PASSWORD)
    command.change_password("ann", "another one")
    server.refresh()
    assert not server.verify("ann", PASSWORD)
    command.remove("ann")
    server.refresh()
    assert list(server) == []


def test_writers_lose_nothing_of_each_other(tmp_path: Path) -> None:
    def run(writer: int) -> None:
        own = Users(tmp_path)
        for number in range(5):
            own.add(f"user-{writer}-{number}", PASSWORD, ("view",), ("*",))

    threads = [threading.Thread(target=run, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(Users(tmp_path))) == 20


@pytest.mark.parametrize(
    ("name", "password", "roles", "rooms", "text"),
    [
        ("a b", PASSWORD, ("view",), ("*",), "no name"),
        ("ann--x", PASSWORD, ("view",), ("*",), "no name"),
        ("ann", "short", ("view",), ("*",), "at least 8 characters"),
        ("ann", PASSWORD, ("fly",), ("*",), "there are view"),
        ("ann", PASSWORD, ("view",), ("a/state",), "no room"),
        ("ann", PASSWORD, ("view",), ("+",), "no room"),
        ("ann", PASSWORD, ("view",), tuple(f"r{n}" for n in range(33)), "too many rooms"),
        ("ann", PASSWORD, ("view",), ("a" * 60,) * 7, "too many rooms"),
    ],
)
def test_a_user_that_cannot_be(
    tmp_path: Path, name: str, password: str, roles: tuple[str, ...], rooms: tuple[str, ...], text: str
) -> None:
    with pytest.raises(UsersError, match=text):
        Users(tmp_path).add(name, password, roles, rooms)
    assert list(Users(tmp_path)) == []


def test_changes_of_users_that_are_not_there_or_there_already(tmp_path: Path) -> None:
    users = Users(tmp_path)
    users.add("ann", PASSWORD, ("view",), ("*",))
    stamp = users.stamp("ann")
    with pytest.raises(UsersError, match="there is a user ann: `sfu user passwd ann`"):
        users.add("ann", "another one", ("admin",), ("*",))
    with pytest.raises(UsersError, match="there is no user bob"):
        users.remove("bob")
    with pytest.raises(UsersError, match="there is no user bob"):
        users.change_password("bob", PASSWORD)
    assert users.stamp("ann") == Users(tmp_path).stamp("ann") == stamp


def written(**changes: Any) -> bytes:
    user = {"salt": "AAAA", "scrypt": "AAAA", "roles": ["view"], "rooms": ["*"]} | changes
    name = user.pop("name", "ann")
    return json.dumps({"v": 1, "users": {name: user}}).encode()


DAMAGES = [
    b"",
    b"{",
    b"[]",
    b"7",
    b"\xff",
    b'{"v":1}',
    b'{"users":[]}',
    b'{"users":{"ann":7}}',
    b"[" * 100_000,
    written(salt="?"),
    written(salt=None),
    written(roles="view"),
    written(roles=["fly"]),
    written(roles=[["view"]]),
    written(rooms="*"),
    written(rooms=["#"]),
    written(rooms=[7]),
    written(rooms=None),
    written(name="a b"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_never_replaced(tmp_path: Path, damage: bytes) -> None:
    running = Users(tmp_path)
    running.add("ann", PASSWORD, ("view",), ("*",))
    path = tmp_path / "users.json"
    path.write_bytes(damage)
    with pytest.raises(UsersError, match="is damaged: restore it, or remove it"):
        Users(tmp_path)
    running.refresh()
    assert running.verify("ann", PASSWORD), "a running server keeps what it knows"
    with pytest.raises(UsersError, match="is damaged"):
        running.add("bob", PASSWORD, ("view",), ("*",))
    assert path.read_bytes() == damage


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    users = Users(tmp_path)
    (tmp_path / "users.lock").mkdir()
    with pytest.raises(UsersError, match=r"users\.json: Is a directory"):
        users.add("ann", PASSWORD, ("view",), ("*",))


def test_unknown_names_take_as_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COST, "n", 1 << 14)
    users = Users(tmp_path)
    users.add("ann", PASSWORD, ("view",), ("*",))

    def cpu_s(name: str) -> float:
        before = time.thread_time()
        users.verify(name, "wrong password")
        return time.thread_time() - before

    known, unknown = (min(cpu_s(name) for _ in range(5)) for name in ("ann", "bob"))
    assert 0.7 < unknown / known < 1.4
