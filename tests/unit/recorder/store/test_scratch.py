from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from recorder.store.scratch import SCRATCH, Scratch


def test_a_file_lives_as_long_as_its_block(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "new/store")
    with scratch.file(".clip") as path:
        path.write_bytes(bytes(100_000))
        assert path.parent == tmp_path / "new/store" / SCRATCH
        assert scratch.bytes_on_disk_of(tmp_path) >= 100_000
        scratch.clear_stale()
        assert path.exists(), "it is in use"
    assert list(scratch.directory.iterdir()) == []
    assert scratch.bytes_on_disk_of(tmp_path) == 0
    with pytest.raises(ZeroDivisionError), scratch.file(".clip"):
        raise ZeroDivisionError
    assert list(scratch.directory.iterdir()) == []


def test_what_a_crash_left_is_cleared(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    scratch.clear_stale()
    with scratch.file(".mp4"):
        pass
    (scratch.directory / "left.clip").write_bytes(b"half")
    (scratch.directory / "folder").mkdir()
    scratch.clear_stale()
    assert [path.name for path in scratch.directory.iterdir()] == ["folder"]


def test_a_dropped_file_takes_no_space_though_somebody_reads_it(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    with scratch.file(".clip") as path:
        path.write_bytes(bytes(1_000_000))
        with path.open("rb") as reader:
            scratch.drop()
            assert os.fstat(reader.fileno()).st_blocks == 0
            assert os.fstat(reader.fileno()).st_nlink == 0
            assert reader.read() == b""
    assert list(scratch.directory.iterdir()) == []


def test_a_file_that_was_moved_away_stays(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    with scratch.file(".mp4") as path:
        path.write_bytes(b"a recording in another form")
        path.replace(tmp_path / "recording.mp4")
    assert (tmp_path / "recording.mp4").read_bytes() == b"a recording in another form"


def test_another_disk_is_not_counted() -> None:
    scratch = Scratch(Path("/proc"))
    assert scratch.bytes_on_disk_of(Path("/")) == 0


def test_other_accounts_cannot_read_it(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with Scratch(tmp_path / "store").file(".clip") as path:
            modes = [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent, tmp_path / "store")]
    finally:
        os.umask(before)
    assert modes == [0o640, 0o750, 0o750]
