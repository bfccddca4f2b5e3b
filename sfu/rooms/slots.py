"""The fill rule: which slot of one viewer shows which track. Pure; never knows other viewers.

A viewer's k-th video slot and k-th audio slot form window k and belong together. The rule, in the order it is applied:

1. A shown track stays until it ends or another one is selected. Other senders that come or go do not move it.
2. A selected slot shows only its selected peer, and waits for it while it is away. Selecting a video slot also selects
   the window's audio slot, unless that one was selected by its own mid.
3. A track that a selection shows is removed from the unselected slot that showed it (two windows swap, so no track
   disappears). So a track is shown twice only if it was selected twice, and never more than twice: one viewer must not
   multiply a camera's bitrate.
4. Video fills the first free window. It prefers the window with its audio, then the one where it was before it went
   away, then one that also has room for its audio. Each video of a sender takes its own window.
5. Audio goes to the window of its video and follows it. If that is not possible, it takes a window without a video
   slot, or a whole window if no other track of its sender is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest
from typing import Final, Literal

from sfu.rooms.senders import Flow, Sender, SlotSource
from sfu.rtc.sdp.codec import Codec, Kind, matching
from sfu.signaling.topics import Leaf, Role

Reason = Literal["codec", "away", "limit"]

_MOST_COPIES: Final = 2
"""Slots of one viewer that may show the same track."""


@dataclass(frozen=True, slots=True)
class SlotSpec:
    """One section on which a viewer receives, with every codec it may be sent there."""

    mid: str
    kind: Kind
    codecs: tuple[Codec, ...]


@dataclass(frozen=True, slots=True)
class SlotState:
    """The present content of a slot.

    `reason`: `codec` = the viewer cannot decode `source`, so no media is sent; `away` = the selected peer is not here;
    `limit` = its track is shown twice already.
    """

    mid: str
    kind: Kind
    source: SlotSource | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """A viewer's choice. `peer` None = empty; `room` None = the first room below the viewer where the peer appears."""

    peer: str | None
    room: str | None = None
    track: str | None = None


@dataclass(eq=False, slots=True)
class _Decoders:
    """The codecs of a slot: one object for all slots with equal codecs, so that a look-up compares identities.

    A thousand viewers offer a handful of codec lists. Matching codecs for each would take most of the time when a
    camera joins.
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
        """Returns the selection that applies: its own or, for audio, that of its window's video."""
        if self.selection or self.spec.kind == "video" or self.partner is None or self.partner.selection is None:
            return self.selection
        return replace(self.partner.selection, track=None)

    @property
    def free(self) -> bool:
        """Returns True if the fill rule may show a track here."""
        return self.flow is None and self.pin is None

    def shows(self, sender: Sender) -> bool:
        """Returns True if a track of `sender` is shown here."""
        return self.flow is not None and self.flow.sender is sender

    def remembers(self, sender: Sender) -> bool:
        """Returns True if that peer was the last one here."""
        return self.last is not None and sender.is_at(self.last.room, self.last.peer)

    def show(self, flow: Flow | None, reason: Reason | None = None) -> None:
        """Shows `flow`, or nothing for a `reason`. Sets the reason `codec` if the viewer cannot decode it."""
        self.flow = flow
        if flow is not None:
            self.last = flow.sender.leaf
            reason = None if _decodes(self.decoders, flow.codec) else "codec"
        self.state = SlotState(self.spec.mid, self.spec.kind, flow.source if flow else None, reason)


