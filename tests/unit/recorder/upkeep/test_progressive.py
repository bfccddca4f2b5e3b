from __future__ import annotations

import os
from pathlib import Path

import pytest

from recorder.segments.files import unless_written
from recorder.segments.muxer import Muxer
from recorder.segments.writer import SegmentWriter
from recorder.store.directory import Store
from recorder.store.index import Index, layout_of
from recorder.store.scratch import SCRATCH
from recorder.upkeep.progressive import make_progressive
from tests.helpers.recordings import START_US, complaints, probed, record, tracks_of, units


@pytest.mark.parametrize("codec", ["H264", "VP8", None])
def test_the_progressive_form_is_the_same_recording(codec: str | None, tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store, codec=codec)
    if codec == "VP8":  # one that a crash ended: it has no index
        layout = layout_of(segment.path)
        os.truncate(segment.path, layout.parts[-1].offset + layout.parts[-1].size)
    before, stat = probed(segment.path), segment.path.stat()
    assert make_progressive(store, segment)
    assert complaints(segment.path) == ""
    after = probed(segment.path)
    for kind, seen in before.items():
        assert after[kind].times == pytest.approx(seen.times, abs=0.0021)
    assert segment.path.stat().st_mtime_ns == stat.st_mtime_ns
    assert segment.path.stat().st_mode == stat.st_mode
    assert list((tmp_path / SCRATCH).iterdir()) == []
    assert Index(store).span(segment) is not None
    if codec != "VP8":
        kinds = _boxes(segment.path)
        assert kinds.index(b"moov") < kinds.index(b"mdat")
        assert b"moof" not in kinds
    assert not make_progressive(store, segment)


def test_a_segment_being_written_keeps_its_form(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = store.new("yard", "cam", START_US, ".mp4")
    writer = SegmentWriter(segment.path, Muxer(tracks_of("H264"), start_us=START_US, title=""))
    for unit in units("H264"):
        writer.write(unit.kind, unit.pts_us, unit.data, key=unit.key, now=unit.pts_us / 1e6)
    assert not make_progressive(store, segment)
    writer.close()


def test_a_segment_that_went_needs_no_other_form(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store)
    segment.path.unlink()
    assert not make_progressive(store, segment)


def test_nobody_takes_a_segment_while_it_changes_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    segment = record(store)
    busy = []

    def look(path: Path) -> object:
        with unless_written(segment.path) as file:
            busy.append(file is None)
        return layout_of(path)

    monkeypatch.setattr("recorder.upkeep.progressive.layout_of", look)
    assert make_progressive(store, segment)
    assert busy == [True, True]


def _boxes(path: Path) -> list[bytes]:
    data, at, kinds = path.read_bytes(), 0, []
    while at < len(data):
        kinds.append(data[at + 4 : at + 8])
        at += int.from_bytes(data[at : at + 4], "big")
    return kinds


def test_a_finished_webm_needs_no_other_form(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store, codec="VP8")
    assert layout_of(segment.path).indexed
    assert not make_progressive(store, segment)
