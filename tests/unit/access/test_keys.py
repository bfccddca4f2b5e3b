"""The key's file: made once, private, and never made over another one."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from sfu.access.keys import file_of, kept_key, kept_or_new_key, new_key, read_key


def test_the_first_start_makes_a_key_and_the_next_finds_it(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "state"
    assert kept_key(directory) is None
    key = kept_or_new_key(directory)
    assert len(key) == 32
    assert kept_or_new_key(directory) == kept_key(directory) == key
    assert file_of(directory).stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in directory.iterdir()] == ["access.key"]


def test_servers_that_start_together_have_one_key(tmp_path: Path) -> None:
    keys: list[bytes] = []
    start = threading.Barrier(8)

    def run() -> None:
        start.wait()
        keys.append(kept_or_new_key(tmp_path))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len({*keys, kept_key(tmp_path)}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["access.key"]


@pytest.mark.parametrize("octets", [b"", b"\n", b"short", b"\xff" * 50, b"A" * 40, b"!" * 43, b"A" * 43 + b"\0"])
def test_a_damaged_file_is_no_key_and_is_not_replaced(tmp_path: Path, octets: bytes) -> None:
    file_of(tmp_path).write_bytes(octets)
    for read in (kept_key, kept_or_new_key):
        with pytest.raises(ValueError, match=str(file_of(tmp_path))) as error:
            read(tmp_path)
        assert "AAAA" not in str(error.value)
    assert file_of(tmp_path).read_bytes() == octets


def test_a_directory_in_the_place_of_the_key(tmp_path: Path) -> None:
    file_of(tmp_path).mkdir()
    with pytest.raises(ValueError, match=r"access\.key: Is a directory"):
        kept_key(tmp_path)


def test_a_file_in_the_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    assert kept_key(tmp_path / "state") is None
    with pytest.raises(OSError, match="exists"):
        kept_or_new_key(tmp_path / "state")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads and writes everything")
def test_what_another_user_keeps(tmp_path: Path) -> None:
    kept_or_new_key(tmp_path)
    file_of(tmp_path).chmod(0)
    assert kept_key(tmp_path) is None
    with pytest.raises(PermissionError):
        kept_or_new_key(tmp_path)


def test_a_key_as_people_copy_it() -> None:
    text = new_key()
    assert read_key(f"  {text}\n") == read_key(text) == read_key(text + "=")
    assert new_key() != text
    assert len(read_key("A" * 64)) == 48


@pytest.mark.parametrize("text", ["", "A", "A" * 42, "é" * 43, "A B" * 20, "=" * 44])
def test_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="a key is the base64url text of 32 random bytes"):
        read_key(text)
