"""The keeper: what it does with recordings that are there already, in its own thread, and what it tells."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recorder.store.directory import Segment, Store
from recorder.store.index import layout_of
from recorder.upkeep.cleaner import Cleaner, Deletion, Policy, StorageLimits
from recorder.upkeep.keeper import Keeper
from tests.helpers.recordings import START_US, complaints, record


@contextmanager
def keeping(
    store: Store, cleaner: Cleaner, deletions: list[Deletion], *, progressive: bool = False
) -> Iterator[Keeper]:
    keeper = Keeper(store, cleaner, progressive=progressive, on_deletion=deletions.append, clean_interval_s=0.01)
    keeper.start()
    try:
        yield keeper
    finally:
        assert keeper.close(10.0)


def wait(until: float, done: object) -> None:
    assert callable(done)
    while not done():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_it_begins_with_the_repair_and_goes_on_with_the_clean_up(tmp_path: Path) -> None:
    store = Store(tmp_path)
    now_us = time.time_ns() // 1000
    old = record(store, start_us=now_us - 26 * 3_600_000_000)  # it was changed later: it counts as a day long
    torn = record(store, start_us=now_us - 60_000_000)
    with torn.path.open("ab") as file:
        file.write(b"\0\0\1\0moof" + bytes(20))
    deletions: list[Deletion] = []
    cleaner = Cleaner(store, Policy(StorageLimits(age=3_600)))
    deadline = time.monotonic() + 10
    with keeping(store, cleaner, deletions) as keeper:
        wait(deadline, lambda: deletions)
        wait(deadline, lambda: complaints(torn.path) == "")
        assert [one.segment.path for one in deletions] == [old.path]
        assert keeper.deleted["age"] == 1
    assert not old.path.exists()


def test_a_full_disk_takes_the_oldest(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = record(store), record(store, start_us=START_US + 60_000_000)
    free = [first.path.stat().st_size]
    deletions: list[Deletion] = []
    with keeping(store, Cleaner(store, Policy(), free_bytes=lambda _: 10_000_000 - free[0]), deletions) as keeper:
        keeper.make_room()
        wait(time.monotonic() + 10, lambda: deletions)
    assert [one.segment.path for one in deletions] == [first.path]
    assert second.path.exists()


def test_finished_segments_become_progressive_if_that_is_wanted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plain, progressive = record(store), record(store, start_us=START_US + 60_000_000)
    cleaner = Cleaner(store, Policy())
    with keeping(store, cleaner, []) as keeper:
        keeper.finished(plain, plain.start_us + 4_000_000)
    with keeping(store, cleaner, [], progressive=True) as keeper:
        keeper.finished(progressive, progressive.start_us + 4_000_000)
        wait(time.monotonic() + 10, lambda: layout_of(progressive.path).indexed)
    assert not layout_of(plain.path).indexed
    assert complaints(progressive.path) == ""


def test_a_clock_far_ahead_deletes_nothing_by_age_and_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The clock is not touched here: the recordings lie as far back as they would seem to."""
    store = Store(tmp_path)
    old = record(store, start_us=time.time_ns() // 1000 - 400 * 86_400_000_000)
    deletions: list[Deletion] = []
    left: list[int] = []

    def free(_: Path) -> int:
        left.append(1)
        return 1 << 40

    cleaner = Cleaner(store, Policy(StorageLimits(age=86_400 * 30)), free_bytes=free)
    with keeping(store, cleaner, deletions) as keeper:
        wait(time.monotonic() + 10, lambda: len(left) > 5)
        assert keeper.doubt is not None
    assert deletions == []
    assert old.path.exists()
    assert sum("nothing is deleted by age" in line for line in caplog.messages) == 1


def test_a_full_disk_takes_the_oldest_whatever_the_clock_says(tmp_path: Path) -> None:
    store = Store(tmp_path)
    months_us = 400 * 86_400_000_000
    first, second = (
        record(store, start_us=START_US - months_us),
        record(store, start_us=START_US - months_us + 60_000_000),
    )
    size = first.path.stat().st_size
    deletions: list[Deletion] = []
    cleaner = Cleaner(store, Policy(StorageLimits(age=60)), free_bytes=lambda _: 10_000_000 - size)
    with keeping(store, cleaner, deletions) as keeper:
        keeper.make_room()
        wait(time.monotonic() + 10, lambda: deletions)
    assert [(one.segment.path, one.reason) for one in deletions] == [(first.path, "free")]
    assert second.path.exists()


def test_recordings_of_today_get_new_names_when_the_clock_is_set(tmp_path: Path) -> None:
    store = Store(tmp_path)
    now_us = time.time_ns() // 1000
    ahead_us = [3_600_000_000]
    kept, protected = (
        record(store, start_us=now_us + ahead_us[0]),
        record(store, peer="b", start_us=now_us + ahead_us[0]),
    )
    protected.protect(True)
    moves: list[tuple[Segment, Segment, int]] = []

    def clocks() -> tuple[int, int]:
        steady_us = time.monotonic_ns() // 1000
        return steady_us, now_us + 4_000_000 + ahead_us[0]

    keeper = Keeper(
        store,
        Cleaner(store, Policy()),
        progressive=False,
        on_deletion=lambda _: None,
        on_move=lambda *move: moves.append(move),
        clocks=clocks,
    )
    keeper.start()
    for segment in (kept, protected):
        keeper.finished(segment, segment.start_us + 4_000_000)
    ahead_us[0] = 0
    wait(time.monotonic() + 10, lambda: len(moves) == 2)
    assert keeper.close(10.0)
    found = sorted(store.walk(), key=lambda segment: segment.peer)
    assert [segment.peer for segment in found] == ["b", "cam"]
    assert all(abs(segment.start_us - now_us) < 2_000_000 for segment in found)
    assert [segment.protected for segment in found] == [True, False]
    assert [after for _, after, _ in sorted(moves, key=lambda move: move[1].peer)] == found
    assert len([path for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".mp4"]) == 2
    assert all(complaints(segment.path) == "" for segment in found)
