from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from recorder.store import index as indexes
from recorder.store.directory import DAMAGED, INDEX, Segment, Store
from recorder.store.index import Index
from recorder.store.scratch import SCRATCH
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


@pytest.mark.parametrize("codec", ["H264", "H265", "VP8", "VP9", "AV1", None])
@pytest.mark.parametrize("lost", ["zeros", "head", "first", "two"])
def test_parts_behind_a_damaged_one_are_kept(lost: str, codec: str | None, tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store, codec=codec)
    before = indexes.layout_of(segment.path)
    damaged = before.parts[:1] if lost == "first" else before.parts[1 : 3 if lost == "two" else 2]
    with segment.path.open("r+b") as file:
        for part in damaged:
            file.seek(part.offset)
            file.write(b"\xff" * 30 if lost == "head" else bytes(part.size))
    changed_ns = segment.path.stat().st_mtime_ns
    (done,) = _repair(store)
    assert done == Repaired(segment.path, skipped=sum(part.size for part in damaged))
    assert indexes.layout_of(segment.path).parts == tuple(part for part in before.parts if part not in damaged)
    assert segment.path.stat().st_size == before.end
    assert segment.path.stat().st_mtime_ns == changed_ns  # clean-up takes it for the end of the recording
    assert complaints(segment.path) == ""
    assert _repair(store) == []
    (segment.path.parent / INDEX).unlink()
    assert _repair(store) == []


@pytest.mark.parametrize("codec", ["H264", "H265", "VP8", "VP9", "AV1", None])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("tail", [0, 20_000])
def test_an_end_of_zeros_after_a_power_loss_is_cut_off(
    codec: str | None, share: float, tail: int, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    segment = record(store, codec=codec)
    data, parts = segment.path.read_bytes(), indexes.layout_of(segment.path).parts
    third = parts[2]
    begin = third.offset + int(third.size * share)
    zeros = bytes(third.offset + third.size - begin + tail)
    segment.path.write_bytes(data[:begin] + zeros)
    (done,) = _repair(store)
    assert done == Repaired(segment.path, cut=begin - third.offset + len(zeros))
    assert indexes.layout_of(segment.path).duration_us == parts[1].end_us
    assert complaints(segment.path) == ""
    assert _repair(store) == []


@pytest.mark.parametrize("codec", ["H264", "H265", "VP8", "VP9", "AV1"])
def test_a_lost_sector_costs_its_part_only(codec: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store, codec=codec, audio=False)
    data, before = segment.path.read_bytes(), indexes.layout_of(segment.path)
    parts = before.parts[:4]
    begin = (parts[2].offset + parts[2].size // 2) // 512 * 512
    segment.path.write_bytes(data[:begin] + bytes(512) + data[begin + 512 : parts[-1].offset + parts[-1].size])
    (done,) = _repair(store)
    assert done == Repaired(segment.path, skipped=parts[2].size)
    assert complaints(segment.path) == ""


def test_a_listed_file_that_then_lost_power_is_repaired_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store)
    last = indexes.layout_of(segment.path).parts[-1]
    _cut(segment, last.offset + last.size)
    index = Index(store)
    assert index.span(segment) is not None  # while it grows
    index.save()
    status = segment.path.stat()
    with segment.path.open("r+b") as file:
        file.seek(last.offset + last.size // 2)
        file.write(bytes(last.size // 2 + 1))
        file.truncate(status.st_size)
    os.utime(segment.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert [done.cut for done in _repair(store)] == [last.size]


def test_the_data_of_a_sound_recording_is_never_taken_for_lost(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for codec in ("H264", "H265", "VP8", "VP9", "AV1", None):
        for audio in (True, False) if codec else (True,):
            segment = record(store, peer=f"{codec}-{audio}", codec=codec, audio=audio)
            last = indexes.layout_of(segment.path).parts[-1]
            _cut(segment, last.offset + last.size)  # killed: it was never closed
    assert _repair(store) == []


def test_marks_without_a_whole_part_are_saved_and_cut_off(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store)
    third = indexes.layout_of(segment.path).parts[2]
    rest = bytes(third.size) + b"\0\0\0\x18moof" + b"\xff" * 3000
    segment.path.write_bytes(segment.path.read_bytes()[: third.offset] + rest)
    (done,) = _repair(store)
    assert done.aside is not None
    assert done.cut == len(rest)
    assert done.aside.read_bytes() == rest
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
    monkeypatch.setattr("recorder.upkeep.repair.salvage", lambda read, *rest, **options: opened.append(segment.path))
    assert _repair(store) == []
    assert opened == []
