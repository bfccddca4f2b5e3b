"""Clean-up: deletes the oldest segments, by age, by bytes and by free space.

Owns the choice (`choose`, pure) and the deletion (`Cleaner`). Never deletes a segment that is protected or being
written, and never deletes any other file. Returns every deletion, so that the caller can publish it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from recorder.segments.files import being_written
from recorder.store.directory import Segment, Store
from recorder.store.scratch import Scratch
from sfu.settings import OnFull
from sfu.signaling.topics import contains

_MAX_FREE_PERCENT: Final = 10
"""The free space that a policy can demand, in percent of the disk: on a small disk, more would leave no room."""
_DAY_US: Final = 86_400_000_000
_MIN_BY_AGE: Final = 100
_MAX_BY_AGE_SHARE: Final = 0.05
"""The most that one pass deletes by age: this share of all segments, or 100 if that is more."""


class DeletionReason(StrEnum):
    """Why a segment was deleted."""

    AGE = "age"
    BYTES = "bytes"
    FREE = "free"


@dataclass(frozen=True, slots=True)
class StorageLimits:
    """The most to keep: `age` in seconds since a segment's end, `size` in bytes; None for no limit."""

    age: float | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits for all recordings and per room, and the bytes of the disk that must stay free.

    A room's limit in bytes covers its sub-rooms, and the limits of the rooms above it hold too. Of ages only one
    counts, that of the nearest room that sets one: so one room may be kept longer than the rest.
    """

    all: StorageLimits = StorageLimits()
    rooms: Mapping[str, StorageLimits] = field(default_factory=dict)
    free: int = 0
    on_full: OnFull = OnFull.FREE

    def age(self, room: str) -> float | None:
        """Returns the seconds for which a room's segments are kept; None for ever."""
        above = sorted((name for name in self.rooms if contains(name, room)), key=len, reverse=True)
        ages = (self.rooms[name].age for name in above)
        return next((age for age in ages if age is not None), self.all.age)

    def without_age(self) -> Policy:
        """Returns the policy without its limits of age."""
        rooms = {room: replace(limits, age=None) for room, limits in self.rooms.items()}
        return replace(self, all=replace(self.all, age=None), rooms=rooms)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A segment that could be deleted: its end in wall time, its bytes, and whether it is protected."""

    segment: Segment
    end_us: int
    size: int
    protected: bool = False


@dataclass(frozen=True, slots=True)
class Deletion:
    """One deletion. `error` is the message of the file system if it failed; the file then still exists."""

    segment: Segment
    size: int
    reason: DeletionReason
    error: str | None = None


def choose(
    candidates: Iterable[Candidate],
    policy: Policy,
    *,
    now_us: int,
    free: int,
    busy: Callable[[Candidate], bool] = lambda _: False,
) -> list[tuple[Candidate, DeletionReason]]:
    """Returns the segments to delete, the oldest first.

    `free`: bytes that the disk has left; nothing is deleted for it under `OnFull.PAUSE`. `busy`: True for a segment
    that is being written. Protected and busy segments count towards the limits, and are kept.
    """
    oldest_first = sorted(candidates, key=lambda one: (one.segment.start_us, one.segment.path))
    bounds = {None: policy.all.size} | {name: limits.size for name, limits in policy.rooms.items()}
    over = {
        name: sum(one.size for one in oldest_first if _within(one, name)) - size
        for name, size in bounds.items()
        if size is not None
    }
    missing = policy.free - free if policy.on_full is OnFull.FREE else 0
    chosen = []
    for one in oldest_first:
        reason = _reason(one, policy, over, missing, now_us)
        if reason is None or one.protected or busy(one):
            continue
        chosen.append((one, reason))
        missing -= one.size
        for name in over:
            if _within(one, name):
                over[name] -= one.size
    return chosen


def _reason(
    one: Candidate, policy: Policy, over: Mapping[str | None, int], missing: int, now_us: int
) -> DeletionReason | None:
    age = policy.age(one.segment.room)
    if age is not None and one.end_us + age * 1_000_000 <= now_us:
        return DeletionReason.AGE
    if any(excess > 0 and _within(one, name) for name, excess in over.items()):
        return DeletionReason.BYTES
    return DeletionReason.FREE if missing > 0 else None


def _within(one: Candidate, room: str | None) -> bool:
    return room is None or contains(room, one.segment.room)


class Cleaner:
    """The clean-up of one store. `free_bytes` returns the bytes that the disk of a directory has left.

    Scratch files count as free space, and are dropped when the disk is full: no recording is deleted because of a clip.
    `clean` and `make_room` may take long: call them in a thread.
    """

    def __init__(
        self,
        store: Store,
        policy: Policy,
        *,
        scratch: Scratch | None = None,
        free_bytes: Callable[[Path], int] | None = None,
    ) -> None:
        """`scratch`: where clips are made, if not in the store's own directory."""
        self._store = store
        self._policy = policy
        self._scratch = [Scratch(store.directory), *([scratch] if scratch is not None else [])]
        self._free_bytes = free_bytes or _free_bytes

    def recorded(self) -> Iterator[tuple[int, int]]:
        """Yields the start and the end of every segment, in microseconds of UTC and in no order."""
        for one in self._candidates():
            yield one.segment.start_us, one.end_us

    @property
    def by_age(self) -> bool:
        """True if the policy limits the age of any segment."""
        return any(limits.age is not None for limits in (self._policy.all, *self._policy.rooms.values()))

    def clean(self, now_us: int, *, by_age: bool = True) -> list[Deletion]:
        """Deletes what the policy does not keep; a pass deletes a bounded number by age, the next one goes on.

        `by_age`: False if `now_us` may be wrong. Raises OSError if the directory is gone.
        """
        return self._delete(self._policy if by_age else self._policy.without_age(), now_us)

    def make_room(self, need: int, now_us: int) -> list[Deletion]:
        """Deletes the oldest segments until `need` bytes are free beyond those of the policy; for a disk that was full.

        It does not matter what the clock says. Drops scratch files first. Deletes no segment under `OnFull.PAUSE`. If
        too little can be deleted, `has_room` stays False and recording pauses.
        """
        for scratch in self._scratch:
            scratch.drop()
        if self._policy.on_full is OnFull.PAUSE:
            return []
        policy = self._policy.without_age()
        return self._delete(replace(policy, free=policy.free + need), now_us)

    def has_room(self, need: int) -> bool:
        """Returns True if `need` bytes are free beyond those of the policy: a paused recording can continue."""
        return self._free_bytes(self._store.directory) >= self._policy.free + need

    def _delete(self, policy: Policy, now_us: int) -> list[Deletion]:
        free = self._free_or_scratch()
        candidates = list(self._candidates())
        chosen = choose(candidates, policy, now_us=now_us, free=free, busy=_busy)
        old = [one for one in chosen if one[1] is DeletionReason.AGE]
        most = max(_MIN_BY_AGE, int(len(candidates) * _MAX_BY_AGE_SHARE))
        left = {candidate.segment for candidate, _ in old[most:]}
        return [self._delete_one(candidate, reason) for candidate, reason in chosen if candidate.segment not in left]

    def _free_or_scratch(self) -> int:
        """Returns the bytes that are free or taken by scratch files. It may be too many while a scratch file ends."""
        before = self._scratch_bytes()
        free = self._free_bytes(self._store.directory)
        return free + max(before, self._scratch_bytes())

    def _scratch_bytes(self) -> int:
        return sum(scratch.bytes_on_disk_of(self._store.directory) for scratch in self._scratch)

    def _delete_one(self, candidate: Candidate, reason: DeletionReason) -> Deletion:
        try:
            self._store.delete(candidate.segment)
        except Exception as error:  # noqa: BLE001  # one file costs nobody the clean-up of the others
            return Deletion(candidate.segment, candidate.size, reason, str(error) or repr(error))
        return Deletion(candidate.segment, candidate.size, reason)

    def _candidates(self) -> Iterator[Candidate]:
        for segment in self._store.walk():
            try:
                stat = segment.path.stat()
            except OSError:
                continue
            yield Candidate(segment, _end_us(segment, stat.st_mtime_ns), stat.st_size, segment.protected)


def fit_to_disk(policy: Policy, directory: Path) -> Policy:
    """Returns the policy with its free space limited to a tenth of the disk of `directory`, which may not exist yet."""
    existing = next((parent for parent in (directory, *directory.absolute().parents) if parent.is_dir()), None)
    if existing is None:
        return policy
    return replace(policy, free=min(policy.free, shutil.disk_usage(existing).total * _MAX_FREE_PERCENT // 100))


def _end_us(segment: Segment, changed_ns: int) -> int:
    """Returns when a segment ends, without opening its file: its modification time, at most a day after its start.

    A copied file may have been modified much later.
    """
    return max(segment.start_us, min(changed_ns // 1000, segment.start_us + _DAY_US))


def _busy(candidate: Candidate) -> bool:
    try:
        return being_written(candidate.segment.path)
    except OSError:
        return True


def _free_bytes(directory: Path) -> int:
    return shutil.disk_usage(directory).free
