"""Revoked tokens: no revocation is lost, to other writers, damage or a restart; expired ones are dropped."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import pytest

from sfu.access.revoked import Revoked
from tests.helpers.clock import FakeTime

NOW = 1_796_000_000.0


def revoked(directory: Path, now: float = NOW) -> Revoked:
    return Revoked(directory, lambda: now)


def test_a_revocation_outlives_a_restart(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    first = revoked(directory)
    assert "a" not in first
    assert first.add("a", NOW + 10.2)
    assert not first.add("a", NOW + 10.2)
    assert first.add("b", math.inf)
    assert "a" in first
    again = revoked(directory)
    assert "a" in again
    assert "b" in again
    assert not again.add("b", NOW)
    assert (directory / "revoked").stat().st_mode & 0o777 == 0o600
    assert {path.name for path in directory.iterdir()} == {"revoked", "revoked.lock"}


def test_a_server_notices_what_a_command_revokes(tmp_path: Path) -> None:
    server, command = revoked(tmp_path), revoked(tmp_path)
    for name in ("a", "b", "c"):
        command.add(name, NOW + 10)
        assert name not in server
        server.refresh()
        assert name in server


def test_of_two_that_redeem_one_link_one_is_first(tmp_path: Path) -> None:
    first: list[bool] = []
    start = threading.Barrier(8)

    def run() -> None:
        own = revoked(tmp_path)
        start.wait()
        first.append(own.add("link", NOW + 900))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(first) == [False] * 7 + [True]


def test_writers_lose_nothing_of_each_other(tmp_path: Path) -> None:
    def run(writer: int) -> None:
        own = revoked(tmp_path)
        for number in range(10):
            own.add(f"{writer}-{number}", NOW + 10)

    threads = [threading.Thread(target=run, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = revoked(tmp_path)
    assert all(f"{writer}-{number}" in last for writer in range(4) for number in range(10))


def test_the_file_grows_no_longer_than_tokens_live(tmp_path: Path) -> None:
    clock = FakeTime(NOW)
    kept = Revoked(tmp_path, clock)
    kept.add("by-id", math.inf)
    for number in range(50):
        kept.add(f"{number}", clock.now + 10)
        clock.now += 1
    lines = (tmp_path / "revoked").read_text().splitlines()
    assert len(lines) < 15
    assert lines[0] == "by-id"
    clock.now += 100
    kept.add("last", clock.now + 10)
    assert (tmp_path / "revoked").read_text().split() == ["by-id", "last", f"{clock.now + 10:.0f}"]
    kept.refresh()
    assert "by-id" in kept


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe 12\n",
        b"a b c\n",
        b"\n\n \n",
        b"half a li",
        "no-time ²\n".encode(),
        b"no-time nan\n",
        b"no-time -1\n",
        b"no-time " + b"9" * 5000 + b"\n",
        b"\0\0\0\0",
    ],
)
def test_a_damaged_line_costs_no_other(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "revoked").write_bytes(f"a {NOW + 10:.0f}\n".encode() + damage)
    kept = revoked(tmp_path)
    assert "a" in kept
    assert kept.add("b", NOW + 10)
    again = revoked(tmp_path)
    assert {"a", "b"} <= {name for name in ("a", "b") if name in again}
    if damage.startswith(b"no-time"):
        assert "no-time" in again


def test_what_is_known_stays_while_the_file_cannot_be_read(tmp_path: Path) -> None:
    kept = revoked(tmp_path)
    kept.add("a", NOW + 10)
    path = tmp_path / "revoked"
    path.unlink()
    kept.refresh()
    path.mkdir()
    kept.refresh()
    assert "a" in kept
    with pytest.raises(OSError, match="directory"):
        kept.add("b", NOW + 10)
    assert "b" not in kept


@pytest.mark.parametrize("name", ["", " ", "a b", "a\n", "a\nb 1", "\0", "é", "x" * 82])
def test_no_id_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no id"):
        revoked(tmp_path).add(name, NOW + 10)
    assert not (tmp_path / "revoked").exists()
