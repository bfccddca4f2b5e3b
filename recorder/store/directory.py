"""The directory as the database: which file holds which moment of which producer.

Owns file names (CONTRACT, "Recordings"), finding them again by room and time, and the `protected` marks. Never opens a
recording, never writes one. A mark is an empty file `<name>.protected` beside the recording: it survives copies and
file systems that know no extended attributes, and `touch` and `rm` can set it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, unquote

from sfu.signaling.topics import contains, valid_peer, valid_room

DAMAGED = ".damaged"
SCRATCH = ".scratch"
INDEX = ".index.json"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"(\d{2})-(\d{2})-(\d{2})\.(\d{3})Z(\.mp4|\.webm)")
_ON_DISK = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9_.=-]{0,254}")
_MARK = ".protected"
_LONGEST_NAME = 200  # of the 255 bytes of Linux, macOS and Windows: marks and copies add theirs


@dataclass(frozen=True, slots=True)
class Segment:
    """One recorded file. `start_us`: wall time of its first unit, whole milliseconds, since 1970 UTC."""

    start_us: int
    room: str
    peer: str
    path: Path

    def beside(self, ending: str) -> Path:
        """The path of a companion: the file's name with `ending` added."""
        return self.path.with_name(self.path.name + ending)

    @property
    def protected(self) -> bool:
        """Whether no clean-up may delete it."""
        return self.beside(_MARK).exists()

    def protect(self, on: bool) -> None:
        """Sets or lifts the protection. OSError when the directory refuses."""
        if on:
            self.beside(_MARK).touch()
        else:
            self.beside(_MARK).unlink(missing_ok=True)


