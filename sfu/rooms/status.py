"""The JSON of `/api/rooms`: the state of each room, its sessions, and the quality of their media.

Owns the shape of that JSON. Only reads counts that participants and rooms keep anyway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from sfu.media.forward.consumer import Consumer
from sfu.media.ingest.producer import Producer
from sfu.rooms.participant import Participant
from sfu.rooms.room import Rooms
from sfu.rooms.slots import SlotState
from sfu.signaling.topics import Leaf, contains


def of_rooms(rooms: Rooms, participants: Mapping[Leaf, Participant], now: float) -> dict[str, Any]:
    """Returns by room the JSON of `<room>/state`, and `sessions`: the sessions of exactly this room."""
    found = {room: rooms.state(room) | {"sessions": []} for room in rooms.rooms()}
    for leaf, participant in sorted(participants.items(), key=lambda item: str(item[0])):
        if leaf.room in found:
            found[leaf.room]["sessions"].append(_session(participant, rooms.slots(leaf), now))
    return found


def _session(participant: Participant, slots: tuple[SlotState, ...], now: float) -> dict[str, Any]:
    """Returns one session. Durations are in seconds, rates in bit/s, shares from 0 to 1."""
    downlink = participant.downlink
    session = {
        "peer": participant.leaf.peer,
        "role": participant.leaf.role.value,
        "connected_after": participant.connected_after,
        "sends": [
            {
                "track": mid,
                "kind": track.codec.kind,
                "codec": track.codec.name,
                "flowing": mid in participant.uplink.flowing,
                "layers": [{"rid": rid, **_producer(producer, now)} for rid, producer in track.rids.items()],
            }
            for mid, track in participant.uplink.tracks.items()
        ],
        "receives": [_slot(participant, slot) for slot in slots],
    }
    if downlink.slots:
        session |= {"loss": downlink.loss, "round_trip": downlink.round_trip, "estimate": downlink.carries}
    return session


def _producer(producer: Producer, now: float) -> dict[str, Any]:
    gaps, reception = producer.gaps, producer.reception
    return {
        "bitrate": 0 if producer.stalled(now) else producer.bitrate,
        "packets": reception.packets,
        "lost": reception.lost,
        "jitter": reception.jitter,
        "nacked": gaps.nacked,
        "recovered": gaps.recovered,
        "reordered": gaps.reordered,
        "abandoned": gaps.abandoned,
        "key_frames_heeded": producer.key_frames.heeded if producer.codec.kind == "video" else None,
        "shown_in": producer.output.consumer_count,
    }


def _slot(participant: Participant, slot: SlotState) -> dict[str, Any]:
    source = slot.source
    where = None if source is None else {"room": source.room, "peer": source.peer, "track": source.track}
    view = participant.downlink.slots.get(slot.mid)
    shown: dict[str, Any] = {"mid": slot.mid, "kind": slot.kind, "source": where, "reason": slot.reason}
    if view is None or view.track is None:
        return shown
    layers = {producer: rid for rid, producer in view.track.rids.items()}
    producer = view.consumer.producer
    return shown | {"layer": None if producer is None else layers.get(producer), **_consumer(view.consumer)}


def _consumer(consumer: Consumer) -> dict[str, Any]:
    repairs = consumer.repairs
    return {
        "sparse": consumer.sparse,
        "started_after": consumer.started_after,
        "packets": consumer.packets,
        "octets": consumer.octets,
        "requests": repairs.requests,
        "resent": repairs.resent,
        "repeated": repairs.repeated,
        "over_budget": repairs.over_budget,
        "unknown": repairs.unknown,
    }


def first_camera(participants: Iterable[Participant], room: str, peer: str | None, now: float) -> Producer | None:
    """Returns the best layer of the first video that flows in `room` or below, from `peer` if that is given."""
    for participant in participants:
        leaf, uplink = participant.leaf, participant.uplink
        if contains(room, leaf.room) and peer in (None, leaf.peer):
            for mid, track in uplink.tracks.items():
                if mid in uplink.flowing and track.codec.kind == "video":
                    flowing = [producer for producer, _, bitrate in track.layers(now) if bitrate is not None]
                    return flowing[-1] if flowing else track.main
    return None


def drop_counts(participant: Participant) -> Counter[str]:
    """Returns the number of dropped packets, by reason, in both directions."""
    total = (
        participant.drops
        + Counter(participant.uplink.drops)
        + Counter(participant.downlink.drops)
        + participant.transport.drops
    )
    total["no_path"] += participant.transport.agent.drops["no_path"]
    for producer in participant.uplink.producers:
        total.update(producer.drops)
    for consumer in participant.downlink.consumers:
        total.update({reason.value: count for reason, count in consumer.drops.items()})
    return total


def repair_counts(participant: Participant) -> Counter[str]:
    """Returns counters of lost and repaired packets, from cameras (`camera_`) and to viewers (`viewer_`)."""
    total: Counter[str] = Counter()
    for producer in participant.uplink.producers:
        gaps = producer.gaps
        total["camera_nacked"] += gaps.nacked
        total["camera_recovered"] += gaps.recovered
        total["camera_reordered"] += gaps.reordered
        total["camera_abandoned"] += gaps.abandoned
        total["camera_restarts"] += producer.restarts
        total["camera_padding"] += producer.padding
        total["camera_corrected_times"] += producer.times.corrected
    for consumer in participant.downlink.consumers:
        repairs = consumer.repairs
        total["viewer_requests"] += repairs.requests
        total["viewer_resent"] += repairs.resent
        total["viewer_repeated"] += repairs.repeated
        total["viewer_over_budget"] += repairs.over_budget
        total["viewer_unknown"] += repairs.unknown
    return total
