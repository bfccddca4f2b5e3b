"""The console script `recorder` as a shell sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recorder.store.directory import DAMAGED, Store
from tests.helpers.recordings import START_US, complaints, record

SECOND = 1_000_000


def run(*arguments: object, store: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recorder", *map(str, arguments)]
    environment = {**os.environ, "SFU_RECORDING__DIR": str(store)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("library"))
    for start in (0, 60):
        record(store, room="site/gate", start_us=START_US + start * SECOND)
    record(store, room="yard", peer="a", audio=False)
    record(store, room="yard", peer="b", audio=False)
    return store


def test_list_prints_for_people_and_for_programs(library: Store) -> None:
    rows = run("list", store=library.directory).stdout.splitlines()
    assert [row.split()[:2] for row in rows[1:]] == [["site/gate", "cam"], ["yard", "a"], ["yard", "b"]]
    spans = run(
        "list", "site", "--from", "2026-03-04T05:06:00Z", "--to", "2026-03-04T05:08:00Z", store=library.directory
    )
    assert [("gap" in row) for row in spans.stdout.splitlines()[1:]] == [True, False, True, False, True]
    printed = json.loads(
        run("list", "site", "--json", "--from", "2026-03-04T05:06:00Z", store=library.directory).stdout
    )
    (listing,) = printed["recordings"]
    assert [Path(segment["path"]).is_file() for segment in listing["segments"]] == [True, True]
    assert listing["segments"][0]["start"] == "2026-03-04T05:06:07.891Z"
    nothing = run("list", "nowhere", store=library.directory)
    assert (nothing.returncode, nothing.stdout) == (0, "")


def test_export_writes_one_file(library: Store, tmp_path: Path) -> None:
    edges = ("--from", "2026-03-04T05:06:09Z", "--to", "2026-03-04T05:07:09Z")
    done = run("export", "site/gate", *edges, "-o", tmp_path / "clip.mp4", store=library.directory)
    assert done.returncode == 0
    assert done.stdout.strip() == str(tmp_path / "clip.mp4")
    assert "at 0:00:03: 2026-03-04T05:07:07.8" in done.stderr
    assert complaints(tmp_path / "clip.mp4") == ""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("yard", "--from", "05:06", "--to", "now"), 2, "yard has a, b"),
        (("nowhere", "--from", "-10m", "--to", "now"), 1, "nothing of nowhere"),
        (("site/gate/cam", "--from", "-10m", "--to", "now"), 2, "write `recorder export site/gate --peer cam`"),
        (("site/gate", "--from", "-10m", "--to", "now"), 1, "nothing of site/gate/cam"),
        (("site/gate", "--from", "now", "--to", "-10m"), 2, "not after"),
        (("site/gate", "--from", "noon", "--to", "now"), 2, "'noon' is not a time"),
        (("site/gate", "--to", "now"), 2, "--from"),
    ],
)
def test_export_says_why_not(library: Store, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = run("export", *arguments, "-o", tmp_path / "clip.mp4", store=library.directory)
    assert done.returncode == code
    assert words in done.stderr
    assert not (tmp_path / "clip.mp4").exists()


def test_repair_cuts_torn_files(tmp_path: Path) -> None:
    store = Store(tmp_path)
    torn, broken = record(store), record(store, peer="broken")
    os.truncate(torn.path, torn.path.stat().st_size - 100)
    broken.path.write_bytes(b"nonsense")
    done = run("repair", store=tmp_path)
    assert done.returncode == 0
    assert "bytes cut off" in done.stdout
    assert f"moved to {tmp_path / DAMAGED}" in done.stdout
    assert complaints(torn.path) == ""
    again = run("repair", store=tmp_path)
    assert (again.returncode, again.stdout) == (0, "")


def test_a_missing_directory_is_a_failure(tmp_path: Path) -> None:
    done = run("list", store=tmp_path / "nowhere")
    assert done.returncode == 1
    assert "no directory" in done.stderr