class Store:
    """All recordings below `directory`, which need not exist yet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def new(self, room: str, peer: str, start_us: int, suffix: str) -> Segment:
        """A segment that no file has yet: a taken name (the clock went back) moves the start on by milliseconds."""
        start_us -= start_us % 1000
        while True:
            at = _EPOCH + timedelta(microseconds=start_us)
            name = f"{at:%H-%M-%S}.{at.microsecond // 1000:03}Z{suffix}"
            path = self._home(room, peer) / at.date().isoformat() / name
            if not path.exists():
                return Segment(start_us, room, peer, path)
            start_us += 1000

    def segment(self, path: Path) -> Segment | None:
        """The segment that `path` names; None for every other file."""
        try:
            *room, peer, day, name = path.relative_to(self.directory).parts
        except ValueError:
            return None
        time = _TIME.fullmatch(name)
        if not room or time is None or _DAY.fullmatch(day) is None:
            return None
        hour, minute, second, millisecond = map(int, time.groups()[:4])
        try:
            at = datetime.fromisoformat(day).replace(tzinfo=UTC)
        except ValueError:
            return None
        at += timedelta(hours=hour, minutes=minute, seconds=second, milliseconds=millisecond)
        start_us = (at - _EPOCH) // timedelta(microseconds=1)
        return Segment(start_us, "/".join(map(_unescaped, room)), _unescaped(peer), path)

    def name(self, segment: Segment) -> str:
        """What `find` finds it by: its path below the directory, with `/`; room/peer/day/name for names of topics."""
        return segment.path.relative_to(self.directory).as_posix()

    def find(self, name: str) -> Segment | None:
        """The segment of that name; None for all else, whatever it is: nothing outside the directory is reached."""
        levels = name.split("/")
        if not all(_ON_DISK.fullmatch(level) for level in levels):
            return None
        segment = self.segment(self.directory.joinpath(*levels))
        if segment is None or not segment.path.is_file():
            return None
        inside = segment.path.resolve() == self.directory.resolve().joinpath(*levels)  # no level is a symbolic link
        return segment if inside else None

    def producers(self, room: str | None = None) -> list[tuple[str, str]]:
        """(room, peer) of all that was ever recorded in `room` and its sub-rooms, or anywhere; in order."""
        found = set()
        for days in self._days(self.directory):
            *levels, peer = days.parent.relative_to(self.directory).parts
            name = "/".join(map(_unescaped, levels))
            if levels and (room is None or contains(room, name)):
                found.add((name, _unescaped(peer)))
        return sorted(found)

    def segments(self, room: str, peer: str, since_us: int, until_us: int) -> list[Segment]:
        """What can hold a moment of the span, in order: all that start in it, and the last that starts before it.

        Looks at names alone, of the span's days and at most one day before.
        """
        found: list[Segment] = []
        for day in sorted(self._dates(room, peer), reverse=True):
            found += (segment for segment in self._in(day) if segment.start_us < until_us)
            if any(segment.start_us <= since_us for segment in found):
                break
        found.sort(key=lambda segment: segment.start_us)
        before = sum(segment.start_us <= since_us for segment in found)
        return found[max(0, before - 1) :]

    def days(self, room: str, peer: str) -> list[date]:
        """The UTC days with a directory of recordings, in order."""
        return sorted(date.fromisoformat(day.name) for day in self._dates(room, peer))

    def directory_of(self, room: str, peer: str, day: date) -> Path:
        """Where a day's recordings are, if there are any."""
        return self._home(room, peer) / day.isoformat()

    def summary(self, room: str, peer: str, day: date) -> tuple[list[Segment], int]:
        """Of all that begin on a UTC day the first and the last two, in order, and the bytes of all."""
        directory = self.directory_of(room, peer, day)
        sizes: dict[str, int] = {}
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                if _TIME.fullmatch(entry.name):
                    with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                        sizes[entry.name] = entry.stat().st_size
        names = sorted(sizes)
        edges = [self.segment(directory / name) for name in dict.fromkeys([*names[:1], *names[-2:]])]
        return [segment for segment in edges if segment is not None], sum(sizes.values())

    def walk(self) -> Iterator[Segment]:
        """Every segment of every producer, in no order."""
        for day in self._days(self.directory):
            yield from self._in(day)

    def delete(self, segment: Segment) -> None:
        """Deletes a segment, its mark, and the directories it leaves empty. OSError when it cannot."""
        segment.path.unlink()
        segment.protect(False)
        directory = segment.path.parent
        if all(entry.name == INDEX for entry in directory.iterdir()):
            (directory / INDEX).unlink(missing_ok=True)
        for parent in segment.path.relative_to(self.directory).parents[:-1]:
            try:
                (self.directory / parent).rmdir()
            except OSError:  # not empty
                return

    @contextlib.contextmanager
    def scratch(self, suffix: str) -> Iterator[Path]:
        """Makes an empty file on the recordings' disk, locked so that repair leaves it alone; deletes it at the end."""
        directory = self.directory / SCRATCH
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory, suffix=suffix, delete=False) as file:
            path = Path(file.name)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield path
            finally:
                path.unlink(missing_ok=True)

    def _home(self, room: str, peer: str) -> Path:
        levels = room if valid_room(room) else _escaped(room)
        return self.directory / levels / (peer if valid_peer(peer) else _escaped(peer))

    def _dates(self, room: str, peer: str) -> list[Path]:
        return [entry for entry in _folders(self._home(room, peer)) if _DAY.fullmatch(entry.name)]

    def _days(self, directory: Path) -> Iterator[Path]:
        for entry in _folders(directory):
            if _DAY.fullmatch(entry.name):
                yield entry
            yield from self._days(entry)

    def _in(self, day: Path) -> Iterator[Segment]:
        try:
            paths = list(day.iterdir())
        except OSError:
            return
        for path in paths:
            segment = self.segment(path)
            if segment is not None:
                yield segment


def _folders(directory: Path) -> list[Path]:
    """The directories in a directory, those of ours left out; none if it is gone."""
    try:
        with os.scandir(directory) as entries:
            return [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False) and entry.name[0] != "."]
    except OSError:
        return []


def _escaped(name: str) -> str:
    """One level for a name outside the grammar of topics, which has no `=`; no two names share one."""
    data = name.encode("utf-8", "surrogatepass")
    # `quote` leaves these three alone; a dot could be "..", and a tilde or a percent sign irritates shells.
    plain = quote(data, safe="").replace(".", "%2E").replace("~", "%7E").replace("%", "=")
    if len(plain) < _LONGEST_NAME:
        return f"={plain}"
    return f"=.{hashlib.sha256(data).hexdigest()}"


def _unescaped(level: str) -> str:
    if not level.startswith("=") or level.startswith("=."):
        return level
    return unquote(level[1:].replace("=", "%"), errors="surrogatepass")
