from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from recorder.store import index
from recorder.store.directory import Segment, Store
from recorder.store.file_layout import LOST, FileLayout
from recorder.store.index import LayoutCache, layout_in, layout_of
from tests.helpers.recorded import record


@pytest.fixture(params=["H264", "VP8", None])
def segment(request: pytest.FixtureRequest, tmp_path: Path) -> Segment:
    return record(Store(tmp_path), codec=request.param)


def test_a_file_that_grows_byte_by_byte_is_known_as_well_as_one_read_at_once(segment: Segment) -> None:
    data = segment.path.read_bytes()
    found = LayoutCache()
    ends = [part.offset + part.size for part in layout_of(segment.path).parts]
    for size in sorted({0, 10, *range(100, len(data), 4999), *ends, *(end - 1 for end in ends), len(data)}):
        segment.path.write_bytes(data[:size])
        assert found.of(segment.path) == layout_of(segment.path), size


def test_only_what_came_is_read(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    data = segment.path.read_bytes()
    third = layout_of(segment.path).parts[2]
    os.truncate(segment.path, third.offset)
    known: list[FileLayout] = []

    def noting(file: BinaryIO, suffix: str, before: FileLayout) -> FileLayout:
        known.append(before)
        return layout_in(file, suffix, before)

    monkeypatch.setattr(index, "layout_in", noting)
    found = LayoutCache()
    two = found.of(segment.path)
    assert found.of(segment.path) is two
    segment.path.write_bytes(data)
    assert len(found.of(segment.path).parts) > 2
    assert known == [LOST, two]


def test_another_file_in_its_place_is_read_anew(segment: Segment, tmp_path: Path) -> None:
    found = LayoutCache()
    assert found.of(segment.path).parts
    other = tmp_path / "other"
    other.write_bytes(b"nonsense" * 100_000)
    other.replace(segment.path)
    assert found.of(segment.path) == LOST
    segment.path.unlink()
    assert found.of(segment.path) == LOST


def test_few_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_MOST", 2)
    store = Store(tmp_path)
    paths = [record(store, peer=peer).path for peer in "abc"]
    found = LayoutCache()
    first = found.of(paths[0])
    for path in paths[1:]:
        found.of(path)
    assert found.of(paths[0]) == first
    assert found.of(paths[0]) is not first
