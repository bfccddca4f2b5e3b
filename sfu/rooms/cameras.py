"""Which producer a room's picture is: the one to show when somebody asks for one. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from sfu.media.ingest.producer import Producer
from sfu.rooms.participant import Participant
from sfu.signaling.topics import contains


def first_camera(participants: Iterable[Participant], room: str, peer: str | None, now: float) -> Producer | None:
    """The best layer of the first video that flows in `room` or below it, from `peer` if one is named."""
    for participant in participants:
        leaf, uplink = participant.leaf, participant.uplink
        if contains(room, leaf.room) and peer in (None, leaf.peer):
            for mid, track in uplink.tracks.items():
                if mid in uplink.flowing and track.codec.kind == "video":
                    flowing = [producer for producer, _, bitrate in track.layers(now) if bitrate is not None]
                    return flowing[-1] if flowing else track.main
    return None
