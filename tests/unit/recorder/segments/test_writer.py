from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recorder.segments.files import DiskFile, being_written, unless_written
from recorder.segments.muxer import Muxer
from recorder.segments.outputs import MuxError
from recorder.segments.writer import SegmentWriter
from recorder.store import mp4, webm
from recorder.store.directory import Store
from recorder.store.index import layout_of
from tests.helpers.recordings import START_US, Unit, complaints, parameters, tracks_of, units


class Volatile:
    """A file layer that remembers what a loss of power would leave."""

    def __init__(self, path: Path) -> None:
        self.written = b""
        self.durable = b""
        self.syncs = 0
        self.closed = False

    def append(self, data: bytes) -> None:
        self.written += data

    def replace_start(self, data: bytes) -> None:
        assert self.durable == self.written, "the header names an index that a loss of power would take"
        self.written = data + self.written[len(data) :]

    def sync(self) -> None:
        self.durable = self.written
        self.syncs += 1

    def close(self) -> None:
        self.closed = True


class Full(DiskFile):
    """A disk that takes three parts, half of the fourth, and no more."""

    room = 3

    def append(self, data: bytes) -> None:
        self.room -= 1
        if self.room < 0:
            limit = os.fstat(self._file).st_size + len(data) // 2
            real, os.write = os.write, lambda file, rest: _write_up_to(real, limit, file, memoryview(rest))
            try:
                super().append(data)
            finally:
                os.write = real
        else:
            super().append(data)


def _write_up_to(real: Callable[[int, memoryview], int], limit: int, file: int, rest: memoryview) -> int:
    left = limit - os.fstat(file).st_size
    if left <= 0:
        raise OSError(28, "No space left on device")
    return real(file, rest[:left])


def _writer(path: Path, *, codec: str | None = "H264", **options: object) -> SegmentWriter:
    return SegmentWriter(path, Muxer(tracks_of(codec), start_us=START_US, title="a/b"), **options)  # type: ignore[arg-type]


def _give(writer: SegmentWriter, sequence: tuple[Unit, ...] | list[Unit]) -> None:
    for unit in sequence:
        writer.write(unit.kind, unit.pts_us, unit.data, key=unit.key, now=100 + unit.pts_us / 1e6)


def test_a_file_appears_with_its_first_part(tmp_path: Path) -> None:
    path = tmp_path / "a/b/file.mp4"
    writer = _writer(path)
    _give(writer, [unit for unit in units("H264") if unit.pts_us < 1_000_000])
    assert not path.exists()
    _give(writer, [unit for unit in units("H264") if 1_000_000 <= unit.pts_us < 1_100_000])
    assert path.stat().st_size == writer.size > 0
    assert complaints(path) == ""
    writer.close()
    writer.close()
    assert path.stat().st_size == writer.size
    assert complaints(path) == ""


def test_a_segment_without_a_unit_leaves_no_file(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "file.mp4")
    writer.sync_if_due(100.0)
    writer.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("codec", "sync_every"), [("H264", 0.0), ("H264", 5.0), ("VP8", 2.0), (None, 2.0), (None, 5.0)]
)
def test_a_loss_of_power_costs_the_interval_at_most(codec: str | None, sync_every: float, tmp_path: Path) -> None:
    """At every moment of 20 s: what was durable plays, and ends no earlier than the interval ago."""
    layers: list[Volatile] = []

    def create(path: Path) -> Volatile:
        layers.append(Volatile(path))
        return layers[0]

    writer = _writer(tmp_path / "file", codec=codec, create=create, sync_every=sync_every)
    suffix = ".webm" if codec == "VP8" else ".mp4"
    checked = kept = 0
    for turn in range(5):
        for unit in units(codec):
            at = unit.pts_us + 4_000_000 * turn
            before = layers[0].durable if layers else b""
            writer.write(unit.kind, at, unit.data, key=unit.key, now=100 + at / 1e6)
            if layers and layers[0].durable != before:
                kept = _duration(layers[0].durable, suffix)
                checked += 1
                if checked <= 6:
                    path = tmp_path / f"left{suffix}"
                    path.write_bytes(layers[0].durable)
                    assert complaints(path) == ""
            assert at - kept <= max(sync_every, 1.1) * 1_000_000
    assert layers[0].syncs <= 1 + (20 / max(1.0, sync_every - 1.2))
    writer.close()
    assert layers[0].closed
    assert layers[0].durable == layers[0].written


