"""Senders: the peers that send, and the tracks that flow from them. Pure; never knows the viewers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sfu.media.ingest.starts import Trouble
from sfu.rtc.sdp.codec import Codec, Kind
from sfu.signaling.topics import Leaf


@dataclass(frozen=True, slots=True)
class Track:
    """One track that flows from a sender. Its `id` is unique within the sender and always has the same kind."""

    id: str
    codec: Codec

    @property
    def kind(self) -> Kind:
        """Returns `audio` or `video`."""
        return self.codec.kind


@dataclass(frozen=True, slots=True)
class SlotSource:
    """The source of a slot: one track of one peer. `codec` is a `Codec.name`."""

    room: str
    peer: str
    track: str
    codec: str
    kind: Kind


@dataclass(eq=False, slots=True)
class Flow:
    """A track while it flows: one object from its first packet to its last, compared by identity."""

    sender: Sender
    codec: Codec
    source: SlotSource
    ended: bool = False


@dataclass(eq=False, slots=True)
class Sender:
    """A participant that may send. It is a producer of its room while it has flows."""

    leaf: Leaf
    since: str
    """Time of joining, ISO 8601 UTC."""
    flows: list[Flow] = field(default_factory=list)
    problems: Mapping[str, Trouble] = field(default_factory=dict)
    """Its tracks that can be neither shown nor recorded, by id; not all of them flow."""

    def set_tracks(self, tracks: Sequence[Track]) -> bool:
        """Sets the flows to those of `tracks` and keeps the ones that continue. Returns True if anything changed."""
        if [(flow.source.track, flow.codec) for flow in self.flows] == [(track.id, track.codec) for track in tracks]:
            return False
        ended = {(flow.source.track, flow.source.kind): flow for flow in self.flows}
        self.flows = [self._flow(track, ended.pop((track.id, track.kind), None)) for track in tracks]
        for flow in ended.values():
            flow.ended = True
        return True

    @property
    def sources(self) -> list[SlotSource]:
        """Returns the sources that slots can show."""
        return [flow.source for flow in self.flows]

    def _flow(self, track: Track, flow: Flow | None) -> Flow:
        source = SlotSource(self.leaf.room, self.leaf.peer, track.id, track.codec.name, track.kind)
        if flow is None:
            return Flow(self, track.codec, source)
        if flow.codec != track.codec:
            flow.codec, flow.source = track.codec, source
        return flow

    def of_kind(self, kind: Kind) -> list[Flow]:
        """Returns its flows of one kind, in the order of its tracks."""
        return [flow for flow in self.flows if flow.source.kind == kind]

    def is_at(self, room: str | None, peer: str | None) -> bool:
        """Returns True if this is that peer in that room."""
        return self.leaf.peer == peer and self.leaf.room == room