class Wall:
    """The slots of one viewer. `senders` are those with flows in the viewer's room and below, in order of arrival."""

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf
        self._slots: list[Slot] = []

    @property
    def states(self) -> tuple[SlotState, ...]:
        """Returns the content of each slot, in the order of the viewer's sections."""
        return tuple(slot.state for slot in self._slots)

    def set_specs(self, specs: Sequence[SlotSpec], senders: Mapping[Leaf, Sender]) -> None:
        """Takes the sections of a negotiation. Slots with the same mid and kind as before keep their tracks."""
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
        self.settle(senders)

    def select(self, mid: str, selection: Selection, senders: Mapping[Leaf, Sender]) -> None:
        """Applies a selection to the slot `mid`. Raises KeyError if there is no such slot."""
        slot = next((slot for slot in self._slots if slot.spec.mid == mid), None)
        if slot is None:
            raise KeyError(mid)
        slot.selection = selection
        self.settle(senders)

    def kind_of(self, mid: str) -> Kind | None:
        """Returns the kind of the slot `mid`; None if there is no such slot."""
        return next((slot.spec.kind for slot in self._slots if slot.spec.mid == mid), None)

    def settle(self, senders: Mapping[Leaf, Sender], changed: Sender | None = None) -> None:
        """Updates every slot after `changed` has joined, changed or left; None after a change of this viewer's own."""
        vacated = self._end_stopped()
        if any(slot.selection for slot in self._slots):
            self._show_selected(senders)
        vacated |= self._end_strays()
        self._fill(senders, (changed,) if changed and not vacated else senders.values())

    def _of_kind(self, kind: Kind) -> list[Slot]:
        return [slot for slot in self._slots if slot.spec.kind == kind]

    def _is_self(self, sender: Sender) -> bool:
        return sender.is_at(self.leaf.room, self.leaf.peer)

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

    def _show_selected(self, senders: Mapping[Leaf, Sender]) -> None:
        for slot in self._slots:
            if slot.selection and slot.selection.peer and slot.selection.room is None:
                slot.selection = self._found(slot.selection, senders)
        pins = [(slot, pin, _chosen(pin, senders)) for slot in self._slots if (pin := slot.pin)]
        for slot, pin, chosen in pins:
            if slot.flow not in _fitting(slot, pin, chosen):
                slot.show(None)  # before others are filled: one that waits may take its place
        copies = Counter(slot.flow for slot, _, _ in pins)
        for slot, pin, chosen in pins:
            if slot.flow is None:
                _show_pinned(slot, pin, chosen, copies)

    def _found(self, selection: Selection, senders: Mapping[Leaf, Sender]) -> Selection:
        for leaf, sender in senders.items():
            if leaf.peer == selection.peer and not self._is_self(sender):
                return replace(selection, room=leaf.room)
        return selection

    def _end_strays(self) -> bool:
        """Empties unselected slots whose track is shown elsewhere, or whose window now shows another sender."""
        shown = {slot.flow for slot in self._slots if slot.flow and slot.pin}
        vacated = False
        for slot in self._slots:
            if slot.flow is None or slot.pin:
                continue
            video = slot.partner.flow if slot.partner and slot.spec.kind == "audio" else None
            if slot.flow in shown or (video and video.sender is not slot.flow.sender):
                slot.show(None)
                vacated = True
            shown.add(slot.flow)
        return vacated

    def _fill(self, senders: Mapping[Leaf, Sender], candidates: Iterable[Sender]) -> None:
        moved = False
        free, shown = self._free_kinds(), self._shown()
        for sender in candidates:
            if not free:
                return
            waits = any(flow.source.kind in free and flow not in shown for flow in sender.flows)
            if waits and not self._is_self(sender):
                self._place_videos(sender)
                moved |= self._place_audios(sender)
                free, shown = self._free_kinds(), self._shown()
        if moved:
            # Another sender may use the window that the audio left. Audio never moves away from its video, so this
            # ends.
            self._fill(senders, senders.values())

    def _free_kinds(self) -> set[Kind]:
        return {slot.spec.kind for slot in self._slots if slot.free}

    def _shown(self) -> set[Flow | None]:
        return {slot.flow for slot in self._slots}

    def _place_videos(self, sender: Sender) -> None:
        shown = self._shown()
        for flow in sender.of_kind("video"):
            if flow in shown:
                continue
            slots = [slot for slot in self._of_kind("video") if slot.free and _open_to(slot, sender)]
            if slots:
                min(slots, key=lambda slot: _video_rank(slot, sender)).show(flow)

    def _place_audios(self, sender: Sender) -> bool:
        """Returns True if an audio track left a window to join its video."""
        moved = False
        for flow in sender.of_kind("audio"):
            present = next((slot for slot in self._slots if slot.flow is flow), None)
            if present and (present.pin or _beside(present, sender)):
                continue
            target = self._beside_video(sender) or (None if present else self._alone(sender))
            if target:
                target.show(flow)
                if present:
                    present.show(None)
                    moved = True
        return moved

    def _beside_video(self, sender: Sender) -> Slot | None:
        slots = self._of_kind("audio")
        return next((slot for slot in slots if slot.free and _beside(slot, sender)), None)

    def _alone(self, sender: Sender) -> Slot | None:
        free = [slot for slot in self._of_kind("audio") if slot.free]
        slots = [slot for slot in free if slot.partner is None]
        if not slots and not any(slot.shows(sender) for slot in self._slots):
            slots = [slot for slot in free if slot.partner and slot.partner.free]
        return min(slots, key=lambda slot: not slot.remembers(sender), default=None)


def _fitting(slot: Slot, pin: Selection, chosen: Sequence[Sender]) -> list[Flow]:
    """Returns the tracks that a selected slot may show."""
    flows = [flow for sender in chosen for flow in sender.flows]
    return [flow for flow in flows if flow.source.kind == slot.spec.kind and pin.track in {None, flow.source.track}]


def _show_pinned(slot: Slot, pin: Selection, chosen: Sequence[Sender], copies: Counter[Flow | None]) -> None:
    """Fills a selected slot; `copies` are the selected slots that show each track."""
    fitting = _fitting(slot, pin, chosen)
    flow = next((flow for flow in fitting if copies[flow] < _MOST_COPIES), None)
    if flow is not None:
        copies[flow] += 1
        slot.show(flow)
    elif fitting:
        slot.show(None, "limit")
    else:
        away = pin.peer is not None and (pin.track is not None or not any(sender.flows for sender in chosen))
        slot.show(None, "away" if away else None)


def _chosen(pin: Selection, senders: Mapping[Leaf, Sender]) -> list[Sender]:
    """Returns the selected senders. Both leaves of a peer send for a moment when a newer session replaces one."""
    if pin.peer is None or pin.room is None:
        return []
    leaves = (Leaf(pin.room, role, pin.peer) for role in (Role.PUB, Role.JOIN))
    return [senders[leaf] for leaf in leaves if leaf in senders]


def _beside(slot: Slot, sender: Sender) -> bool:
    return slot.partner is not None and slot.partner.shows(sender)


def _open_to(slot: Slot, sender: Sender) -> bool:
    """Returns True if the audio of this video slot's window does not keep it for another sender."""
    audio = slot.partner
    return audio is None or audio.flow is None or audio.pin is not None or audio.shows(sender)


def _video_rank(slot: Slot, sender: Sender) -> tuple[bool, ...]:
    room_for_audio = slot.partner is not None and slot.partner.free
    silent = not sender.of_kind("audio")
    return (not _beside(slot, sender), not slot.remembers(sender), not (room_for_audio or silent))