def test_silence_makes_durable_what_it_follows(tmp_path: Path) -> None:
    layer = Volatile(tmp_path)
    writer = _writer(tmp_path / "file", create=lambda _: layer)
    _give(writer, units("H264"))
    assert layer.durable != layer.written
    writer.sync_if_due(105.0)
    assert layer.durable == layer.written


def test_a_full_disk_leaves_whole_parts(tmp_path: Path) -> None:
    path = tmp_path / "file.mp4"
    writer = _writer(path, create=Full)
    with pytest.raises(OSError, match="No space left"):
        _give(writer, [*units("H264"), *(unit._replace(pts_us=unit.pts_us + 4_000_000) for unit in units("H264"))])
    writer.close()
    assert layout_of(path).end == path.stat().st_size
    assert layout_of(path).duration_us == pytest.approx(3_000_000, abs=45_000)
    assert complaints(path) == ""


@pytest.mark.parametrize("damage", ["read-only", "gone", "a file"])
def test_a_directory_that_refuses_is_an_os_error(damage: str, tmp_path: Path) -> None:
    directory = tmp_path / "recordings"
    if damage == "a file":
        directory.touch()
    writer = _writer(Path("/proc/nowhere/file.mp4") if damage != "a file" else directory / "file.mp4")
    with pytest.raises(OSError):  # noqa: PT011  # which one is the system's affair
        _give(writer, units("H264"))
    writer.close()


def test_a_refused_unit_leaves_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "file.mp4"
    writer = SegmentWriter(path, Muxer([parameters("H264")], start_us=0, title=""))
    with pytest.raises(MuxError):
        writer.write("video", 0, b"\0\0\1\x41delta", key=False, now=0.0)
    writer.close()
    assert not path.exists()


def test_a_growing_file_is_locked_against_every_process(tmp_path: Path) -> None:
    path = tmp_path / "file.mp4"
    writer = _writer(path)
    _give(writer, units("H264"))
    program = (
        f"from pathlib import Path; from recorder.segments.files import *\nprint(being_written(Path({str(path)!r})))"
    )
    assert being_written(path)
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "True\n"
    with unless_written(path) as file:
        assert file is None
    writer.close()
    assert not being_written(path)
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"
    assert not being_written(tmp_path / "gone")


def test_no_name_is_taken_twice(tmp_path: Path) -> None:
    DiskFile(tmp_path / "a/b/file").close()
    with pytest.raises(FileExistsError):
        DiskFile(tmp_path / "a/b/file")


def test_random_appends_are_one_file(tmp_path: Path) -> None:
    file = DiskFile(tmp_path / "file")
    pieces = [random.Random(size).randbytes(size) for size in range(0, 5000, 499)]
    for piece in pieces:
        file.append(piece)
        file.sync()
    file.close()
    file.close()
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)


def _duration(data: bytes, suffix: str) -> int:
    parse = webm.layout if suffix == ".webm" else mp4.layout
    return parse(lambda at, size: data[at : at + size], len(data)).duration_us


def test_store_and_writer_agree(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = store.new("a", "b", START_US, ".mp4")
    writer = _writer(segment.path)
    _give(writer, units("H264"))
    writer.close()
    assert list(store.walk()) == [segment]


def test_the_header_of_a_finished_webm_is_written_last() -> None:
    made: list[Volatile] = []

    def create(path: Path) -> Volatile:
        made.append(Volatile(path))
        return made[0]

    muxer = Muxer(tracks_of("VP8"), start_us=START_US, title="")
    writer = SegmentWriter(Path("unused.webm"), muxer, create=create, sync_every=1000.0)
    for unit in units("VP8"):
        writer.write(unit.kind, unit.pts_us, unit.data, key=unit.key, now=unit.pts_us / 1e6)
    before = made[0].written
    writer.close()
    assert made[0].durable == made[0].written
    assert made[0].written.startswith(muxer.ending)
    assert not before.startswith(muxer.ending)
    assert len(made[0].written) == writer.size
