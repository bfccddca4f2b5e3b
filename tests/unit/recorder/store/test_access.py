"""The modes of all files that the recorder makes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder.store.directory import Store
from recorder.store.index import Index
from recorder.upkeep.progressive import make_progressive
from recorder.upkeep.repair import repair
from tests.helpers.recordings import START_US, record


@pytest.fixture(params=[0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_other_accounts_read_nothing_of_what_the_recorder_makes(umask: int, tmp_path: Path) -> None:
    store = Store(tmp_path / "new/recordings")
    record(store).protect(True)
    make_progressive(store, record(store, start_us=START_US + 60_000_000))
    torn = record(store, peer="torn")
    part = torn.path.read_bytes()
    torn.path.write_bytes(part[:-5000] + bytes(100) + part[-5000:])  # damage inside: what follows is moved aside
    lost = record(store, peer="lost")
    os.truncate(lost.path, 100)
    assert len(list(repair(store, Index(store)))) == 2
    made = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    names = {path.name for path in made}
    assert {".index.json", ".damaged", ".scratch", "05-06-07.891Z.mp4.protected"} <= names
    for path in made:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o750 if path.is_dir() else 0o640) & ~umask, path


def test_files_that_exist_keep_their_modes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store)
    segment.path.chmod(0o664)
    make_progressive(store, segment)
    assert list(repair(store, Index(store))) == []
    assert stat.S_IMODE(segment.path.stat().st_mode) == 0o664
