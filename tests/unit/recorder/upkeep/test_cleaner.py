from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.segments.muxer import Muxer
from recorder.segments.writer import SegmentWriter
from recorder.store.directory import Segment, Store
from recorder.store.scratch import Scratch
from recorder.upkeep.cleaner import Candidate, Cleaner, DeletionReason, Policy, StorageLimits, choose
from sfu.settings import OnFull
from sfu.signaling.topics import contains
from tests.helpers.recordings import START_US, record, tracks_of, units

AGE, BYTES, FREE = DeletionReason.AGE, DeletionReason.BYTES, DeletionReason.FREE

SECOND = 1_000_000
LIMITS = st.builds(StorageLimits, age=st.none() | st.integers(0, 1000), size=st.none() | st.integers(0, 400))
ROOMS = ["a", "a/b", "a/b/c", "b", "ab"]


def _held(start: int, *, room: str = "a", size: int = 100, protected: bool = False) -> Candidate:
    """Ten seconds from this second on."""
    path = Path(f"/nowhere/{room}/cam/{start:08}.mp4")
    return Candidate(Segment(start * SECOND, room, "cam", path), (start + 10) * SECOND, size, protected)


def _chosen(
    held: list[Candidate], policy: Policy, *, now: int = 1000, free: int = 1000, **more: Callable[[Candidate], bool]
) -> list[tuple[int, DeletionReason]]:
    return [
        (one.segment.start_us // SECOND, reason)
        for one, reason in choose(held, policy, now_us=now * SECOND, free=free, **more)
    ]


def test_without_limits_everything_stays() -> None:
    assert _chosen([_held(0), _held(10)], Policy()) == []


def test_age_counts_from_the_end() -> None:
    held = [_held(start) for start in (0, 10, 20)]
    assert _chosen(held, Policy(StorageLimits(age=970)), now=1000) == [
        (0, AGE),
        (10, AGE),
        (20, AGE),
    ]
    assert _chosen(held, Policy(StorageLimits(age=971)), now=1000) == [
        (0, AGE),
        (10, AGE),
    ]


def test_the_nearest_room_says_how_old_its_recordings_may_become() -> None:
    policy = Policy(
        StorageLimits(age=100),
        {"a": StorageLimits(age=500), "a/b/c": StorageLimits(age=5000), "a/b": StorageLimits(size=10**9)},
    )
    assert [policy.age(room) for room in ROOMS] == [500, 500, 5000, 100, 100]


def test_bytes_bound_a_room_with_its_sub_rooms_and_all() -> None:
    held = [_held(0, room="a"), _held(10, room="a/b"), _held(20, room="ab"), _held(30, room="a")]
    assert _chosen(held, Policy(rooms={"a": StorageLimits(size=200)})) == [(0, BYTES)]
    assert _chosen(held, Policy(rooms={"a/b": StorageLimits(size=0)})) == [(10, BYTES)]
    assert _chosen(held, Policy(StorageLimits(size=250))) == [(0, BYTES), (10, BYTES)]
    assert _chosen(held, Policy(StorageLimits(size=300), {"a": StorageLimits(size=100)})) == [
        (0, BYTES),
        (10, BYTES),
    ]


def test_free_space_is_won_back_oldest_first() -> None:
    held = [_held(start) for start in (20, 0, 10)]
    assert _chosen(held, Policy(free=1150), free=1000) == [(0, FREE), (10, FREE)]
    assert _chosen(held, Policy(free=1000), free=1000) == []


def test_a_policy_that_pauses_on_a_full_disk_deletes_nothing_for_free_space() -> None:
    held = [_held(start) for start in (0, 10, 20)]
    assert _chosen(held, Policy(free=1150, on_full=OnFull.PAUSE), free=1000) == []
    aged = Policy(StorageLimits(age=980), free=1150, on_full=OnFull.PAUSE)
    assert _chosen(held, aged, free=1000) == [(0, AGE), (10, AGE)]


def test_protected_and_growing_ones_stay_and_others_go_for_them() -> None:
    held = [_held(0, protected=True), _held(10), _held(20), _held(30)]

    def growing(one: Candidate) -> bool:
        return one.segment.start_us == 10 * SECOND

    assert _chosen(held, Policy(StorageLimits(size=200)), busy=growing) == [
        (20, BYTES),
        (30, BYTES),
    ]
    assert _chosen(held, Policy(StorageLimits(age=0)), busy=growing) == [
        (20, AGE),
        (30, AGE),
    ]


@given(
    held=st.lists(
        st.builds(
            _held, st.integers(0, 900), room=st.sampled_from(ROOMS), size=st.integers(0, 50), protected=st.booleans()
        ),
        max_size=20,
        unique_by=lambda one: one.segment.path,
    ),
    everything=LIMITS,
    rooms=st.dictionaries(st.sampled_from(ROOMS), LIMITS),
    keep_free=st.integers(0, 1200),
    growing=st.sets(st.integers(0, 19)),
)  # fmt: skip
def test_what_stays_is_within_the_policy_and_nothing_goes_without_need(
    held: list[Candidate], everything: StorageLimits, rooms: dict[str, StorageLimits], keep_free: int, growing: set[int]
) -> None:
    policy = Policy(everything, rooms, keep_free)
    busy = {held[index].segment.path for index in growing if index < len(held)}
    chosen = choose(held, policy, now_us=1000 * SECOND, free=1000, busy=lambda one: one.segment.path in busy)
    gone = [one for one, _ in chosen]
    stays = [one for one in held if one not in gone]
    free = 1000 + sum(one.size for one in gone)
    assert not any(one.protected or one.segment.path in busy for one in gone)
    assert gone == sorted(gone, key=lambda one: (one.segment.start_us, one.segment.path))
    could_go = [one for one in stays if not one.protected and one.segment.path not in busy]
    for one in could_go:
        age = policy.age(one.segment.room)
        assert age is None or one.end_us + age * SECOND > 1000 * SECOND
    if could_go:
        assert free >= keep_free
    bounds = [(None, everything.size), *((name, limits.size) for name, limits in rooms.items())]
    for name, size in bounds:
        if size is not None and any(name is None or contains(name, one.segment.room) for one in could_go):
            assert sum(one.size for one in stays if name is None or contains(name, one.segment.room)) <= size
    if chosen and chosen[-1][1] is FREE:
        assert free - gone[-1].size < keep_free


def _sizes(directory: Path) -> Callable[[Path], int]:
    """A disk of 100 kB of which the recordings are the only content."""
    return lambda _: 100_000 - sum(path.stat().st_size for path in directory.rglob("*.mp4"))


def _recorded(store: Store, count: int) -> list[Segment]:
    """Segments a minute apart, one size."""
    made = []
    for number in range(count):
        segment = record(store, audio=False, start_us=START_US + number * 60 * SECOND)
        os.utime(segment.path, ns=(0, (segment.start_us + 4 * SECOND) * 1000))
        made.append(segment)
    return made


def test_clean_deletes_old_files_and_reports_each(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segments = _recorded(store, 4)
    size = segments[0].path.stat().st_size
    segments[0].protect(True)
    cleaner = Cleaner(store, Policy(StorageLimits(age=100.0)), free_bytes=lambda _: 10**9)
    deleted = cleaner.clean(START_US + 224 * SECOND)
    assert [(one.segment, one.reason, one.error) for one in deleted] == [
        (segment, AGE, None) for segment in segments[1:3]
    ]
    assert deleted[0].size == size
    assert sorted(segment.start_us for segment in store.walk()) == [segments[0].start_us, segments[3].start_us]


def test_a_file_being_written_never_goes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    growing = store.new("yard", "cam", START_US, ".mp4")
    writer = SegmentWriter(growing.path, Muxer(tracks_of("H264"), start_us=START_US, title=""))
    for unit in units("H264"):
        writer.write(unit.kind, unit.pts_us, unit.data, key=unit.key, now=0.0)
    cleaner = Cleaner(store, Policy(StorageLimits(age=0.0, size=0), free=10**9), free_bytes=lambda _: 0)
    far = START_US + 10**12
    assert cleaner.clean(far) == []
    assert cleaner.make_room(1, far) == []
    writer.close()
    assert [one.segment for one in cleaner.clean(far)] == [growing]


@pytest.mark.parametrize("policy", list(OnFull))
def test_a_full_disk_frees_the_oldest_or_pauses(policy: OnFull, tmp_path: Path) -> None:
    store = Store(tmp_path)
    segments = _recorded(store, 3)
    size = segments[0].path.stat().st_size
    cleaner = Cleaner(store, Policy(on_full=policy), free_bytes=_sizes(tmp_path))
    left = 100_000 - 3 * size
    assert cleaner.has_room(left)
    assert not cleaner.has_room(left + 1)
    deleted = cleaner.make_room(left + size + 1, START_US + 1000 * SECOND)
    assert [one.segment for one in deleted] == (segments[:2] if policy is OnFull.FREE else [])
    assert cleaner.has_room(left + size + 1) == (policy is OnFull.FREE)


def test_a_refused_deletion_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    segments = _recorded(store, 2)
    real = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path == segments[0].path:
            raise OSError(errno.EROFS, "Read-only file system")
        real(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    deleted = Cleaner(store, Policy(StorageLimits(size=0))).clean(START_US)
    assert [one.error is None for one in deleted] == [False, True]
    assert [segment.path for segment in store.walk()] == [segments[0].path]


def test_a_copied_file_is_no_older_than_it_was(tmp_path: Path) -> None:
    """Its time of change is that of the copying, and counts for a day at most."""
    store = Store(tmp_path)
    segment = record(store)
    week = 7 * 86_400
    cleaner = Cleaner(store, Policy(StorageLimits(age=week)), free_bytes=lambda _: 10**9)
    assert cleaner.clean(segment.start_us + (week + 86_399) * SECOND) == []
    assert len(cleaner.clean(segment.start_us + (week + 86_401) * SECOND)) == 1


def _disk(directory: Path, size: int) -> Callable[[Path], int]:
    """A disk of this size with only the files of a directory, scratch files included."""
    return lambda _: size - sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def test_no_recording_is_deleted_because_of_a_clip(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segments = _recorded(store, 3)
    taken = sum(segment.path.stat().st_size for segment in segments)
    cleaner = Cleaner(store, Policy(free=1_000_000), free_bytes=_disk(tmp_path, taken + 1_500_000))
    with Scratch(tmp_path).file(".clip") as clip:
        clip.write_bytes(bytes(1_400_000))
        assert cleaner.clean(START_US) == []
    assert cleaner.clean(START_US) == []
    (tmp_path / "other").write_bytes(bytes(600_000))
    with Scratch(tmp_path).file(".clip") as clip:
        clip.write_bytes(bytes(800_000))
        deleted = cleaner.clean(START_US)
    assert [one.segment for one in deleted] == segments[: len(deleted)]
    assert sum(one.size for one in deleted[:-1]) < 100_000, "no more than without the clip"


@pytest.mark.parametrize("policy", list(OnFull))
def test_a_full_disk_costs_the_clips_before_any_recording(policy: OnFull, tmp_path: Path) -> None:
    store = Store(tmp_path)
    segments = _recorded(store, 2)
    taken = sum(segment.path.stat().st_size for segment in segments)
    elsewhere = Scratch(tmp_path / "elsewhere")
    cleaner = Cleaner(store, Policy(on_full=policy), scratch=elsewhere, free_bytes=_disk(tmp_path, taken + 1_000_000))
    with Scratch(tmp_path).file(".clip") as clip, elsewhere.file(".clip") as other:
        clip.write_bytes(bytes(500_000))
        other.write_bytes(bytes(500_000))
        assert not cleaner.has_room(1)
        assert cleaner.make_room(900_000, START_US) == []
        assert cleaner.has_room(900_000)
        assert not clip.exists()
        assert not other.exists()


def test_one_pass_deletes_a_bounded_number_by_age_and_the_next_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(250):
        path = store.new("yard", "cam", START_US + number * 60 * SECOND, ".mp4").path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (START_US / 1e6, START_US / 1e6))
    cleaner = Cleaner(store, Policy(StorageLimits(age=60)), free_bytes=lambda _: 1 << 40)
    later = START_US + 90 * 86_400 * SECOND
    passes = [[one.segment.start_us for one in cleaner.clean(later)] for _ in range(4)]
    assert [len(one) for one in passes] == [100, 100, 50, 0]
    deleted = [start_us for one in passes for start_us in one]
    assert sorted(deleted) == deleted


def test_without_age_only_bytes_and_free_space_count(tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store)
    rooms = {"yard": StorageLimits(age=1.0)}
    cleaner = Cleaner(store, Policy(StorageLimits(age=1.0), rooms), free_bytes=lambda _: 1 << 40)
    assert cleaner.clean(START_US + 86_400 * SECOND * 400, by_age=False) == []
    assert segment.path.exists()
