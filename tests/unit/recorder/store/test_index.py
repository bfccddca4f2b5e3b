from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recorder.store import index as indexes
from recorder.store.directory import INDEX, Segment, Store
from recorder.store.faults import Faults
from recorder.store.file_layout import LOST, FileLayout
from recorder.store.index import Index, LayoutCache, layout_in, layout_of
from tests.helpers.recordings import START_US, record, units

SECOND = 1_000_000


def _copies(store: Store, starts: list[int]) -> None:
    """Segments of 4 s that start at these seconds after START_US."""
    first = record(store)
    original = first.path.with_suffix(".kept")
    first.path.rename(original)
    for start in starts:
        segment = store.new("yard", "cam", START_US + start * SECOND, ".mp4")
        segment.path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(original, segment.path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    starts=st.lists(st.integers(0, 60), max_size=6, unique=True),
    edges=st.tuples(st.integers(-10, 90), st.integers(-10, 90)),
)
def test_spans_agree_with_a_model(
    starts: list[int], edges: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Segments of one producer do not overlap; what of them lies in a span is found, and nothing else."""
    alone = [start for start in sorted(starts) if not any(0 < start - other < 5 for other in starts)]
    store = Store(tmp_path_factory.mktemp("spans"))
    _copies(store, alone)
    since, until = (START_US + edge * SECOND for edge in sorted(edges))
    found = Index(store).spans("yard", "cam", since, until)
    ends = {START_US + start * SECOND: START_US + start * SECOND + 4_013_500 for start in alone}
    assert [(span.start_us, span.end_us) for span in found] == [
        (start, end) for start, end in sorted(ends.items()) if start < until and end > since and since < until
    ]


def test_a_second_look_opens_nothing_and_the_index_may_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    _copies(store, [0, 10, 20])
    index = Index(store)
    first = index.spans("yard", "cam", 0, START_US + 60 * SECOND)
    index.save()
    opened: list[Path] = []
    real = indexes.layout_of

    def noting(path: Path, faults: Faults) -> FileLayout:
        opened.append(path)
        return real(path, faults)

    monkeypatch.setattr(indexes, "layout_of", noting)
    assert Index(store).spans("yard", "cam", 0, START_US + 60 * SECOND) == first
    assert opened == []
    for path in tmp_path.rglob(INDEX):
        path.unlink()
    assert Index(store).spans("yard", "cam", 0, START_US + 60 * SECOND) == first
    assert len(opened) == 3


def test_a_file_that_grew_is_looked_at_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store)
    data = segment.path.read_bytes()
    second = indexes.layout_of(segment.path).parts[1]
    os.truncate(segment.path, second.offset)
    index = Index(store)
    short = index.span(segment)
    segment.path.write_bytes(data)
    long = index.span(segment)
    assert short is not None
    assert long is not None
    assert long.end_us - short.end_us == pytest.approx(3 * SECOND, abs=50_000)
    assert long.size == len(data)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"05-06-07.891Z.mp4": 3}', b'{"05-06-07.891Z.mp4": [1, 2, "x"]}']
)
def test_a_damaged_index_is_as_good_as_none(content: bytes, tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store)
    (segment.path.parent / INDEX).write_bytes(content)
    span = Index(store).span(segment)
    assert span is not None
    assert span.end_us == START_US + 4_013_500


def test_what_does_not_play_has_no_span(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store)
    segment.path.write_bytes(b"nonsense")
    index = Index(store)
    assert index.span(segment) is None
    assert not index.known_whole(segment)
    segment.path.unlink()
    assert index.span(segment) is None
    assert not index.known_whole(segment)


def test_what_is_gone_leaves_the_index(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = record(store), record(store, start_us=START_US + 10 * SECOND)
    index = Index(store)
    index.spans("yard", "cam", 0, START_US + 60 * SECOND)
    first.path.unlink()
    index.save()
    saved = (second.path.parent / INDEX).read_text()
    assert second.path.name in saved
    assert first.path.name not in saved


def test_webm_has_spans_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store, sequence=units("VP8"), codec="VP8")
    span = Index(store).span(segment)
    assert span is not None
    assert span.end_us - span.start_us == pytest.approx(4 * SECOND, abs=50_000)


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


def test_only_added_bytes_are_read(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    data = segment.path.read_bytes()
    third = layout_of(segment.path).parts[2]
    os.truncate(segment.path, third.offset)
    known: list[FileLayout] = []

    def noting(file: BinaryIO, suffix: str, before: FileLayout) -> FileLayout:
        known.append(before)
        return layout_in(file, suffix, before)

    monkeypatch.setattr(indexes, "layout_in", noting)
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


def test_the_layout_cache_is_bounded(tmp_path: Path) -> None:
    store = Store(tmp_path)
    paths = [record(store, peer=peer).path for peer in "abc"]
    found = LayoutCache(capacity=2)
    first = found.of(paths[0])
    for path in paths[1:]:
        found.of(path)
    assert found.of(paths[0]) == first
    assert found.of(paths[0]) is not first


def test_a_recording_that_runs_beneath_one_of_the_future_is_found(tmp_path: Path) -> None:
    """The clock was an hour ahead for a moment: an hour later, true recordings surround those of then."""
    store = Store(tmp_path)
    true = record(store, start_us=START_US)
    short = [unit for unit in units("H264") if unit.pts_us < 1_200_000]
    ahead = record(store, start_us=START_US + SECOND, sequence=short)
    spans = Index(store).spans("yard", "cam", START_US + 3 * SECOND, START_US + 4 * SECOND)
    assert [span.segment for span in spans] == [true]
    both = Index(store).spans("yard", "cam", START_US + SECOND, START_US + 2 * SECOND)
    assert [span.segment for span in both] == [true, ahead]
