"""The audit log: one line of JSON for each event, whatever the fields have in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sfu.access.audit import AuditLog
from sfu.access.rights import Claims
from tests.helpers.clock import FakeTime

CLAIMS = Claims("ann", ("*",), frozenset(), 2e9, "k3J9x_Qa")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def test_a_line_has_time_event_person_and_fields(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    audit = AuditLog(path, lambda: 1_796_000_000.5)
    audit("login", CLAIMS, address="127.0.0.1", room=None)
    audit("refused", status=404)
    assert lines(path) == [
        {"at": "2026-11-30T00:53:20.500Z", "event": "login", "sub": "ann", "jti": "k3J9x_Qa", "address": "127.0.0.1"},
        {"at": "2026-11-30T00:53:20.500Z", "event": "refused", "status": 404},
    ]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["a\nb", '"}\n{"event":"login"', "\r\n\0\x1b[2J", "é\u2028\u2029", "\udcff", "x" * 10_000]
)
def test_no_text_makes_a_line_of_its_own(tmp_path: Path, text: str) -> None:
    path = tmp_path / "audit.log"
    AuditLog(path, FakeTime(0.0))("refused", address=text)
    (line,) = lines(path)
    assert line["event"] == "refused"
    assert line["address"] == text[:200]
    assert path.read_bytes().count(b"\n") == 1
    assert b"\x1b" not in path.read_bytes()


def test_a_flood_is_counted_and_does_not_fill_the_disk(tmp_path: Path) -> None:
    path, clock = tmp_path / "audit.log", FakeTime(0.0)
    audit = AuditLog(path, clock)
    for _ in range(5000):
        audit("refused")
        clock.now += 0.001
    assert len(lines(path)) == 600
    clock.now += 60
    audit("login")
    audit("logout")
    assert [line.get("left_out") for line in lines(path)[-2:]] == [4400, None]


def test_a_file_that_cannot_be_written_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        AuditLog(tmp_path / "none" / "audit.log", FakeTime(0.0))
    with pytest.raises(OSError, match="directory"):
        AuditLog(tmp_path, FakeTime(0.0))


def test_later_lines_that_cannot_be_written_are_counted_and_disturb_nobody(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    directory.mkdir()
    path = directory / "audit.log"
    audit = AuditLog(path, FakeTime(0.0))
    path.unlink()
    directory.rmdir()
    audit("login")
    audit("login")
    directory.mkdir()
    audit("logout")
    assert lines(path) == [{"at": "1970-01-01T00:00:00.000Z", "event": "logout", "left_out": 2}]


def test_a_log_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    audit = AuditLog(path, FakeTime(0.0))
    audit("login")
    path.rename(tmp_path / "audit.log.1")
    audit("logout")
    assert [line["event"] for line in lines(path)] == ["logout"]


def test_without_a_file_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    AuditLog(None, FakeTime(0.0))("login", CLAIMS)
    assert json.loads(capsys.readouterr().err)["sub"] == "ann"
