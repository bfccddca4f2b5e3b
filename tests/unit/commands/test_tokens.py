"""`sfu token` and `sfu link`: the token alone on stdout, words for people on stderr, and nothing by halves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sfu.access import served
from sfu.access.keys import file_of, kept_key
from sfu.access.revoked import Revoked
from sfu.access.rights import Claims, Right, Use, rights_of
from sfu.access.tokens import Keys, read
from sfu.cli import app


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The state directory of a machine on which no server has run."""
    monkeypatch.setenv("SFU_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def sfu(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(app, arguments, input=given)


def claims_of(result: Result, directory: Path, now: float = 0.0) -> Claims:
    assert result.exit_code == 0, result.output
    key = kept_key(directory)
    assert key is not None
    assert result.stdout.count("\n") == 1, "the token stands alone"
    return read(Keys(key), result.stdout.strip(), now)


def test_a_token_before_the_first_start(directory: Path) -> None:
    result = sfu("token", "frontdoor", "--role", "publish", "--sub", "cam-1", "--ttl", "365d")
    claims = claims_of(result, directory)
    assert (claims.sub, claims.room, claims.use) == ("cam-1", ("frontdoor",), Use.ACCESS)
    assert claims.can == {Right.PUBLISH}
    assert claims.until - claims.since == 365 * 86_400
    assert f"sfu token --revoke {claims.jti}" in result.stderr
    assert "sfu publish frontdoor SOURCE --id cam-1" in result.stderr
    assert result.stdout.strip() not in result.stderr
    assert file_of(directory).stat().st_mode & 0o777 == 0o600


def test_rooms_and_roles_may_be_many(directory: Path) -> None:
    claims = claims_of(sfu("token", "hall", "site/gate", "--role", "playback", "--role", "join"), directory)
    assert claims.room == ("hall", "site/gate")
    assert claims.can == rights_of(["playback", "join"])
    assert claims_of(sfu("token", "*", "--role", "admin"), directory).room == ("*",)


def test_a_camera_without_a_name_gets_one_that_is_said(directory: Path) -> None:
    result = sfu("token", "hall", "--role", "publish")
    claims = claims_of(result, directory)
    assert re.fullmatch(r"publish-[0-9a-f]{6}", claims.sub)
    assert f"--id {claims.sub}" in result.stderr


def test_a_sealed_token(directory: Path) -> None:
    assert claims_of(sfu("token", "hall", "--role", "view", "--sealed"), directory).use is Use.SEALED


def test_where_leaves_are_sealed_a_plain_token_comes_with_advice(directory: Path) -> None:
    served.note(directory, {"broker": "trusted"})
    assert "--sealed" not in sfu("token", "hall", "--role", "view").stderr
    served.note(directory, {"broker": "sealed"})
    assert "make that token with --sealed" in sfu("token", "hall", "--role", "view").stderr
    assert "--sealed" not in sfu("token", "hall", "--role", "view", "--sealed").stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "name a room and a role"),
        (("hall",), "name a room and a role"),
        (("--role", "view"), "name a room and a role"),
        (("hall", "--role", "fly"), "'fly' is no role: there are view, playback"),
        (("a/state", "--role", "view"), "state has a meaning of its own"),
        (("+", "--role", "view"), "* stands for all rooms"),
        (("hall", "--role", "view", "--sub", "a b"), "'a b' is no name"),
        (("hall", "--role", "view", "--sub", "ann--x"), "is no name"),
        (("hall", "--role", "view", "--ttl", "soon"), "--ttl soon: a duration looks like"),
        (("hall", "--role", "view", "--ttl", "0s"), "a token holds for some time"),
        (("hall", "--role", "view", "--ttl", "99999999d"), "before the year 10000"),
        ((*(f"r{n}" for n in range(33)), "--role", "view"), "at most 32 rooms"),
        ((*(f"{n}" + "r" * 60 for n in range(20)), "--role", "view"), "at most 1024 bytes"),
        (("hall", "--revoke", "id"), "--revoke stands alone"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(arguments: tuple[str, ...], text: str) -> None:
    result = sfu("token", *arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stdout == ""


def test_a_token_is_revoked_by_its_id_or_by_itself(directory: Path, tmp_path: Path) -> None:
    tokens = [sfu("token", "hall", "--role", "view").stdout for _ in range(3)]
    ids = [read(Keys(kept_key(directory) or b""), token.strip(), 0.0).jti for token in tokens]
    (tmp_path / "token").write_text(tokens[2])
    results = [
        sfu("token", "--revoke", ids[0]),
        sfu("token", "--revoke", "-", given=tokens[1]),
        sfu("token", "--revoke", f"@{tmp_path / 'token'}"),
    ]
    for result, name in zip(results, ids, strict=True):
        assert result.exit_code == 0
        assert f"{name} is revoked" in result.stderr
        assert name in Revoked(directory)
    assert "was revoked before" in sfu("token", "--revoke", ids[0]).stderr


@pytest.mark.parametrize("text", ["", "a b", "a.b.c", "a\nb", "é", "x" * 65])
def test_nothing_is_revoked_that_is_no_token(directory: Path, text: str) -> None:
    result = sfu("token", "--revoke", "-", given=text)
    assert result.exit_code in (1, 2)
    assert result.stderr
    assert not (directory / "revoked").exists()


def test_a_file_that_is_not_there() -> None:
    result = sfu("token", "--revoke", "@/none")
    assert result.exit_code == 2
    assert "@/none: No such file" in result.stderr


def test_the_audit_log_gets_what_was_minted_and_revoked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SFU_ACCESS__AUDIT", str(tmp_path / "audit.log"))
    token = sfu("token", "hall", "--role", "view", "--sub", "ann").stdout.strip()
    sfu("token", "--revoke", "-", given=token)
    text = (tmp_path / "audit.log").read_text()
    minted, revoked = (json.loads(line) for line in text.splitlines())
    assert (minted["event"], minted["sub"], minted["room"], minted["role"]) == ("minted", "ann", "hall", "view")
    assert (revoked["event"], revoked["jti"]) == ("revoked", minted["jti"])
    assert not any(part in text for part in token.split("."))


def test_an_audit_log_that_cannot_be_written_ends_the_command_before(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    monkeypatch.setenv("SFU_ACCESS__AUDIT", "/none/audit.log")
    for arguments in (("token", "hall", "--role", "view"), ("token", "--revoke", "id"), ("link", "--url", "http://a/")):
        result = sfu(*arguments)
        assert result.exit_code == 2
        assert "access.audit: /none/audit.log" in result.stderr
        assert result.stdout == ""
    assert not (directory / "revoked").exists()


def test_a_damaged_key_says_which_directory_it_is(directory: Path) -> None:
    directory.mkdir()
    file_of(directory).write_text("damaged")
    for arguments in (("token", "hall", "--role", "view"), ("link", "--url", "http://a/")):
        result = sfu(*arguments)
        assert result.exit_code == 2
        assert str(file_of(directory)) in result.stderr
        assert "set SFU_STATE to its directory" in result.stderr


def test_the_key_of_the_settings_signs(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    monkeypatch.setenv("SFU_ACCESS__KEY", "A" * 43)
    token = sfu("token", "hall", "--role", "view").stdout.strip()
    assert read(Keys(bytes(32)), token, 0.0).room == ("hall",)
    assert not file_of(directory).exists()


def test_a_link_opens_the_page_once_with_all_rights(directory: Path) -> None:
    result = sfu("link", "--url", "https://cameras.example.org/sfu")
    page, _, token = result.stdout.strip().partition("login#once=")
    assert page == "https://cameras.example.org/sfu/"
    claims = read(Keys(kept_key(directory) or b""), token, 0.0)
    assert (claims.sub, claims.room, claims.can, claims.use) == ("owner", ("*",), frozenset(Right), Use.ONCE)
    assert 899 <= claims.until - claims.since <= 900


def test_a_link_needs_to_know_the_page(directory: Path) -> None:
    result = sfu("link")
    assert result.exit_code == 2
    assert "name the page's address with --url" in result.stderr
    assert str(directory) in result.stderr
    (directory / "page.url").parent.mkdir(exist_ok=True)
    (directory / "page.url").write_text("http://127.0.0.1:8080/\n")
    assert sfu("link").stdout.startswith("http://127.0.0.1:8080/login#once=")
