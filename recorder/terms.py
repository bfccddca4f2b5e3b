"""What one server's recordings are made by: settings as they are read -> rules, limits, and a directory.

Owns that translation; whoever has the settings need not know the recorder's own values. Reads no settings itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recorder.rules import Mode, Rule, Rules
from recorder.upkeep.cleaner import Limits, OnFull, Policy
from sfu.signaling.topics import valid_room


@dataclass(frozen=True, slots=True)
class Terms:
    """How recordings are made and kept. `sync`: seconds that a loss of power may cost."""

    directory: Path
    rules: Rules = field(default_factory=Rules)
    policy: Policy = field(default_factory=Policy)
    sync: float = 5.0
    progressive: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Terms:
        """By validated settings (`SFU_RECORDING__...`), in seconds and bytes; ValueError if a room cannot be one."""
        rooms: Mapping[str, Mapping[str, Any]] = settings["rooms"]
        for room in rooms:
            if not valid_room(room):
                raise ValueError(f"{room!r} is no room")
        policy = Policy(
            Limits(settings["keep"], settings["keep_bytes"]),
            {room: Limits(own["keep"], own["keep_bytes"]) for room, own in rooms.items()},
            settings["keep_free"],
            OnFull(settings["on_full"]),
        )
        return cls(settings["dir"], _rules(settings, rooms), policy, settings["sync"], settings["progressive"])


def _rules(settings: Mapping[str, Any], rooms: Mapping[str, Mapping[str, Any]]) -> Rules:
    """A room takes what it does not say itself from the nearest one above it."""
    rules = Rules(_rule(settings, Rule()))
    for room in sorted(rooms, key=len):
        rules = Rules(rules.all, {**rules.rooms, room: _rule(rooms[room], rules.of(room))})
    return rules


def _rule(own: Mapping[str, Any], above: Rule) -> Rule:
    return Rule(
        above.mode if own["mode"] is None else Mode(own["mode"]),
        above.segment if own["segment"] is None else own["segment"],
        above.preroll if own["preroll"] is None else own["preroll"],
    )
