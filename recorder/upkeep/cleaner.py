"""What to delete: by age, by bytes and by free space, the oldest first.

Owns the choice (pure, `choose`) and its carrying out (`Cleaner`). Never deletes what is protected or being written,
never anything but segments, and tells of each deletion so that the caller can publish it.
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
from sfu.settings import OnFull
from sfu.signaling.topics import contains

_SHARE: Final = 10


class DeletionReason(StrEnum):
    """Why a segment went."""

    AGE = "age"
    BYTES = "bytes"
    FREE = "free"


@dataclass(frozen=True, slots=True)
class StorageLimits:
    """How much to keep: seconds since a segment's end, bytes; None for no limit."""

    age: float | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits in all and per room, and the bytes of the disk that must stay free.

    A room's bytes bound it with its sub-rooms, and the bounds above it hold too; of ages the nearest room's that sets
    one counts, so that one room may be kept longer than the rest.
    """

    all: StorageLimits = StorageLimits()
    rooms: Mapping[str, StorageLimits] = field(default_factory=dict)
    free: int = 0
    on_full: OnFull = OnFull.FREE

    def age(self, room: str) -> float | None:
        """Seconds that the room's segments are kept."""
        above = sorted((name for name in self.rooms if contains(name, room)), key=len, reverse=True)
        ages = (self.rooms[name].age for name in above)
        return next((age for age in ages if age is not None), self.all.age)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A segment as the choice sees it: its end in wall time, its bytes, whether it is protected."""

    segment: Segment
    end_us: int
    size: int
    protected: bool = False


@dataclass(frozen=True, slots=True)
class Deletion:
    """One deletion; `error` when the file system refused it."""

    held: Candidate
    reason: DeletionReason
    error: str | None = None


def choose(
    held: Iterable[Candidate],
    policy: Policy,
    *,
    now_us: int,
    free: int,
    busy: Callable[[Candidate], bool] = lambda _: False,
) -> list[tuple[Candidate, DeletionReason]]:
    """What has to go, the oldest first. `free`: bytes the disk has left; `busy`: whether one is being written.

    Protected and growing segments count as bytes, and are passed over.
    """
    oldest_first = sorted(held, key=lambda one: (one.segment.start_us, one.segment.path))
    bounds = {None: policy.all.size} | {name: limits.size for name, limits in policy.rooms.items()}
    over = {
        name: sum(one.size for one in oldest_first if _within(one, name)) - size
        for name, size in bounds.items()
        if size is not None
    }
    missing = policy.free - free
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
    """Carries the choice out on a store. `free_bytes` tells what the disk under a directory has left.

    `clean` and `make_room` may take long: they belong in a thread.
    """

    def __init__(self, store: Store, policy: Policy, *, free_bytes: Callable[[Path], int] | None = None) -> None:
        self._store = store
        self._policy = policy
        self._free_bytes = free_bytes or _free_bytes

    def clean(self, now_us: int) -> list[Deletion]:
        """Brings the store within its policy. OSError when the directory is gone."""
        return self._delete(self._policy, now_us)

    def make_room(self, need: int, now_us: int) -> list[Deletion]:
        """After the disk was full: frees at least `need` bytes beyond the policy's if that lets recordings go.

        Nothing under `OnFull.PAUSE`, or when there is nothing to free: recording has to pause.
        """
        if self._policy.on_full is OnFull.PAUSE:
            return []
        policy = Policy(self._policy.all, self._policy.rooms, self._policy.free + need, self._policy.on_full)
        return self._delete(policy, now_us)

    def has_room(self, need: int) -> bool:
        """Whether the disk has `need` bytes left beyond the policy's: a paused recording may go on."""
        return self._free_bytes(self._store.directory) >= self._policy.free + need

    def _delete(self, policy: Policy, now_us: int) -> list[Deletion]:
        free = self._free_bytes(self._store.directory)
        chosen = choose(self._held(), policy, now_us=now_us, free=free, busy=_busy)
        return [self._deleted(held, reason) for held, reason in chosen]

    def _deleted(self, held: Candidate, reason: DeletionReason) -> Deletion:
        try:
            self._store.delete(held.segment)
        except OSError as error:
            return Deletion(held, reason, str(error))
        return Deletion(held, reason)

    def _held(self) -> Iterator[Candidate]:
        for segment in self._store.walk():
            try:
                stat = segment.path.stat()
            except OSError:
                continue
            yield Candidate(segment, _end_us(segment, stat.st_mtime_ns), stat.st_size, segment.protected)


def fit_to_disk(policy: Policy, directory: Path) -> Policy:
    """The policy with at most a tenth of the directory's disk to be left free: more would leave small ones no room."""
    home = next((parent for parent in (directory, *directory.absolute().parents) if parent.is_dir()), None)
    total = policy.free * _SHARE if home is None else shutil.disk_usage(home).total
    return replace(policy, free=min(policy.free, total // _SHARE))


def _end_us(segment: Segment, changed_ns: int) -> int:
    """When the last part came, told without opening the file: a copy's later time of change counts a day at most."""
    return max(segment.start_us, min(changed_ns // 1000, segment.start_us + 86_400_000_000))


def _busy(held: Candidate) -> bool:
    try:
        return being_written(held.segment.path)
    except OSError:
        return True


def _free_bytes(directory: Path) -> int:
    return shutil.disk_usage(directory).free
