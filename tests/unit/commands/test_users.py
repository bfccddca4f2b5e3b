"""`sfu user`: people come and go; no password is an argument or is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sfu.access.users import COST, Users
from sfu.cli import app

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The state directory of a machine on which no server has run; hashes are cheap."""
    monkeypatch.setenv("SFU_STATE", str(tmp_path / "state"))
    monkeypatch.setitem(COST, "n", 2)
    return tmp_path / "state"


def user(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(app, ["user", *arguments], input=given)


def added(name: str, *options: str, password: str = PASSWORD) -> Result:
    return user("add", name, "--password-stdin", *options, given=f"{password}\n")


def test_a_user_is_added_listed_changed_and_removed(directory: Path) -> None:
    assert added("ann").stdout == "ann may log in: playback in all rooms\n"
    result = added("bob", "--role", "view", "--role", "record", "--room", "hall", "--room", "site/gate")
    assert result.stdout == "bob may log in: view, record in hall, site/gate\n"
    assert Users(directory).verify("ann", PASSWORD)
    listed = user("list")
    assert listed.stdout == "ann  playback in all rooms\nbob  view, record in hall, site/gate\n"
    assert user("passwd", "ann", "--password-stdin", given="another one\n").exit_code == 0
    assert Users(directory).verify("ann", "another one")
    assert user("remove", "ann").exit_code == 0
    assert [each.name for each in Users(directory)] == ["bob"]
    assert PASSWORD not in result.output + listed.output


def test_nobody_is_there_yet(directory: Path) -> None:
    result = user("list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "add one with sfu user add NAME" in result.stderr
    assert str(directory) in result.stderr


@pytest.mark.parametrize(
    ("name", "options", "password", "code", "text"),
    [
        ("a b", (), PASSWORD, 2, "can be no name"),
        ("owner", (), PASSWORD, 2, "can be no name"),
        ("ann", ("--role", "fly"), PASSWORD, 2, "there are view, playback"),
        ("ann", ("--room", "a/state"), PASSWORD, 2, "state has a meaning of its own"),
        ("ann", (), "short", 1, "at least 8 characters"),
        ("ann", (), "", 1, "at least 8 characters"),
        ("ann", tuple(word for n in range(33) for word in ("--room", f"r{n}")), PASSWORD, 1, "too many rooms"),
    ],
)
def test_who_cannot_be_is_refused(
    directory: Path, name: str, options: tuple[str, ...], password: str, code: int, text: str
) -> None:
    result = added(name, *options, password=password)
    assert result.exit_code == code
    assert text in result.stderr
    assert result.stdout == ""
    assert list(Users(directory)) == []


def test_a_name_that_is_taken_or_unknown() -> None:
    added("ann")
    taken = added("ann")
    assert taken.exit_code == 2
    assert "`sfu user passwd ann` changes the password" in taken.stderr
    for arguments in (("remove", "bob"), ("passwd", "bob", "--password-stdin")):
        result = user(*arguments, given=f"{PASSWORD}\n")
        assert result.exit_code == 1
        assert "there is no user bob" in result.stderr


def test_without_a_terminal_a_password_is_not_waited_for() -> None:
    result = user("add", "ann")
    assert result.exit_code == 2
    assert "use --password-stdin" in result.stderr


def test_a_password_is_no_argument() -> None:
    assert user("add", "ann", PASSWORD).exit_code == 2
    assert user("add", "ann", "--password", PASSWORD).exit_code == 2


def test_a_damaged_file_is_left_as_it_is(directory: Path) -> None:
    directory.mkdir()
    (directory / "users.json").write_text("{")
    for result in (user("list"), added("ann"), user("remove", "ann")):
        assert result.exit_code == 1
        assert "users.json is damaged" in result.stderr
    assert (directory / "users.json").read_text() == "{"


def test_the_audit_log_has_names_and_no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    monkeypatch.setenv("SFU_ACCESS__AUDIT", str(path))
    added("ann", "--room", "hall")
    user("passwd", "ann", "--password-stdin", given=f"{PASSWORD}2\n")
    user("remove", "ann")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["event"], line["user"]) for line in lines] == [
        ("user_added", "ann"),
        ("user_changed", "ann"),
        ("user_removed", "ann"),
    ]
    assert PASSWORD not in path.read_text()
