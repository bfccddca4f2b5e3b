"""`sfu acl`: the rules alone on stdout, for accounts that are not mistaken for each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sfu.access.users import COST, Users
from sfu.cli import app


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A state directory with one user."""
    monkeypatch.setenv("SFU_STATE", str(tmp_path))
    monkeypatch.setitem(COST, "n", 2)
    Users(tmp_path).add("ann", "correct horse", ("view",), ("hall",))
    return tmp_path


def acl(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["acl", *arguments])


def test_the_rules_of_all_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFU_BROKER", "mqtt://server:secret@broker.lan")
    monkeypatch.setenv("SFU_BASE", "home/sfu")
    result = acl("--camera", "frontdoor/cam-1", "--camera", "site/gate/cam-2")
    assert result.exit_code == 0
    assert [line for line in result.stdout.splitlines() if line.startswith("user")] == [
        "user server",
        "user cam-1",
        "user cam-2",
        "user ann",
    ]
    assert "topic readwrite home/sfu/site/gate/pub/cam-2" in result.stdout
    assert result.stderr == "accounts to make at the broker: server, cam-1, cam-2, ann\n"
    assert "secret" not in result.output


def test_the_other_form() -> None:
    result = acl("--for", "emqx")
    assert '{allow, {username, "ann"}, all, ["sfu/hall/view/+"]}.' in result.stdout
    assert acl("--for", "other").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--camera", "cam-1"), "write ROOM/ID, e.g. frontdoor/cam-1"),
        (("--camera", "a/state/cam-1"), "write ROOM/ID"),
        (("--camera", "a/c m"), "write ROOM/ID"),
        (("--camera", "hall/ann"), "ann: the server, each camera and each user need an account of their own"),
        (("--camera", "hall/sfu"), "sfu: the server"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], text: str) -> None:
    result = acl(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert text in result.stderr


def test_a_damaged_file_of_users_says_so(directory: Path) -> None:
    (directory / "users.json").write_text("{")
    result = acl()
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is damaged" in result.stderr
