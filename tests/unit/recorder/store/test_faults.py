"""One broken file or folder costs nobody else anything: lists, repair, playback, pictures, clips and clean-up go on."""

from __future__ import annotations

import functools
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.playback.export import ExportError
from recorder.playback.listing import Listing
from recorder.playback.queries import Playback
from recorder.segments.outputs import MuxError
from recorder.store.directory import INDEX, Segment, Store
from recorder.store.file_layout import MAX_FILE_US
from recorder.store.index import Index, layout_of
from recorder.store.reader import Reader, ReadError
from recorder.store.scratch import SCRATCH
from recorder.upkeep.cleaner import Cleaner, Policy, StorageLimits
from recorder.upkeep.repair import repair
from tests.helpers.recordings import START_US, record

DAY_US = 86_400_000_000
_CODECS: list[str | None] = ["H264", "H265", "VP8", "VP9", "AV1", None]
_MARKS = [b"moov", b"moof", b"mdat", b"tfhd", b"tfdt", b"trun", b"traf", b"mdhd", b"tkhd", b"trex", b"mvex", b"mfra",
          b"hdlr", b"stsd", b"mfhd", b"\x1f\x43\xb6\x75", b"\x18\x53\x80\x67", b"\x2a\xd7\xb1", b"\x16\x54\xae\x6b",
          b"\x15\x49\xa9\x66", b"\xe7", b"\xa3"]  # fmt: skip
_MUCH_S = 20.0


@functools.cache
def _recorded(codec: str | None) -> tuple[str, bytes]:
    """Returns the suffix and the bytes of a recording of four seconds."""
    with tempfile.TemporaryDirectory() as directory:
        path = record(Store(Path(directory)), codec=codec).path
        return path.suffix, path.read_bytes()


@functools.cache
def _sound() -> bytes:
    return _recorded("H264")[1]


_AT_MARK = st.tuples(st.sampled_from(_MARKS), st.integers(0, 5), st.integers(-8, 24), st.binary(min_size=1, max_size=9))
_ANYWHERE = st.tuples(st.just(b""), st.integers(0, 1 << 20), st.just(0), st.binary(min_size=1, max_size=40))
_DAMAGE = st.lists(_AT_MARK | _ANYWHERE, min_size=1, max_size=4)
_CUTS = st.tuples(st.integers(0, 1 << 20), st.integers(0, 3000), st.sampled_from(["keep", "zero", "remove", "repeat"]))


def _damaged(data: bytes, places: list[tuple[bytes, int, int, bytes]], cut: tuple[int, int, str]) -> bytes:
    for mark, number, shift, value in places:
        at = number % len(data)
        if mark:
            at = -1
            for _ in range(number + 1):
                at = data.find(mark, at + 1)
            at = max(0, at + shift)
        data = (data[:at] + value + data[at + len(value) :])[: len(data)]
    at, size, how = cut[0] % len(data), cut[1], cut[2]
    middle = {"keep": data[at : at + size], "zero": bytes(size), "remove": b"", "repeat": data[at : at + size] * 2}
    return data[:at] + middle[how] + data[at + size :]


def _put(store: Store, room: str, suffix: str, data: bytes, start_us: int = START_US) -> Segment:
    segment = store.new(room, "cam", start_us, suffix)
    segment.path.parent.mkdir(parents=True, exist_ok=True)
    segment.path.write_bytes(data)
    return segment


def _listed(playback: Playback, room: str) -> Listing:
    listing = playback.listing(room, "cam", None, None)
    assert listing is not None
    json.dumps(listing.json(lambda entry: {"url": entry.name}))
    return listing


def _use(store: Store, broken: Segment) -> None:
    """Does with a broken recording all that people and the server do; none of it may raise anything unexpected."""
    playback = Playback(store)
    for since_us in (START_US, START_US + 1_500_000):
        playback.thumbnail(broken.room, "cam", since_us, 160)
        playback.playlist(broken.room, "cam", since_us, since_us + DAY_US, url=str, now_us=START_US, webm=True)
    try:
        with Reader(broken.path, 1_000_000) as reader:
            assert all(abs(packet.pts_us) < MAX_FILE_US + 60_000_000 for packet in reader.packets())
    except ReadError:
        pass
    try:
        path = broken.path.with_name("clip")
        playback.write_clip(path, broken.room, "cam", START_US, START_US + DAY_US)
        assert path.stat().st_size < 4 * broken.path.stat().st_size + 100_000
    except (ExportError, MuxError, OSError):
        pass


@pytest.mark.parametrize("codec", _CODECS)
@given(places=_DAMAGE, cut=_CUTS)
def test_a_damaged_file_costs_its_neighbour_nothing(
    codec: str | None, places: list[tuple[bytes, int, int, bytes]], cut: tuple[int, int, str]
) -> None:
    suffix, data = _recorded(codec)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory))
        broken, sound = (
            _put(store, "broken", suffix, _damaged(data, places, cut)),
            _put(store, "hall", ".mp4", _sound()),
        )
        for _ in range(2):
            playback = Playback(store)
            assert "hall" in [entry.json()["room"] for entry in playback.overview()]
            assert [entry.span.size for entry in _listed(playback, "hall").entries] == [len(_sound())]
            if broken.path.exists():
                _listed(playback, "broken")
                _use(store, broken)
            assert not [done for done in repair(store, Index(store)) if done.path == sound.path or done.error]
        if broken.path.exists():
            assert layout_of(broken.path).end == broken.path.stat().st_size
        assert sound.path.read_bytes() == _sound()
    assert time.monotonic() - begun < _MUCH_S


