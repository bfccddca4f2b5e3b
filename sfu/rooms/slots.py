"""The fill rule: which slot of one viewer shows which track. Pure; never knows who else watches.

A viewer's k-th video slot and k-th audio slot form window k and belong together. The rule, in the order it is applied:

1. What is shown stays until it stops or is selected away; nobody else's coming or going moves it.
2. A selected slot shows its peer and nothing else, and waits for it when it is away. Selecting a video slot takes the
   window's audio slot along, unless that one was selected by its own mid.
3. A track that a selection shows leaves the unselected slot it was in (two windows swap, nothing is lost from view), so
   a viewer meets a track twice only by selecting it twice.
4. Video fills the first free window: best the one where its sound already is, then the one it was in before it went
   away, then one that also has room for its sound. Each video of a producer takes a window of its own.
5. Audio goes where its video is, following it there; where it cannot, it takes a window without video slot, and a whole
   window only while nothing else of its producer is in view.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest
from typing import Literal

from sfu.rooms.senders import Flow, Sender, SlotSource
from sfu.rtc.sdp.codec import Codec, Kind, matching
from sfu.signaling.topics import Leaf, Role

Reason = Literal["codec", "away"]


@dataclass(frozen=True, slots=True)
class SlotSpec:
    """One section on which a viewer receives, with every codec it may be sent there."""

    mid: str
    kind: Kind
    codecs: tuple[Codec, ...]


@dataclass(frozen=True, slots=True)
class SlotState:
    """What a slot shows now.

    `reason`: `codec` = `source` cannot be decoded here, so no media; `away` = what was selected is not here.
    """

    mid: str
    kind: Kind
    source: SlotSource | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What a viewer chose: `peer` None = nothing; `room` None = wherever below the viewer that peer first shows up."""

    peer: str | None
    room: str | None = None
    track: str | None = None


@dataclass(eq=False, slots=True)
class _Decoders:
    """The codecs of a slot as one object for all slots that have the same, so that it is looked up by identity.

    A thousand viewers offer a handful of codec lists; matching each anew would be most of the cost of a camera coming.
    """

    codecs: tuple[Codec, ...]


_decoders = lru_cache(maxsize=256)(_Decoders)


@lru_cache(maxsize=1024)
def _decodes(decoders: _Decoders, codec: Codec) -> bool:
    return matching(codec, decoders.codecs) is not None


@dataclass(eq=False, slots=True)
class Slot:
    """One slot of a viewer. `partner` is the other half of its window, if it has one."""

    spec: SlotSpec
    decoders: _Decoders
    state: SlotState
    partner: Slot | None = None
    selection: Selection | None = None
    flow: Flow | None = None
    last: Leaf | None = None

    @property
    def pin(self) -> Selection | None:
        """The selection that rules here: its own or, for audio, that of its window's video."""
        if self.selection or self.spec.kind == "video" or self.partner is None or self.partner.selection is None:
            return self.selection
        return replace(self.partner.selection, track=None)

    @property
    def free(self) -> bool:
        """Whether the fill rule may put something here."""
        return self.flow is None and self.pin is None

    def shows(self, producer: Sender) -> bool:
        """Whether something of `producer` is here."""
        return self.flow is not None and self.flow.producer is producer

    def remembers(self, producer: Sender) -> bool:
        """Whether that peer was the last one here."""
        return self.last is not None and producer.is_at(self.last.room, self.last.peer)

    def show(self, flow: Flow | None, reason: Reason | None = None) -> None:
        """Puts `flow` here, or nothing for a `reason`; a codec that cannot be decoded is found out here."""
        self.flow = flow
        if flow is not None:
            self.last = flow.producer.leaf
            reason = None if _decodes(self.decoders, flow.codec) else "codec"
        self.state = SlotState(self.spec.mid, self.spec.kind, flow.source if flow else None, reason)


