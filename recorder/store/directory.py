"""The directory as the database: which file holds which time of which producer.

Owns file names (docs/protocol.md section 9), the search by room and time, and the `protected` marks. Never opens a
recording, never writes one. A mark is an empty file `<name>.protected` next to the recording: unlike extended
attributes it survives every copy and file system, and `touch` and `rm` can change it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, unquote

from recorder.store.access import FILE_MODE, make_directories
from recorder.store.faults import Faults
from sfu.signaling.topics import contains, valid_peer, valid_room

DAMAGED = ".damaged"
INDEX = ".index.json"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_FIRST_DAY, _LAST_DAY = date(1970, 1, 1), date(9998, 12, 31)
"""Times outside could not be written as text, or would end beyond what can be."""
_TIME = re.compile(r"([01]\d|2[0-3])-([0-5]\d)-([0-5]\d)\.(\d{3})Z(\.mp4|\.webm)", re.ASCII)
_ON_DISK = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9_.=-]{0,254}")
_PROTECTED = ".protected"
_MAX_DEPTH = 64
"""Directories below each other; ours are at most six: a room of four levels, a peer, a day."""
_MAX_NAME_BYTES = 200
"""Linux, macOS and Windows allow 255; the rest is for the endings that marks and copies add."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One recorded file.

    `start_us`: wall time of its first unit in microseconds since 1970 (UTC), a whole number of milliseconds.
    """

    start_us: int
    room: str
    peer: str
    path: Path

    def beside(self, ending: str) -> Path:
        """Returns the path of a companion file: the same name with `ending` added."""
        return self.path.with_name(self.path.name + ending)

    @property
    def protected(self) -> bool:
        """True if clean-up must not delete it."""
        return os.path.lexists(self.beside(_PROTECTED))

    def protect(self, on: bool) -> None:
        """Sets or removes the protection. Raises OSError if the directory cannot be changed."""
        if on:
            self.beside(_PROTECTED).touch(FILE_MODE)
        else:
            self.beside(_PROTECTED).unlink(missing_ok=True)


class Store:
    """The recordings below one directory, which need not exist yet.

    What is no recording of ours (a day that no calendar has, a link, a directory named like a file) is left out.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.faults = Faults()

    def new(self, room: str, peer: str, start_us: int, suffix: str) -> Segment:
        """Returns a segment whose file does not exist yet.

        If the name is taken (the clock went back), the start moves on by a millisecond until one is free.
        """
        start_us -= start_us % 1000
        while True:
            at = _EPOCH + timedelta(microseconds=start_us)
            name = f"{at:%H-%M-%S}.{at.microsecond // 1000:03}Z{suffix}"
            path = self._folder(room, peer) / at.date().isoformat() / name
            if not path.exists():
                return Segment(start_us, room, peer, path)
            start_us += 1000

    def segment(self, path: Path) -> Segment | None:
        """Returns the segment at `path`; None if the path is not that of a recording."""
        try:
            *room, peer, day, name = path.relative_to(self.directory).parts
        except ValueError:
            return None
        time, date_ = _TIME.fullmatch(name), _day(day)
        if not room or time is None or date_ is None:
            return None
        hour, minute, second, millisecond = map(int, time.groups()[:4])
        at = datetime(date_.year, date_.month, date_.day, hour, minute, second, millisecond * 1000, UTC)
        start_us = (at - _EPOCH) // timedelta(microseconds=1)
        return Segment(start_us, "/".join(map(_unescaped, room)), _unescaped(peer), path)

    def name(self, segment: Segment) -> str:
        """Returns the name that `find` takes: the path below the directory, with `/`.

        This is room/peer/day/file, if room and peer are valid in topics; other names are escaped.
        """
        return segment.path.relative_to(self.directory).as_posix()

    def find(self, name: str) -> Segment | None:
        """Returns the segment of that name, or None. Safe for any text: never leads outside the directory."""
        levels = name.split("/")
        if not all(_ON_DISK.fullmatch(level) for level in levels):
            return None
        segment = self.segment(self.directory.joinpath(*levels))
        try:
            if segment is None or not segment.path.is_file():
                return None
            inside = segment.path.resolve() == self.directory.resolve().joinpath(*levels)  # no level is a symbolic link
        except OSError:
            return None
        return segment if inside else None

    def producers(self, room: str | None = None) -> list[tuple[str, str]]:
        """Returns the (room, peer) of every producer recorded in `room` and its sub-rooms (None: anywhere), sorted."""
        found = set()
        for day in self._days_below(self.directory):
            *levels, peer = day.parent.relative_to(self.directory).parts
            name = "/".join(map(_unescaped, levels))
            if levels and (room is None or contains(room, name)):
                found.add((name, _unescaped(peer)))
        return sorted(found)

    def segments(self, room: str, peer: str, since_us: int, until_us: int) -> list[Segment]:
        """Returns the segments that can overlap [since_us, until_us), in order.

        These are all that start in it, and the last one that starts before it. Reads names only, of the days from the
        end of the span back to the day of that last one.
        """
        found: list[Segment] = []
        for day in sorted(self._days_of(room, peer), reverse=True):
            found += (segment for segment in self._segments_in(day) if segment.start_us < until_us)
            if any(segment.start_us <= since_us for segment in found):
                break
        found.sort(key=lambda segment: segment.start_us)
        before = sum(segment.start_us <= since_us for segment in found)
        return found[max(0, before - 1) :]

    def days(self, room: str, peer: str) -> list[date]:
        """Returns the UTC days for which there is a directory of recordings, in order."""
        return sorted(day for path in self._days_of(room, peer) if (day := _day(path.name)) is not None)

    def directory_of(self, room: str, peer: str, day: date) -> Path:
        """Returns the directory of a day's recordings, which may not exist."""
        return self._folder(room, peer) / day.isoformat()

    def summary(self, room: str, peer: str, day: date) -> tuple[list[Segment], int]:
        """Returns the first and the last two segments that begin on a UTC day, in order, and the bytes of all."""
        directory = self.directory_of(room, peer, day)
        sizes: dict[str, int] = {}
        for entry in self._files_in(directory):
            with contextlib.suppress(OSError):  # deleted meanwhile
                sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
        names = sorted(sizes)
        edges = [self.segment(directory / name) for name in dict.fromkeys([*names[:1], *names[-2:]])]
        return [segment for segment in edges if segment is not None], sum(sizes.values())

    def walk(self) -> Iterator[Segment]:
        """Yields every segment of every producer, in no order."""
        for day in self._days_below(self.directory):
            yield from self._segments_in(day)

    def delete(self, segment: Segment) -> None:
        """Deletes a segment, its mark, and the directories that are empty then. Raises OSError if it cannot."""
        segment.path.unlink()
        self._clear(segment)

    def move(self, segment: Segment, start_us: int, end_us: int) -> Segment:
        """Gives a finished segment the name of another time, and returns it; its mark goes along. Raises OSError.

        Its modification time becomes `end_us`: clean-up takes that for the end.
        """
        moved = self.new(segment.room, segment.peer, start_us, segment.path.suffix)
        make_directories(moved.path.parent)
        segment.path.rename(moved.path)
        with contextlib.suppress(OSError):
            if segment.protected:
                moved.protect(True)
            os.utime(moved.path, ns=(end_us * 1000, end_us * 1000))
        self._clear(segment)
        return moved

    def _clear(self, segment: Segment) -> None:
        """Removes the mark of a segment that is gone, and the directories that are empty then."""
        directory = segment.path.parent
        with contextlib.suppress(OSError):
            segment.protect(False)
        with contextlib.suppress(OSError):
            if all(entry.name == INDEX for entry in directory.iterdir()):
                (directory / INDEX).unlink(missing_ok=True)
        for parent in segment.path.relative_to(self.directory).parents[:-1]:
            try:
                (self.directory / parent).rmdir()
            except OSError:  # not empty
                return

    def _folder(self, room: str, peer: str) -> Path:
        levels = room if valid_room(room) else _escaped(room)
        return self.directory / levels / (peer if valid_peer(peer) else _escaped(peer))

    def _days_of(self, room: str, peer: str) -> list[Path]:
        return [entry for entry in self._folders_in(self._folder(room, peer)) if _day(entry.name) is not None]

    def _days_below(self, directory: Path) -> Iterator[Path]:
        waiting = [(directory, 0)]
        while waiting:
            above, depth = waiting.pop()
            for entry in self._folders_in(above):
                if _day(entry.name) is not None:
                    yield entry
                if depth < _MAX_DEPTH:
                    waiting.append((entry, depth + 1))

    def _segments_in(self, day: Path) -> Iterator[Segment]:
        for entry in self._files_in(day):
            segment = self.segment(Path(entry))
            if segment is not None:
                yield segment

    def _files_in(self, day: Path) -> list[os.DirEntry[str]]:
        """Returns the files in a directory that are named like recordings: no links, directories or pipes."""
        found = [entry for entry in self._entries_of(day) if _TIME.fullmatch(entry.name)]
        return [entry for entry in found if entry.is_file(follow_symlinks=False)]

    def _folders_in(self, directory: Path) -> list[Path]:
        """Returns the directories in a directory, without our own (`.damaged`, `.scratch`); none if it is gone."""
        found = [entry for entry in self._entries_of(directory) if entry.is_dir(follow_symlinks=False)]
        return [Path(entry) for entry in found if entry.name[0] != "." and _is_text(entry.name)]

    def _entries_of(self, directory: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(directory) as entries:
                return list(entries)
        except NotADirectoryError:
            return []
        except OSError as error:
            self.faults.note(directory, error)
            return []


def _day(name: str) -> date | None:
    """Returns the day that a directory is named after; None if it is no day of the calendar."""
    if _DAY.fullmatch(name) is None:
        return None
    try:
        day = date.fromisoformat(name)
    except ValueError:
        return None
    return day if _FIRST_DAY <= day <= _LAST_DAY else None


def _is_text(name: str) -> bool:
    """True unless a name has bytes that are not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(name: str) -> str:
    """Returns the directory name for a room or peer that is not valid in topics; different for each name.

    Begins with `=`, which no valid name contains.
    """
    data = name.encode("utf-8", "surrogatepass")
    # `quote` keeps these three. A dot could become "..", and shells treat `~` and `%` specially.
    plain = quote(data, safe="").replace(".", "%2E").replace("~", "%7E").replace("%", "=")
    if len(plain) < _MAX_NAME_BYTES:
        return f"={plain}"
    return f"=.{hashlib.sha256(data).hexdigest()}"


def _unescaped(level: str) -> str:
    if not level.startswith("=") or level.startswith("=."):
        return level
    try:
        return unquote(level[1:].replace("=", "%"), errors="surrogatepass")
    except UnicodeDecodeError:  # not a name that we made
        return level
