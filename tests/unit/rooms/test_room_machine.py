"""Any sequence of comings, goings, negotiations and selections, against a model that knows promises and no rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sfu.rooms.room import Change, RoomError, RoomLimits, Rooms
from sfu.rooms.senders import SlotSource, Track
from sfu.rooms.slots import SlotSpec, SlotState
from sfu.signaling.topics import Leaf, Role, contains
from tests.helpers.media_tracks import H264, VP8, audio, video, windows

ROOMS = ("s", "s/a", "s/a/b", "t")
PEERS = ("p", "q", "r")
leaves = st.builds(Leaf, st.sampled_from(ROOMS), st.sampled_from(Role), st.sampled_from(PEERS))
tracks = st.lists(
    st.sampled_from([video("v0"), video("v0", H264), video("v1"), audio("a0"), audio("a1")]),
    max_size=4,
    unique_by=lambda track: track.id,
)
codecs = st.sampled_from([(VP8, H264), (VP8,)])
sections = st.builds(
    lambda videos, audios, codecs, left_out: [
        spec for spec in windows(videos, audios, codecs=codecs) if spec.mid != left_out
    ],
    st.integers(0, 3),
    st.integers(0, 3),
    codecs,
    st.sampled_from(["", "v1", "a1"]),
)
Slots = dict[Leaf, tuple[SlotState, ...]]
Flowing = dict[tuple[str, str, str], set[Leaf]]  # (room, peer, track) -> the leaves it flows from


class Model:
    """The participants and their tracks, as plain dictionaries in order of arrival."""

    def __init__(self) -> None:
        self.members: set[Leaf] = set()
        self.tracks: dict[Leaf, list[Track]] = {}
        self.specs: dict[Leaf, list[SlotSpec]] = {}
        self.chosen: dict[tuple[Leaf, str], tuple[str | None, str | None, str | None]] = {}

    def viewers(self, room: str) -> int:
        return sum(leaf.room == room and leaf.role is not Role.PUB for leaf in self.members)

    def known(self) -> list[str]:
        above = {room[:end] for room in (leaf.room for leaf in self.members) for end in _ends(room)}
        return sorted(above)

    def seen_by(self, viewer: Leaf) -> list[Leaf]:
        me = (viewer.room, viewer.peer)
        return [leaf for leaf in self.tracks if contains(viewer.room, leaf.room) and (leaf.room, leaf.peer) != me]

    def flowing(self) -> Flowing:
        result: Flowing = {}
        for leaf, flows in self.tracks.items():
            for track in flows:
                result.setdefault((leaf.room, leaf.peer, track.id), set()).add(leaf)
        return result

    def state(self, room: str) -> dict[str, Any]:
        producers = []
        for leaf, flows in self.tracks.items():
            if contains(room, leaf.room):
                entry: dict[str, Any] = {"peer": leaf.peer, "since": "now"}
                entry |= {"room": leaf.room} if leaf.room != room else {}
                entry["tracks"] = [{"id": t.id, "kind": t.kind, "codec": t.codec.name} for t in flows]
                producers.append(entry)
        viewers = self.viewers(room)
        return {"v": 2, "live": bool(producers), "producers": producers, "viewers": viewers, "recording": False}

    def windows(self, viewer: Leaf, slots: tuple[SlotState, ...]) -> Iterator[tuple[SlotState | None, ...]]:
        return zip_longest(*([slot for slot in slots if slot.kind == kind] for kind in ("video", "audio")))

    def pin(self, viewer: Leaf, slot: SlotState, video: SlotState | None) -> tuple[str | None, ...] | None:
        own = self.chosen.get((viewer, slot.mid))
        if own is None and slot.kind == "audio" and video is not None and (viewer, video.mid) in self.chosen:
            return (*self.chosen[viewer, video.mid][:2], None)
        return own

    def bind(self) -> None:
        """A peer that was selected before anybody had its name is the first one that comes."""
        for (viewer, mid), (peer, room, track) in self.chosen.items():
            found = [leaf.room for leaf in self.seen_by(viewer) if leaf.peer == peer]
            if peer is not None and room is None and found:
                self.chosen[viewer, mid] = (peer, found[0], track)


class RoomMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.house = Rooms(RoomLimits(viewers_per_room=99, rooms=99, producers_per_room=99))
        self.model = Model()

    def step(self, act: Callable[[], Change], update: Callable[[], None], *, chooser: Leaf | None = None) -> None:
        """Acts on both; the change must be exactly the difference, and nobody but `chooser` may lose what flows on."""
        slots, states, flowing = self.slots(), self.states(), self.model.flowing()
        live = set(self.model.tracks)
        members = set(self.model.members)
        change = act()
        update()
        self.model.bind()
        after = self.slots()
        assert change.slots == {leaf: now for leaf, now in after.items() if now != slots.get(leaf, ())}
        assert change.rooms == {room for room in ROOMS if states[room] != self.states()[room]}
        assert Counter((room, event["type"], event["peer"]) for room, event in change.events) == Counter(
            self.expected_events(live, members)
        )
        for leaf, before in slots.items():
            if leaf in after and leaf != chooser:
                self.check_stays(leaf, before, after[leaf], flowing)

    def slots(self) -> Slots:
        return {leaf: self.house.slots(leaf) for leaf in self.model.members}

    def states(self) -> dict[str, Any]:
        return {room: self.house.known(room) and self.house.state(room) for room in ROOMS}

    def expected_events(self, live: set[Leaf], members: set[Leaf]) -> Iterator[tuple[str, str, str]]:
        yield from ((leaf.room, "producer_joined", leaf.peer) for leaf in set(self.model.tracks) - live)
        yield from ((leaf.room, "producer_left", leaf.peer) for leaf in live - set(self.model.tracks))
        for leaf in self.model.members ^ members:
            if leaf.role is not Role.PUB:
                yield leaf.room, "viewer_joined" if leaf in self.model.members else "viewer_left", leaf.peer

    def check_stays(
        self, viewer: Leaf, before: tuple[SlotState, ...], after: tuple[SlotState, ...], flowing: Flowing
    ) -> None:
        now_flowing = self.model.flowing()
        for was, now in zip(before, after, strict=True):
            if was.source is None or (now.source and _key(now.source) == _key(was.source)):
                continue
            goes_on = flowing[_key(was.source)] <= now_flowing.get(_key(was.source), set())
            joined_video = any(
                sound is not None and sound.source == was.source and picture is not None and picture.source is not None
                for picture, sound in self.model.windows(viewer, after)
            )
            selected = any(
                slot and slot.source and _key(slot.source) == _key(was.source) and self.model.pin(viewer, slot, pair[0])
                for pair in self.model.windows(viewer, after)
                for slot in pair
            )
            assert not goes_on or selected or (was.kind == "audio" and joined_video), (viewer, was, now)

    # --- what may happen

    @rule(leaf=leaves, shows=sections, flows=tracks)
    def comes(self, leaf: Leaf, shows: list[SlotSpec], flows: list[Track]) -> None:
        if leaf not in self.model.members:
            assert leaf not in self.house.admit(leaf)
            self.step(lambda: self.house.join(leaf, since="now"), lambda: self.model.members.add(leaf))
            self.negotiate(leaf, shows)
            self.produce(leaf, flows)

    @precondition(lambda self: self.model.members)
    @rule(data=st.data(), shows=sections)
    def negotiates(self, data: st.DataObject, shows: list[SlotSpec]) -> None:
        self.negotiate(self.someone(data), shows)

    @precondition(lambda self: self.model.members)
    @rule(data=st.data(), flows=tracks)
    def sends(self, data: st.DataObject, flows: list[Track]) -> None:
        self.produce(self.someone(data), flows)

    @precondition(lambda self: self.model.members)
    @rule(data=st.data())
    def leaves(self, data: st.DataObject) -> None:
        self.go(self.someone(data))

    @precondition(lambda self: any(self.model.specs.values()))
    @rule(
        data=st.data(),
        peer=st.sampled_from([*PEERS, None]),
        room=st.sampled_from([*ROOMS, None]),
        track=st.sampled_from(["v0", "v1", "a0", None, None]),
    )
    def selects(self, data: st.DataObject, peer: str | None, room: str | None, track: str | None) -> None:
        viewer = data.draw(st.sampled_from(sorted(leaf for leaf, specs in self.model.specs.items() if specs)))
        spec = data.draw(st.sampled_from(self.model.specs[viewer]))
        choice = (peer, room, track) if peer else (None, None, None)
        before = self.slots()

        def act() -> Change:
            return self.house.select(viewer, mid=spec.mid, peer=peer, room=room, track=track)

        try:
            self.step(act, lambda: self.model.chosen.update({(viewer, spec.mid): choice}), chooser=viewer)
        except RoomError:
            assert self.slots() == before

    def someone(self, data: st.DataObject) -> Leaf:
        return data.draw(st.sampled_from(sorted(self.model.members)))

    def negotiate(self, leaf: Leaf, shows: list[SlotSpec]) -> None:
        if leaf.role is Role.PUB:
            return

        def update() -> None:
            kept = {spec.mid for spec in shows}
            self.model.specs[leaf] = shows
            self.model.chosen = {key: pin for key, pin in self.model.chosen.items() if key[0] != leaf or key[1] in kept}

        self.step(lambda: self.house.set_slots(leaf, shows), update, chooser=leaf)

    def produce(self, leaf: Leaf, flows: list[Track]) -> None:
        if leaf.role is Role.VIEW:
            return

        def update() -> None:
            if flows:
                self.model.tracks[leaf] = flows
            else:
                self.model.tracks.pop(leaf, None)

        self.step(lambda: self.house.set_tracks(leaf, flows), update)

    def go(self, leaf: Leaf) -> None:
        def update() -> None:
            self.model.members.remove(leaf)
            self.model.tracks.pop(leaf, None)
            self.model.specs.pop(leaf, None)
            self.model.chosen = {key: pin for key, pin in self.model.chosen.items() if key[0] != leaf}

        self.step(lambda: self.house.leave(leaf), update)

    # --- what is always true

    @invariant()
    def states_are_the_models(self) -> None:
        assert self.house.rooms() == self.model.known()
        for room in ROOMS:
            assert self.house.state(room) == self.model.state(room)
            assert self.house.live(room) == self.model.state(room)["live"]

    @invariant()
    def viewers_see_only_what_flows_below_them_and_never_themselves(self) -> None:
        for viewer, slots in self.slots().items():
            visible = {
                SlotSource(leaf.room, leaf.peer, track.id, track.codec.name, track.kind)
                for leaf in self.model.seen_by(viewer)
                for track in self.model.tracks[leaf]
            }
            assert [(slot.mid, slot.kind) for slot in slots] == [
                (spec.mid, spec.kind) for spec in self.model.specs.get(viewer, [])
            ]
            for slot, spec in zip(slots, self.model.specs.get(viewer, []), strict=True):
                assert slot.source is None or (slot.source in visible and slot.source.kind == slot.kind)
                decodes = slot.source is None or slot.source.codec in {codec.name for codec in spec.codecs}
                assert (slot.reason == "codec") == (not decodes)

    @invariant()
    def a_track_is_met_twice_only_by_selecting(self) -> None:
        flowing = self.model.flowing()
        for viewer, slots in self.slots().items():
            pinned: set[SlotSource] = set()
            free: Counter[SlotSource] = Counter()
            for pair in self.model.windows(viewer, slots):
                for slot in pair:
                    if slot and slot.source and self.model.pin(viewer, slot, pair[0]):
                        pinned.add(slot.source)
                    elif slot and slot.source:
                        free[slot.source] += 1
            for source, count in free.items():
                assert count + (source in pinned) <= len(flowing[_key(source)])

    @invariant()
    def selected_slots_show_their_peer_or_say_why_not(self) -> None:
        for viewer, slots in self.slots().items():
            for pair in self.model.windows(viewer, slots):
                for slot in pair:
                    pin = slot and self.model.pin(viewer, slot, pair[0])
                    if slot and pin:
                        self.check_selected(viewer, slot, pin)
                    else:
                        assert slot is None or slot.reason != "away"

    def check_selected(self, viewer: Leaf, slot: SlotState, pin: tuple[str | None, ...]) -> None:
        peer, room, track = pin
        sent = [
            track
            for leaf in self.model.seen_by(viewer)
            if (leaf.room, leaf.peer) == (room, peer)
            for track in self.model.tracks[leaf]
        ]
        fitting = {sent.id for sent in sent if sent.kind == slot.kind and track in {None, sent.id}}
        if slot.reason == "limit":
            shown = [other.source for other in self.slots()[viewer] if other.source]
            copies = [sum((one.room, one.peer, one.track) == (room, peer, track) for one in shown) for track in fitting]
            assert slot.source is None
            assert copies
            assert min(copies) >= 2
        elif fitting:
            assert slot.source is not None
            assert (slot.source.room, slot.source.peer) == (room, peer)
            assert slot.source.track in fitting
        else:
            assert slot.source is None
            assert (slot.reason == "away") == (peer is not None and (not sent or track is not None))

    @invariant()
    def a_window_is_one_producers_and_none_is_free_while_one_waits(self) -> None:
        for viewer, slots in self.slots().items():
            shown = {(slot.source.room, slot.source.peer) for slot in slots if slot.source}
            waiting = [leaf for leaf in self.model.seen_by(viewer) if (leaf.room, leaf.peer) not in shown]
            kinds = {track.kind for leaf in waiting for track in self.model.tracks[leaf]}
            for picture, sound in self.model.windows(viewer, slots):
                open_picture = picture is not None and self.open(viewer, picture, picture)
                open_sound = sound is not None and self.open(viewer, sound, picture)
                sound_free = sound is None or open_sound or self.model.pin(viewer, sound, picture) is not None
                assert not ("video" in kinds and open_picture and sound_free)
                assert not ("audio" in kinds and open_sound and (picture is None or open_picture))
                if picture and sound and picture.source and sound.source and not self.model.pin(viewer, sound, picture):
                    assert _key(picture.source)[:2] == _key(sound.source)[:2]

    def open(self, viewer: Leaf, slot: SlotState, video: SlotState | None) -> bool:
        return slot.source is None and self.model.pin(viewer, slot, video) is None

    def teardown(self) -> None:
        for leaf in sorted(self.model.members):
            self.go(leaf)
        assert (self.house.rooms(), self.model.chosen) == ([], {})
        for leaf in (Leaf(room, role, peer) for room in ROOMS for role in Role for peer in PEERS):
            with pytest.raises(KeyError):
                self.house.slots(leaf)


def _key(source: SlotSource) -> tuple[str, str, str]:
    return source.room, source.peer, source.track


def _ends(room: str) -> list[int]:
    return [index for index, letter in enumerate(room) if letter == "/"] + [len(room)]


TestRoomMachine = RoomMachine.TestCase
TestRoomMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
