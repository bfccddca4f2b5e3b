"""Rooms: their members, the tracks that these send, and the track in each slot. Pure; never touches media or sessions.

Each call that changes something returns a `Change`: exactly the news that others need. A room contains its sub-rooms: a
sender counts in its room and every room above, a viewer only in its own room. A room is known while it or a room below
has a participant; no other rooms are remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sfu.media.ingest.starts import Trouble
from sfu.rooms.senders import Sender, Track
from sfu.rooms.slots import Selection, SlotSpec, SlotState, Wall
from sfu.signaling.topics import Leaf, Role, contains, valid_peer, valid_room


class RoomError(Exception):
    """A request of a participant that is refused; `code` is a wire code."""

    def __init__(self, code: Literal["limit", "producer_exists", "bad_request"], message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class RoomLimits:
    """`rooms` counts rooms with their own participants, the others count per exact room, `join` leaves in both."""

    viewers_per_room: int
    rooms: int
    producers_per_room: int


@dataclass(frozen=True, slots=True)
class Change:
    """The changes that one call made.

    `slots`: the new slots of each viewer whose slots changed. `rooms`: the rooms that appeared, ended (see `known`) or
    have a new state. `events`: (room, payload) for `<room>/event`, in order.
    """

    slots: dict[Leaf, tuple[SlotState, ...]] = field(default_factory=dict)
    rooms: set[str] = field(default_factory=set)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def event(self, kind: str, leaf: Leaf) -> None:
        """Adds an event about the peer of `leaf`."""
        self.events.append((leaf.room, {"type": kind, "peer": leaf.peer}))


@dataclass(eq=False, slots=True)
class _Member:
    sender: Sender
    wall: Wall


@dataclass(eq=False, slots=True)
class _Room:
    """One room. `members` and `walls` are its own. `senders` and `population` include rooms below.

    `senders` has those with flows, in order of arrival.
    """

    members: dict[Leaf, _Member] = field(default_factory=dict)
    walls: dict[Leaf, Wall] = field(default_factory=dict)
    senders: dict[Leaf, Sender] = field(default_factory=dict)
    population: int = 0


class Rooms:
    """All rooms of one server."""

    def __init__(self, limits: RoomLimits, *, same_peer: Literal["replace", "reject"] = "replace") -> None:
        self._limits = limits
        self._same_peer = same_peer
        self._members: dict[Leaf, _Member] = {}
        self._rooms: dict[str, _Room] = {}
        self._recorded: set[tuple[str, str]] = set()
        self._troubled: dict[Leaf, Sender] = {}
        """The senders with problems."""

    def admit(self, leaf: Leaf) -> tuple[Leaf, ...]:
        """Returns the leaves whose sessions a new session on `leaf` replaces; changes nothing.

        These are the same leaf and, if it sends, the other leaf on which its peer may send. The caller must end them
        first. Raises RoomError `producer_exists` or `limit` if the session must be refused.
        """
        replaced = tuple(other for other in _same_peer(leaf) if other in self._members)
        if replaced and leaf.role is not Role.VIEW and self._same_peer == "reject":
            raise RoomError("producer_exists", f"{leaf.peer} already sends to {leaf.room}")
        self._check_limits(leaf, replaced)
        return replaced

    def _check_limits(self, leaf: Leaf, replaced: tuple[Leaf, ...]) -> None:
        room = self._rooms.get(leaf.room)
        if room is None or not room.members:
            if sum(bool(known.members) for known in self._rooms.values()) >= self._limits.rooms:
                raise RoomError("limit", f"no more than {self._limits.rooms} rooms")
            room = _Room()
        roles = [other.role for other in replaced]
        viewers = len(room.walls) - sum(role is not Role.PUB for role in roles)
        if leaf.role is not Role.PUB and viewers >= self._limits.viewers_per_room:
            raise RoomError("limit", f"no more than {self._limits.viewers_per_room} viewers in {leaf.room}")
        if leaf.role is Role.VIEW:
            return
        senders = sum(other.role is not Role.VIEW for other in room.members) - len(roles)
        if senders >= self._limits.producers_per_room:
            raise RoomError("limit", f"no more than {self._limits.producers_per_room} producers in {leaf.room}")

    def join(self, leaf: Leaf, *, since: str) -> Change:
        """Begins a session on `leaf`; `since` is now, ISO 8601 UTC. Raises ValueError if `leaf` has a session."""
        if leaf in self._members:
            raise ValueError(f"{leaf} has a session already")
        change = Change()
        member = self._members[leaf] = _Member(Sender(leaf, since), Wall(leaf))
        for room in _lineage(leaf.room):
            if room not in self._rooms:
                self._rooms[room] = _Room()
                change.rooms.add(room)
            self._rooms[room].population += 1
        self._rooms[leaf.room].members[leaf] = member
        if leaf.role is not Role.PUB:
            self._rooms[leaf.room].walls[leaf] = member.wall
            change.rooms.add(leaf.room)
            change.event("viewer_joined", leaf)
        return change

    def set_slots(self, leaf: Leaf, specs: Sequence[SlotSpec]) -> Change:
        """Sets the sections on which `leaf` receives. Slots with the same mid keep their tracks."""
        wall = self._members[leaf].wall
        change, before = Change(), wall.states
        wall.set_specs(specs, self._rooms[leaf.room].senders)
        _report(change, wall, before)
        return change

    def set_tracks(self, leaf: Leaf, tracks: Sequence[Track], problems: Mapping[str, Trouble] | None = None) -> Change:
        """Sets the tracks that flow from `leaf`, in the order of its sections. None: it is no longer a producer.

        `problems`: the tracks that can be neither shown nor recorded, by id.
        """
        change = Change()
        self._produce(leaf, tracks, change)
        self._trouble(leaf, problems or {}, change)
        return change

    def _trouble(self, leaf: Leaf, problems: Mapping[str, Trouble], change: Change) -> None:
        """Notes which tracks have problems, and adds an event for each that has another one than before."""
        sender = self._members[leaf].sender
        before, sender.problems = sender.problems, problems
        if before == problems:
            return
        change.rooms.update(_lineage(leaf.room))
        for track in sorted(before.keys() | problems.keys()):
            if (trouble := problems.get(track)) != before.get(track):
                event = {"type": "track_problem", "peer": leaf.peer, "track": track}
                change.events.append(
                    (leaf.room, event | {"problem": None if trouble is None else trouble.problem.value})
                )
        self._troubled.pop(leaf, None)
        if problems:
            self._troubled[leaf] = sender

    def select(
        self, leaf: Leaf, *, mid: str, peer: str | None, room: str | None = None, track: str | None = None
    ) -> Change:
        """Selects `peer`, present or not, for the slot `mid`; None empties the slot.

        Without `room` the peer is looked up in the viewer's room and below. If no peer there has that name, the first
        one to join is selected. Raises RoomError `bad_request` for an unknown mid, an invalid name, a room outside the
        viewer's, a peer that is in several rooms, the viewer itself, or a track of the other kind.
        """
        wall = self._members[leaf].wall
        change, before = Change(), wall.states
        selection = Selection(None) if peer is None else self._selection(leaf, peer, room, track)
        self._check_kind(leaf, mid, selection)
        wall.select(mid, selection, self._rooms[leaf.room].senders)
        _report(change, wall, before)
        return change

    def _selection(self, leaf: Leaf, peer: str, room: str | None, track: str | None) -> Selection:
        if not valid_peer(peer) or (room is not None and not (valid_room(room) and contains(leaf.room, room))):
            raise RoomError("bad_request", "no such peer can be seen from here")
        if room == leaf.room and peer == leaf.peer:
            raise RoomError("bad_request", "nobody sees itself")
        if room is None:
            senders = self._rooms[leaf.room].senders
            found = {other.room for other in senders if other.peer == peer} - _own_room(leaf, peer)
            if len(found) > 1:
                raise RoomError("bad_request", f"{peer} is in several rooms: {', '.join(sorted(found))}")
            room = next(iter(found), None)
        return Selection(peer, room, track)

    def _check_kind(self, leaf: Leaf, mid: str, selection: Selection) -> None:
        kind = self._members[leaf].wall.kind_of(mid)
        if kind is None:
            raise RoomError("bad_request", f"no slot has the mid {mid}")
        for sender in self._rooms[leaf.room].senders.values():
            if sender.is_at(selection.room, selection.peer):
                for flow in sender.flows:
                    if flow.source.track == selection.track and flow.source.kind != kind:
                        raise RoomError("bad_request", f"the slot {mid} takes {kind}, not {flow.source.kind}")

    def leave(self, leaf: Leaf) -> Change:
        """Ends the session on `leaf`. Changes nothing if there is none."""
        change = Change()
        if leaf not in self._members:
            return change
        self._rooms[leaf.room].walls.pop(leaf, None)
        self._produce(leaf, (), change)
        self._trouble(leaf, {}, change)
        if leaf.role is not Role.PUB:
            change.rooms.add(leaf.room)
            change.event("viewer_left", leaf)
        del self._members[leaf], self._rooms[leaf.room].members[leaf]
        for room in _lineage(leaf.room):
            self._rooms[room].population -= 1
            if not self._rooms[room].population:
                del self._rooms[room]
                change.rooms.add(room)
        return change

    def _produce(self, leaf: Leaf, tracks: Sequence[Track], change: Change) -> None:
        sender = self._members[leaf].sender
        before = sender.sources
        if not sender.set_tracks(tracks):
            return
        if sender.sources != before:
            change.rooms.update(_lineage(leaf.room))
        if bool(before) != bool(tracks):
            self._list(sender)
            change.event("producer_joined" if tracks else "producer_left", leaf)
        for name in _lineage(leaf.room):
            room = self._rooms[name]
            for wall in room.walls.values():
                states = wall.states
                wall.settle(room.senders, sender)
                _report(change, wall, states)

    def _list(self, sender: Sender) -> None:
        for name in _lineage(sender.leaf.room):
            if sender.flows:
                self._rooms[name].senders[sender.leaf] = sender
            else:
                del self._rooms[name].senders[sender.leaf]

    def set_recording(self, room: str, peer: str, *, on: bool, event: dict[str, Any]) -> Change:
        """Notes that the recording of a peer has started or stopped. `event` is the event to publish."""
        recorded = self._recorded | {(room, peer)} if on else self._recorded - {(room, peer)}
        change = Change(rooms=set(_lineage(room)) if recorded != self._recorded else set(), events=[(room, event)])
        self._recorded = recorded
        return change

    def recording(self, room: str) -> bool:
        """Returns True if a peer in the room or below is being recorded."""
        return any(contains(room, recorded) for recorded, _ in self._recorded)

    def slots(self, leaf: Leaf) -> tuple[SlotState, ...]:
        """Returns the content of each slot of `leaf`. Raises KeyError if `leaf` has no session."""
        return self._members[leaf].wall.states

    @property
    def member_count(self) -> int:
        """Members of all rooms together."""
        return len(self._members)

    def rooms(self) -> list[str]:
        """Returns every known room, sorted."""
        return sorted(self._rooms)

    def known(self, room: str) -> bool:
        """Returns True if the room or one below it has a participant."""
        return room in self._rooms

    def viewers(self, room: str) -> int:
        """Returns the number of viewers in exactly this room."""
        return len(self._rooms[room].walls) if room in self._rooms else 0

    def live(self, room: str) -> bool:
        """Returns True if media flows in this room or below."""
        return room in self._rooms and bool(self._rooms[room].senders)

    def state(self, room: str) -> dict[str, Any]:
        """Returns the JSON of `<room>/state`; for an unknown room that of an empty one.

        Producers in rooms below have a field `room`. A peer all of whose tracks have problems may be one without media.
        """
        senders: Mapping[Leaf, Sender] = self._rooms[room].senders if room in self._rooms else {}
        mute = [sender for leaf, sender in self._troubled.items() if leaf not in senders and contains(room, leaf.room)]
        return {
            "v": 2,
            "live": bool(senders),
            "producers": [_entry(sender, room) for sender in (*senders.values(), *mute)],
            "viewers": self.viewers(room),
            "recording": self.recording(room),
        }


def _report(change: Change, wall: Wall, before: tuple[SlotState, ...]) -> None:
    if (states := wall.states) != before:
        change.slots[wall.leaf] = states


def _entry(sender: Sender, room: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"peer": sender.leaf.peer}
    if sender.leaf.room != room:
        entry["room"] = sender.leaf.room
    tracks = {source.track: {"kind": source.kind, "codec": source.codec} for source in sender.sources}
    for track, trouble in sender.problems.items():
        fields = tracks.get(track, {"kind": trouble.kind, "codec": trouble.codec})
        tracks[track] = fields | {"problem": trouble.problem.value}
    listed = [{"id": track} | fields for track, fields in tracks.items()]
    return entry | {"since": sender.since, "tracks": listed}


def _same_peer(leaf: Leaf) -> Iterator[Leaf]:
    roles = (Role.VIEW,) if leaf.role is Role.VIEW else (Role.PUB, Role.JOIN)
    return (Leaf(leaf.room, role, leaf.peer) for role in roles)


def _own_room(leaf: Leaf, peer: str) -> set[str]:
    return {leaf.room} if leaf.peer == peer else set()


def _lineage(room: str) -> Iterator[str]:
    """Yields the room, then each room that contains it."""
    while room:
        yield room
        room = room.rpartition("/")[0]
