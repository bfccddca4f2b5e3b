from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from recorder.playback import export as exports
from recorder.playback.export import Clip, ExportError, export
from recorder.playback.space import NoSpaceError, Space
from recorder.segments.muxer import Muxer
from recorder.segments.outputs import MuxError
from recorder.segments.writer import SegmentWriter
from recorder.store.directory import Segment, Store
from recorder.store.index import Index
from recorder.upkeep.progressive import make_progressive
from tests.helpers.recordings import START_US, complaints, probed, record, tracks_of, units

SECOND = 1_000_000


def _export(store: Store, since: float, until: float, target: Path) -> Clip:
    """Exports a span, in seconds after START_US."""
    since_us, until_us = START_US + round(since * SECOND), START_US + round(until * SECOND)
    return export(Index(store), "yard", "cam", target=target, since_us=since_us, until_us=until_us)


def _frames(path: Path) -> list[bytes]:
    """Returns the luminance of each picture."""
    with av.open(str(path)) as container:
        return [bytes(frame.reformat(format="gray").planes[0]) for frame in container.decode(video=0)]


@pytest.mark.parametrize("codec", ["H264", "H265", "VP9", "AV1", "VP8"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_clip_begins_at_the_key_frame_before_and_ends_in_time(codec: str, progressive: bool, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    segment = record(store, codec=codec)
    if progressive:
        assert make_progressive(store, segment) == (codec != "VP8"), "WebM has its index already"
    clip = _export(store, 1.7, 3.3, tmp_path / "clip")
    assert clip.path == tmp_path / f"clip{'.webm' if codec == 'VP8' else '.mp4'}"
    assert complaints(clip.path) == ""
    seen = probed(clip.path)
    assert len(seen["video"].times) == 58  # from 1.00 s to 3.30 s
    assert seen["video"].times[0] == pytest.approx(0, abs=0.002)
    assert _frames(clip.path) == _frames(segment.path)[25:83]
    offset = next(unit.pts_us for unit in units(codec) if unit.kind == "audio" and unit.pts_us >= SECOND) / 1e6 - 1
    assert seen["audio"].times[0] == pytest.approx(offset, abs=0.002)
    (piece,) = clip.pieces
    assert (piece.at_us, piece.start_us) == (0, START_US + SECOND)
    assert piece.duration_us == pytest.approx(2.3 * SECOND, abs=45_000)


def test_a_clip_crosses_segment_borders_and_closes_gaps(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for start in (0, 4, 60):
        record(store, start_us=START_US + start * SECOND)
    clip = _export(store, 2.5, 62, tmp_path / "clip.mp4")
    assert complaints(clip.path) == ""
    times = probed(clip.path)["video"].times
    assert len(times) == 50 + 100 + 50
    assert times == sorted(set(times))
    assert max(after - before for before, after in itertools.pairwise(times)) < 0.08
    assert [(piece.start_us - START_US) / SECOND for piece in clip.pieces] == pytest.approx([2, 60], abs=0.02)
    assert clip.pieces[1].at_us == pytest.approx(6 * SECOND, abs=30_000)
    assert clip.pieces[1].at_us + clip.pieces[1].duration_us == pytest.approx(8 * SECOND, abs=60_000)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(edges=st.tuples(st.integers(-50, 800), st.integers(-50, 800)))
@example(edges=(100, 101))
@example(edges=(200, 201))
def test_every_span_holds_the_frames_of_the_model(edges: tuple[int, int], library: Store, tmp_path: Path) -> None:
    """Segments at 0, 4 and 20 s, in 1/25 s: frames in the span, and back to the key frame before its first.

    The sound of each lasts a third of a frame longer than its 100 frames: a span that begins there is in the segment.
    """
    since, until = sorted(edges)
    recorded = [start + frame for start in (0, 100, 500) for frame in range(100)]
    segment = max((start for start in (0, 100, 500) if start <= since <= start + 100), default=None)
    begun = since if segment is None else min(since, segment + 99) // 25 * 25
    wanted = [frame for frame in recorded if begun <= frame < until] if since < until else []
    try:
        clip = _export(library, since / 25, until / 25, tmp_path / "clip.mp4")
    except ExportError:
        assert not wanted
        return
    assert len(probed(clip.path)["video"].times) == len(wanted)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("library"))
    for start in (0, 4, 20):
        record(store, start_us=START_US + start * SECOND)
    return store


def test_audio_alone_and_audio_that_comes_later(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    record(store, codec=None)
    clip = _export(store, 1, 3, tmp_path / "alone")
    assert complaints(clip.path) == ""
    assert len(probed(clip.path)["audio"].times) == 100
    mixed = Store(tmp_path / "mixed")
    record(mixed, audio=False)
    record(mixed, start_us=START_US + 4 * SECOND)
    clip = _export(mixed, 0, 9, tmp_path / "mixed")
    assert complaints(clip.path) == ""
    seen = probed(clip.path)
    assert len(seen["video"].times) == 200
    assert seen["audio"].times[0] == pytest.approx(4.0135, abs=0.03)


def test_a_recording_that_runs_can_be_exported(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    segment = store.new("yard", "cam", START_US, ".mp4")
    writer = SegmentWriter(segment.path, Muxer(tracks_of("H264"), start_us=START_US, title=""))
    for unit in units("H264"):
        writer.write(unit.kind, unit.pts_us, unit.data, key=unit.key, now=unit.pts_us / 1e6)
    clip = _export(store, 0, 10, tmp_path / "clip")
    assert complaints(clip.path) == ""
    assert len(probed(clip.path)["video"].times) == 75
    writer.close()


def test_an_impossible_clip_is_reported(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(ExportError, match="nothing"):
        _export(store, 0, 10, tmp_path / "clip")
    record(store)
    record(store, start_us=START_US + 10 * SECOND, codec="VP8")
    with pytest.raises(ExportError, match=r"vp8 with 05-06-17\.891Z\.webm"):
        _export(store, 0, 20, tmp_path / "clip")
    assert not list(tmp_path.glob("clip*"))
    assert _export(store, 10, 20, tmp_path / "clip").path.suffix == ".webm"


def test_a_target_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    record(store)
    with pytest.raises(MuxError):
        _export(store, 0, 10, tmp_path / "nowhere/clip.mp4")


def test_a_damaged_segment_is_a_gap(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    record(store)
    broken = record(store, start_us=START_US + 4 * SECOND)
    record(store, start_us=START_US + 8 * SECOND)
    index = Index(store)
    index.spans("yard", "cam", 0, START_US + 20 * SECOND)
    stat = broken.path.stat()
    broken.path.write_bytes(bytes(stat.st_size))
    os.utime(broken.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    clip = export(index, "yard", "cam", since_us=0, until_us=START_US + 20 * SECOND, target=tmp_path / "clip")
    assert complaints(clip.path) == ""
    assert [(piece.start_us - START_US) // SECOND for piece in clip.pieces] == [0, 8]


def test_a_clip_names_its_time(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    segment: Segment = record(store)
    clip = _export(store, 0, 10, tmp_path / "clip")
    tags = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "format_tags", "-of", "csv", clip.path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "2026-03-04T05:06:07.891000Z" in tags.stdout
    assert f"{segment.room}/{segment.peer}" in tags.stdout


def test_a_copy_that_the_disk_has_no_space_for_is_not_begun(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    segment = record(store)
    size = segment.path.stat().st_size
    target = tmp_path / "clip"

    def copy(free: int) -> int:
        space = Space(tmp_path, keep_free=1000, free_bytes=lambda _: free)
        until_us = START_US + 10 * SECOND
        export(
            Index(store), "yard", "cam", since_us=START_US, until_us=until_us, target=target, rename=False, space=space
        )
        return target.stat().st_size

    with pytest.raises(NoSpaceError, match="SFU_RECORDING__SCRATCH"):
        copy(size + 1000)
    assert not target.exists()
    assert copy(size + 1001) <= size


def test_a_copy_ends_when_others_have_taken_the_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "CHECK_EVERY_BYTES", 10_000)
    store = Store(tmp_path / "store")
    record(store)
    free = iter([1_000_000, 500_000, 900])
    space = Space(tmp_path, keep_free=1000, free_bytes=lambda _: next(free))
    with pytest.raises(NoSpaceError):
        export(
            Index(store),
            "yard",
            "cam",
            since_us=START_US,
            until_us=START_US + 10 * SECOND,
            target=tmp_path / "clip",
            space=space,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("codec", ["H264", "VP8"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_clip_is_turned_as_its_recordings_and_none_joins_two_turns(
    codec: str, progressive: bool, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    for number, turn in enumerate([0, 1, 1, 4]):
        segment = record(store, start_us=START_US + 4 * number * SECOND, codec=codec, orientation=turn)
        assert not progressive or make_progressive(store, segment) == (codec != "VP8"), "WebM has its index already"
    clip = _export(store, 4, 11.9, tmp_path / "clip")
    assert len(probed(clip.path)["video"].times) == 198
    with av.open(str(clip.path)) as container:
        assert next(container.decode(video=0)).rotation == -90
    for since in (3, 11):
        with pytest.raises(ExportError, match="turned"):
            _export(store, since, since + 2, tmp_path / "other")
