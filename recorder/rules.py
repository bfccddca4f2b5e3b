"""Which rooms are recorded: modes from the settings, ON and OFF from `recordings/set`.

Owns this decision for every room (pure). Never knows which producers there are, and never records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from recorder.playback.clip_rules import ClipRules
from recorder.upkeep.cleaner import Policy, StorageLimits
from sfu.settings import RecordingMode, RecordingSettings, RoomRecordingSettings
from sfu.signaling.topics import contains, valid_room


class Capture(StrEnum):
    """How far a producer's packets go."""

    NONE = "none"
    """They are not taken."""
    PREROLL = "preroll"
    """The last seconds stay in memory."""
    RECORD = "record"
    """They go to files."""


_TABLE: Final[Mapping[RecordingMode, Mapping[bool | None, Capture]]] = {
    # by the latest switch: none yet, ON, OFF
    RecordingMode.OFF: {None: Capture.NONE, True: Capture.NONE, False: Capture.NONE},
    RecordingMode.ALWAYS: {None: Capture.RECORD, True: Capture.RECORD, False: Capture.NONE},
    RecordingMode.ON_DEMAND: {None: Capture.NONE, True: Capture.RECORD, False: Capture.NONE},
    RecordingMode.EVENT: {None: Capture.PREROLL, True: Capture.RECORD, False: Capture.PREROLL},
}


@dataclass(frozen=True, slots=True)
class Rule:
    """How a room is recorded; `segment` (length of a file) and `preroll` in seconds."""

    mode: RecordingMode = RecordingMode.ON_DEMAND
    segment: float = 600.0
    preroll: float = 0.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The rule of all rooms, and the rules of single rooms, each of which holds for the sub-rooms too."""

    all: Rule = Rule()
    rooms: Mapping[str, Rule] = field(default_factory=dict)

    def of(self, room: str) -> Rule:
        """Returns the rule of the room itself or of the nearest room above it."""
        return self.rooms.get(_nearest(room, self.rooms) or "", self.all)


class Switches:
    """The latest ON or OFF from `recordings/set` for each room; it holds for the sub-rooms too.

    A later one for a room replaces the earlier ones for its sub-rooms.
    """

    def __init__(self, rules: Rules, *, limit: int = 1000) -> None:
        """Makes an empty table of at most `limit` rooms: clients choose room names, so the oldest entry has to go."""
        self._rules = rules
        self._switched: dict[str, bool] = {}
        self._limit = limit

    def set(self, room: str, on: bool) -> None:
        """Switches a room and its sub-rooms on or off."""
        for below in [name for name in self._switched if contains(room, name)]:
            del self._switched[below]
        self._switched[room] = on
        if len(self._switched) > self._limit:
            del self._switched[next(iter(self._switched))]

    def capture(self, room: str) -> Capture:
        """Returns how to capture the producers of exactly this room."""
        switched = self._switched.get(_nearest(room, self._switched) or "")
        rule = self._rules.of(room)
        capture = _TABLE[rule.mode][switched]
        return Capture.NONE if capture is Capture.PREROLL and not rule.preroll else capture


def _nearest(room: str, among: Mapping[str, object]) -> str | None:
    """Returns the room itself or the nearest room above it that is in `among`; None if there is none."""
    while room and room not in among:
        room = room.rpartition("/")[0]
    return room or None


@dataclass(frozen=True, slots=True)
class RecordingConfig:
    """How recordings are made and kept. `sync`: seconds of a recording that a power loss may cost."""

    directory: Path
    rules: Rules = field(default_factory=Rules)
    policy: Policy = field(default_factory=Policy)
    sync: float = 5.0
    progressive: bool = False
    clips: ClipRules = field(default_factory=ClipRules)

    @classmethod
    def of(cls, settings: RecordingSettings) -> RecordingConfig:
        """Makes a configuration from the settings. Raises ValueError if a room's name is not valid."""
        for room in settings.rooms:
            if not valid_room(room):
                raise ValueError(f"{room!r} is not a room")
        policy = Policy(
            StorageLimits(settings.keep, settings.keep_bytes),
            {room: StorageLimits(own.keep, own.keep_bytes) for room, own in settings.rooms.items()},
            settings.keep_free,
            settings.on_full,
        )
        clips = ClipRules(round(settings.max_clip * 1e6), settings.keep_free, settings.scratch)
        return cls(settings.dir, _rules(settings), policy, settings.sync, settings.progressive, clips)


def _rules(settings: RecordingSettings) -> Rules:
    """Makes the rules; a room takes each value that it does not set itself from the nearest room above it."""
    rules = Rules(_rule(settings, Rule()))
    for room in sorted(settings.rooms, key=len):
        rules = Rules(rules.all, {**rules.rooms, room: _rule(settings.rooms[room], rules.of(room))})
    return rules


def _rule(own: RecordingSettings | RoomRecordingSettings, above: Rule) -> Rule:
    """Makes a room\'s rule from its own settings and the rule of the room above it."""
    return Rule(
        above.mode if own.mode is None else own.mode,
        above.segment if own.segment is None else own.segment,
        above.preroll if own.preroll is None else own.preroll,
    )
