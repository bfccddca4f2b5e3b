"""The servers of this machine, as its commands find them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sfu.access import served


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LOCALHOST", "localhost.", "::1", "[::1]", "127.0.0.2", "0.0.0.0", "::"]
)
def test_all_names_of_this_machine_mean_the_same(host: str) -> None:
    assert served.place(host, 1883, "sfu") == "127.0.0.1:1883 sfu"


def test_other_hosts_ports_and_bases_are_others() -> None:
    places = {
        served.place(*at) for at in [("a", 1, "sfu"), ("A.", 1, "sfu"), ("a", 2, "sfu"), ("a", 1, "b"), ("b", 1, "sfu")]
    }
    assert len(places) == 4


def test_servers_stand_beside_each_other_and_a_later_start_replaces_its_own_note(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    assert served.asked(directory, "one") is None
    served.note(directory, {"one": "sealed", "page": "tokens"})
    served.note(directory, {"two": "trusted"})
    served.note(directory, {"one": "tokens"})
    assert [served.asked(directory, name) for name in ("one", "two", "page", "three")] == [
        "tokens",
        "trusted",
        "tokens",
        None,
    ]
    assert [path.name for path in directory.glob("*.json*")] == ["leaves.json"]
    assert (directory / "leaves.json").stat().st_mode & 0o777 == 0o600


def test_the_latest_starts_are_kept(tmp_path: Path) -> None:
    for number in range(70):
        served.note(tmp_path, {f"place-{number}": "sealed"})
    assert served.asked(tmp_path, "place-0") is None
    assert served.asked(tmp_path, "place-69") == "sealed"


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"one": 7}', "[" * 100_000, "\udcff"])
def test_a_damaged_file_says_nothing_and_is_written_anew(tmp_path: Path, damage: str) -> None:
    (tmp_path / "leaves.json").write_bytes(damage.encode("utf-8", "surrogateescape"))
    assert served.asked(tmp_path, "one") is None
    served.note(tmp_path, {"one": "sealed"})
    assert served.asked(tmp_path, "one") == "sealed"


def test_servers_that_start_together_lose_no_note(tmp_path: Path) -> None:
    threads = [threading.Thread(target=served.note, args=(tmp_path, {f"p{n}": "sealed"})) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(served.asked(tmp_path, f"p{n}") == "sealed" for n in range(8))