class Wall:
    """The slots of one viewer. `producers` are always those below the viewer's room, in order of arrival."""

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf
        self._slots: list[Slot] = []

    @property
    def states(self) -> tuple[SlotState, ...]:
        """What each slot shows, in the order of the viewer's sections."""
        return tuple(slot.state for slot in self._slots)

    def set_specs(self, specs: Sequence[SlotSpec], producers: Mapping[Leaf, Sender]) -> None:
        """Takes the sections of a new negotiation; slots whose mid and kind go on keep what they show."""
        kept = {(slot.spec.mid, slot.spec.kind): slot for slot in self._slots}
        self._slots = []
        for spec in specs:
            slot = kept.get((spec.mid, spec.kind)) or Slot(spec, _decoders(spec.codecs), SlotState(spec.mid, spec.kind))
            slot.spec, slot.decoders = spec, _decoders(spec.codecs)
            slot.show(slot.flow)
            self._slots.append(slot)
        for video, audio in zip_longest(self._of_kind("video"), self._of_kind("audio")):
            for slot, partner in ((video, audio), (audio, video)):
                if slot:
                    slot.partner = partner
        self.settle(producers)

    def select(self, mid: str, selection: Selection, producers: Mapping[Leaf, Sender]) -> None:
        """Gives the slot `mid` to what was chosen. KeyError if there is no such slot."""
        slot = next((slot for slot in self._slots if slot.spec.mid == mid), None)
        if slot is None:
            raise KeyError(mid)
        slot.selection = selection
        self.settle(producers)

    def kind_of(self, mid: str) -> Kind | None:
        """The kind of the slot `mid`, or None if there is none."""
        return next((slot.spec.kind for slot in self._slots if slot.spec.mid == mid), None)

    def settle(self, producers: Mapping[Leaf, Sender], changed: Sender | None = None) -> None:
        """Brings every slot up to date: after `changed` came, changed or went, or after a change of our own (None)."""
        vacated = self._end_stopped()
        if any(slot.selection for slot in self._slots):
            self._show_selected(producers)
        vacated |= self._end_strays()
        self._fill(producers, (changed,) if changed and not vacated else producers.values())

    def _of_kind(self, kind: Kind) -> list[Slot]:
        return [slot for slot in self._slots if slot.spec.kind == kind]

    def _is_self(self, producer: Sender) -> bool:
        return producer.is_at(self.leaf.room, self.leaf.peer)

    def _end_stopped(self) -> bool:
        vacated = False
        for slot in self._slots:
            if slot.flow is None:
                continue
            if slot.flow.ended:
                slot.show(None)
                vacated = True
            elif slot.state.source is not slot.flow.source:
                slot.show(slot.flow)
        return vacated

    def _show_selected(self, producers: Mapping[Leaf, Sender]) -> None:
        for slot in self._slots:
            if slot.selection and slot.selection.peer and slot.selection.room is None:
                slot.selection = self._found(slot.selection, producers)
        for slot in self._slots:
            if pin := slot.pin:
                _show_pinned(slot, pin, producers)

    def _found(self, selection: Selection, producers: Mapping[Leaf, Sender]) -> Selection:
        for leaf, producer in producers.items():
            if leaf.peer == selection.peer and not self._is_self(producer):
                return replace(selection, room=leaf.room)
        return selection

    def _end_strays(self) -> bool:
        """Empties unselected slots whose track is shown elsewhere, or whose window went to another producer."""
        shown = {slot.flow for slot in self._slots if slot.flow and slot.pin}
        vacated = False
        for slot in self._slots:
            if slot.flow is None or slot.pin:
                continue
            video = slot.partner.flow if slot.partner and slot.spec.kind == "audio" else None
            if slot.flow in shown or (video and video.producer is not slot.flow.producer):
                slot.show(None)
                vacated = True
            shown.add(slot.flow)
        return vacated

    def _fill(self, producers: Mapping[Leaf, Sender], candidates: Iterable[Sender]) -> None:
        moved = False
        free, shown = self._free_kinds(), self._shown()
        for producer in candidates:
            if not free:
                return
            waits = any(flow.source.kind in free and flow not in shown for flow in producer.flows)
            if waits and not self._is_self(producer):
                self._place_videos(producer)
                moved |= self._place_audios(producer)
                free, shown = self._free_kinds(), self._shown()
        if moved:
            # The window that sound left may serve someone who was passed over; sound never moves away from its video,
            # so this ends.
            self._fill(producers, producers.values())

    def _free_kinds(self) -> set[Kind]:
        return {slot.spec.kind for slot in self._slots if slot.free}

    def _shown(self) -> set[Flow | None]:
        return {slot.flow for slot in self._slots}

    def _place_videos(self, producer: Sender) -> None:
        shown = self._shown()
        for flow in producer.of_kind("video"):
            if flow in shown:
                continue
            slots = [slot for slot in self._of_kind("video") if slot.free and _open_to(slot, producer)]
            if slots:
                min(slots, key=lambda slot: _video_rank(slot, producer)).show(flow)

    def _place_audios(self, producer: Sender) -> bool:
        """Returns whether a sound left a window to join its video."""
        moved = False
        for flow in producer.of_kind("audio"):
            seat = next((slot for slot in self._slots if slot.flow is flow), None)
            if seat and (seat.pin or _beside(seat, producer)):
                continue
            target = self._beside_video(producer) or (None if seat else self._alone(producer))
            if target:
                target.show(flow)
                if seat:
                    seat.show(None)
                    moved = True
        return moved

    def _beside_video(self, producer: Sender) -> Slot | None:
        slots = self._of_kind("audio")
        return next((slot for slot in slots if slot.free and _beside(slot, producer)), None)

    def _alone(self, producer: Sender) -> Slot | None:
        free = [slot for slot in self._of_kind("audio") if slot.free]
        slots = [slot for slot in free if slot.partner is None]
        if not slots and not any(slot.shows(producer) for slot in self._slots):
            slots = [slot for slot in free if slot.partner and slot.partner.free]
        return min(slots, key=lambda slot: not slot.remembers(producer), default=None)


def _show_pinned(slot: Slot, pin: Selection, producers: Mapping[Leaf, Sender]) -> None:
    flows = [flow for producer in _chosen(pin, producers) for flow in producer.flows]
    fitting = [flow for flow in flows if flow.source.kind == slot.spec.kind and pin.track in {None, flow.source.track}]
    if slot.flow in fitting:
        return
    away = pin.peer is not None and (not flows or pin.track is not None)
    slot.show(fitting[0] if fitting else None, "away" if away else None)


def _chosen(pin: Selection, producers: Mapping[Leaf, Sender]) -> list[Sender]:
    """Both leaves of one peer may send for the moment in which the newer session replaces the older."""
    if pin.peer is None or pin.room is None:
        return []
    leaves = (Leaf(pin.room, role, pin.peer) for role in (Role.PUB, Role.JOIN))
    return [producers[leaf] for leaf in leaves if leaf in producers]


def _beside(slot: Slot, producer: Sender) -> bool:
    return slot.partner is not None and slot.partner.shows(producer)


def _open_to(slot: Slot, producer: Sender) -> bool:
    """Whether the sound of this video slot's window leaves it to `producer`."""
    audio = slot.partner
    return audio is None or audio.flow is None or audio.pin is not None or audio.shows(producer)


def _video_rank(slot: Slot, producer: Sender) -> tuple[bool, ...]:
    sound = slot.partner is not None and slot.partner.free
    silent = not producer.of_kind("audio")
    return (not _beside(slot, producer), not slot.remembers(producer), not (sound or silent))
