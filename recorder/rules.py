"""What is to be recorded: modes by the settings, words from `recordings/set`.

Owns the decision for every room (pure). Never knows who is there, and never records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from recorder.upkeep.cleaner import Policy, StorageLimits
from sfu.settings import RecordingMode, RecordingSettings, RoomRecordingSettings
from sfu.signaling.topics import contains, valid_room


class Duty(StrEnum):
    """What to do with a producer."""

    NOTHING = "nothing"
    REMEMBER = "remember"
    """Keep the last seconds in memory."""
    RECORD = "record"


_TABLE: Final[Mapping[RecordingMode, Mapping[bool | None, Duty]]] = {
    # by what was said last: nothing, ON, OFF
    RecordingMode.OFF: {None: Duty.NOTHING, True: Duty.NOTHING, False: Duty.NOTHING},
    RecordingMode.ALWAYS: {None: Duty.RECORD, True: Duty.RECORD, False: Duty.NOTHING},
    RecordingMode.ON_DEMAND: {None: Duty.NOTHING, True: Duty.RECORD, False: Duty.NOTHING},
    RecordingMode.EVENT: {None: Duty.REMEMBER, True: Duty.RECORD, False: Duty.REMEMBER},
}


@dataclass(frozen=True, slots=True)
class Rule:
    """How a room is recorded; `segment` and `preroll` in seconds."""

    mode: RecordingMode = RecordingMode.ON_DEMAND
    segment: float = 600.0
    preroll: float = 0.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The rule of all rooms, and those of rooms with one of their own, which holds for their sub-rooms too."""

    all: Rule = Rule()
    rooms: Mapping[str, Rule] = field(default_factory=dict)

    def of(self, room: str) -> Rule:
        """The nearest one."""
        return self.rooms.get(_nearest(room, self.rooms) or "", self.all)


class Switches:
    """What was said on `recordings/set`: for a room and, as a room contains them, its sub-rooms.

    The latest word counts: one for a room takes back what was said for those below it before.
    """

    def __init__(self, rules: Rules, *, most: int = 1000) -> None:
        """`most`: room names are anybody's to invent; beyond it the oldest words are forgotten."""
        self._rules = rules
        self._said: dict[str, bool] = {}
        self._most = most

    def say(self, room: str, on: bool) -> None:
        """ON or OFF."""
        for below in [name for name in self._said if contains(room, name)]:
            del self._said[below]
        self._said[room] = on
        if len(self._said) > self._most:
            del self._said[next(iter(self._said))]

    def duty(self, room: str) -> Duty:
        """What to do with the producers of exactly this room."""
        said = self._said.get(_nearest(room, self._said) or "")
        rule = self._rules.of(room)
        duty = _TABLE[rule.mode][said]
        return Duty.NOTHING if duty is Duty.REMEMBER and not rule.preroll else duty


def _nearest(room: str, among: Mapping[str, object]) -> str | None:
    """The room itself or the nearest one above it that is among these."""
    while room and room not in among:
        room = room.rpartition("/")[0]
    return room or None


@dataclass(frozen=True, slots=True)
class RecordingConfig:
    """How recordings are made and kept. `sync`: seconds that a loss of power may cost."""

    directory: Path
    rules: Rules = field(default_factory=Rules)
    policy: Policy = field(default_factory=Policy)
    sync: float = 5.0
    progressive: bool = False

    @classmethod
    def of(cls, settings: RecordingSettings) -> RecordingConfig:
        """Makes a configuration from the settings. Raises ValueError if a room's name cannot be one."""
        for room in settings.rooms:
            if not valid_room(room):
                raise ValueError(f"{room!r} is not a room")
        policy = Policy(
            StorageLimits(settings.keep, settings.keep_bytes),
            {room: StorageLimits(own.keep, own.keep_bytes) for room, own in settings.rooms.items()},
            settings.keep_free,
            settings.on_full,
        )
        return cls(settings.dir, _rules(settings), policy, settings.sync, settings.progressive)


def _rules(settings: RecordingSettings) -> Rules:
    """Makes the rules; a room takes each value that it does not set itself from the nearest room above it."""
    rules = Rules(_rule(settings, Rule()))
    for room in sorted(settings.rooms, key=len):
        rules = Rules(rules.all, {**rules.rooms, room: _rule(settings.rooms[room], rules.of(room))})
    return rules


def _rule(own: RecordingSettings | RoomRecordingSettings, above: Rule) -> Rule:
    return Rule(
        above.mode if own.mode is None else own.mode,
        above.segment if own.segment is None else own.segment,
        above.preroll if own.preroll is None else own.preroll,
    )
