from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from recorder.store import index as indexes
from recorder.store.directory import DAMAGED, INDEX, SCRATCH, Segment, Store
from recorder.store.index import Index
from recorder.upkeep.repair import Repaired, repair
from tests.helpers.recordings import START_US, complaints, record, units


def _repair(store: Store) -> list[Repaired]:
    return sorted(repair(store, Index(store)), key=lambda done: done.path)


def _cut(segment: Segment, size: int) -> None:
    os.truncate(segment.path, size)


@pytest.mark.parametrize("codec", ["H264", "VP8", None])
def test_torn_tails_are_cut_at_the_last_whole_part(codec: str | None, tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store, codec=codec)
    data = segment.path.read_bytes()
    parts = indexes.layout_of(segment.path).parts
    for number, part in enumerate(parts[1:4], 1):
        for size in (part.offset + 1, part.offset + 60, part.offset + part.size // 2, part.offset + part.size - 1):
            segment.path.write_bytes(data[:size])
            assert _repair(store) == [Repaired(segment.path, cut=size - part.offset)]
            assert segment.path.stat().st_size == part.offset
            assert complaints(segment.path) == ""
            assert indexes.layout_of(segment.path).duration_us == parts[number - 1].end_us


def test_the_second_time_nothing_is_done(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store)
    whole = record(store, peer="other")
    _cut(segment, segment.path.stat().st_size - 5000)
    assert [done.path for done in _repair(store)] == [segment.path]
    before = {path: path.stat().st_mtime_ns for path in (segment.path, whole.path)}
    assert _repair(store) == []
    (segment.path.parent / INDEX).unlink()
    assert _repair(store) == []
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize("left", [0, 1, 700, 5000])
@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_unplayable_files_are_moved_aside(codec: str, left: int, tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store, codec=codec)
    _cut(segment, left)
    data = segment.path.read_bytes()
    (done,) = _repair(store)
    assert done.aside == tmp_path / DAMAGED / segment.path.relative_to(tmp_path)
    assert done.aside.read_bytes() == data
    assert not segment.path.exists()
    assert list(store.walk()) == []
    assert _repair(store) == []


def test_two_of_one_name_are_both_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for content in (b"first", b"second"):
        path = store.new("a", "b", START_US, ".mp4").path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        _repair(store)
    assert sorted(path.read_bytes() for path in (tmp_path / DAMAGED).rglob("*.mp4*")) == [b"first", b"second"]


def test_a_file_being_written_is_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store)
    _cut(segment, 5000)
    with segment.path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert _repair(store) == []
        assert segment.path.stat().st_size == 5000
    assert len(_repair(store)) == 1


def test_garbage_in_the_middle_costs_what_follows_and_no_more(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store)
    third = indexes.layout_of(segment.path).parts[2]
    with segment.path.open("r+b") as file:
        file.seek(third.offset)
        file.write(bytes(third.size))
    (done,) = _repair(store)
    assert done.cut > third.size
    assert segment.path.stat().st_size == third.offset
    assert done.aside is not None
    assert done.aside.stat().st_size == done.cut
    assert complaints(segment.path) == ""


def test_a_torn_file_that_was_listed_first_is_repaired_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store)
    _cut(segment, segment.path.stat().st_size - 5000)
    index = Index(store)
    assert index.span(segment) is not None
    index.save()
    assert [done.path for done in _repair(store)] == [segment.path]


def test_other_files_are_nobodys_business(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store)
    notes = segment.path.parent / "notes.txt"
    notes.write_text("ours")
    assert _repair(store) == []
    assert notes.read_text() == "ours"


def test_half_made_copies_go(tmp_path: Path) -> None:
    (tmp_path / SCRATCH).mkdir()
    (tmp_path / SCRATCH / "copy.mp4").write_bytes(b"half")
    assert _repair(Store(tmp_path)) == []
    assert list((tmp_path / SCRATCH).iterdir()) == []


def test_a_refusal_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = record(store), record(store, peer="other")
    for segment in (first, second):
        _cut(segment, 300)
    (tmp_path / DAMAGED / "yard").mkdir(parents=True)
    (tmp_path / DAMAGED / "yard/cam").touch()
    done = _repair(store)
    assert [one.path for one in done] == [first.path, second.path]
    assert done[0].error is not None
    assert first.path.exists()
    assert done[1].aside is not None


def test_a_store_that_is_not_there_needs_no_repair(tmp_path: Path) -> None:
    assert _repair(Store(tmp_path / "nowhere")) == []


def test_many_whole_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    segment = record(store, sequence=units("H264"))
    for shift in range(1, 5):
        copy = store.new("yard", "cam", START_US + shift * 4_000_000, ".mp4")
        shutil.copy2(segment.path, copy.path)
    assert _repair(store) == []
    opened: list[Path] = []
    monkeypatch.setattr(indexes, "layout_of", lambda path, faults: opened.append(path))
    monkeypatch.setattr("recorder.upkeep.repair.layout_in", lambda file, suffix: opened.append(file))
    assert _repair(store) == []
    assert opened == []