def test_a_time_far_in_the_future_ends_the_file_before_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    data = _sound()
    at = data.rindex(b"tfdt") + 8
    for number, byte in enumerate((b"\x40", b"\xff", b"\x80", b"\x00\x00\x01")):
        broken = _put(store, f"room{number}", ".mp4", data[:at] + byte + data[at + len(byte) :])
        assert len(layout_of(broken.path).parts) == 3
        assert layout_of(broken.path).duration_us < 4_000_000
    _put(store, "hall", ".mp4", data)
    assert len(Playback(store).overview()) == 5
    done = list(repair(store, Index(store)))
    assert len(done) == 4
    assert len(Playback(store).overview()) == 5


def test_folders_and_files_that_only_look_like_ours_are_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    sound = _put(store, "hall", ".mp4", _sound())
    cam, day = sound.path.parents[1], sound.path.parent
    for name in ("2026-13-45", "0000-01-01", "9999-12-31", "2026-02-30"):
        (cam / name).mkdir()
        (cam / name / "05-06-07.891Z.mp4").write_bytes(_sound())
    (day / "24-00-00.000Z.mp4").write_bytes(_sound())
    (day / "10-00-00.000Z.mp4").mkdir()
    os.mkfifo(day / "11-00-00.000Z.mp4")
    (day / "12-00-00.000Z.mp4").symlink_to("/dev/zero")
    (day / "13-00-00.000Z.mp4").symlink_to("13-00-00.000Z.mp4")
    (cam / "2026-03-05").symlink_to(day)
    (tmp_path / "=FF").mkdir()
    (tmp_path / "=FF/cam/2026-03-04").mkdir(parents=True)
    (tmp_path / os.fsdecode(b"\xff\xfe") / "cam/2026-03-04").mkdir(parents=True)
    (cam / "2026-03-06").write_text("a file where a day should be")
    (tmp_path / SCRATCH / "folder").mkdir(parents=True)
    os.mkfifo(tmp_path / SCRATCH / "pipe.mp4")
    deep = tmp_path.joinpath(*["d"] * 200, "2026-03-04")  # deeper than any room
    deep.mkdir(parents=True)
    (deep / "05-06-07.891Z.mp4").write_bytes(_sound())
    assert [entry.room for entry in Playback(store).overview()] == ["hall"]
    assert [entry.span.segment.path for entry in _listed(Playback(store), "hall").entries] == [sound.path]
    assert [segment.path for segment in store.walk()] == [sound.path]
    assert list(repair(store, Index(store))) == []
    cleaner = Cleaner(store, Policy(StorageLimits(age=1.0)), free_bytes=lambda _: 1)
    assert [one.segment.path for one in cleaner.clean(START_US + 400 * DAY_US)] == [sound.path]


@pytest.mark.parametrize(
    "index",
    [b"[" * 100_000, b'{"a": 1}', b'{"05-06-07.891Z.mp4": [1, 2, 1e400]}', b"\xff", b"{" + b'"a":{' * 50_000,
     b'{"05-06-07.891Z.mp4": [%d, %d, 99999999999999999999999999]}', b'{"05-06-07.891Z.mp4": [%d, %d, -5]}',
     b'{"%s": [1, 2, 3]}' % (b"x" * 5000)],
)  # fmt: skip
def test_any_index_file_is_read_as_nothing(index: bytes, tmp_path: Path) -> None:
    store = Store(tmp_path)
    sound = _put(store, "hall", ".mp4", _sound())
    status = sound.path.stat()
    known = index % (status.st_size, status.st_mtime_ns) if index.count(b"%d") == 2 else index
    (sound.path.parent / INDEX).write_bytes(known)
    (overview,) = Playback(store).overview()
    assert overview.end_us == START_US + layout_of(sound.path).duration_us
    assert list(repair(store, Index(store))) == []


def test_an_index_that_is_a_folder_or_a_pipe_is_no_index(tmp_path: Path) -> None:
    store = Store(tmp_path)
    sound = _put(store, "hall", ".mp4", _sound())
    other = _put(store, "yard", ".mp4", _sound())
    (sound.path.parent / INDEX).mkdir()
    os.mkfifo(other.path.parent / INDEX)
    assert [entry.room for entry in Playback(store).overview()] == ["hall", "yard"]
    assert list(repair(store, Index(store))) == []


def test_what_cannot_be_read_is_counted_and_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    locked, _ = _put(store, "locked", ".mp4", _sound()), _put(store, "hall", ".mp4", _sound())
    real = Path.open

    def refusing(path: Path, *args: Any, **options: Any) -> Any:
        if path == locked.path:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "open", refusing)
    playback = Playback(store)
    for _ in range(3):
        assert [entry.room for entry in playback.overview()] == ["hall"]
        assert _listed(playback, "locked").entries == ()
    assert [done.error is not None for done in repair(store, Index(store))] == [True]
    assert store.faults.count == 1
    assert sum("left out" in line for line in caplog.messages) == 1


def test_a_bug_with_one_producer_leaves_the_list_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    _put(store, "broken", ".mp4", _sound())
    _put(store, "hall", ".mp4", _sound())
    real = Store.days
    monkeypatch.setattr(Store, "days", lambda self, room, peer: 1 // 0 if room == "broken" else real(self, room, peer))
    assert [entry.room for entry in Playback(store).overview()] == ["hall"]
    assert store.faults.count == 1
