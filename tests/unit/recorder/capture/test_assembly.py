"""Assembly: streams of a track that follow each other, and what becomes of packets that are late or never come."""

from __future__ import annotations

import itertools
from dataclasses import replace

from recorder.capture.assembly import Assembly, KnownSets
from recorder.capture.reorder import Arrival
from recorder.depacketize.units import PlacedUnit
from sfu.media.formats.nal_units import FAMILIES
from tests.helpers.recordings import EPOCH_US, NOW, arrivals


def assembled(assembly: Assembly, come: list[Arrival]) -> list[PlacedUnit]:
    units = [placed for arrival in come for placed in assembly.push(arrival, EPOCH_US)]
    return units + assembly.flush(EPOCH_US)


def restamped(arrival: Arrival, *, ssrc: int, index: int, media_time: int, now: float) -> Arrival:
    packet = replace(arrival.packet, ssrc=ssrc, media_time=(arrival.packet.media_time + media_time) & 0xFFFFFFFF)
    packet.index = arrival.packet.index + index
    return arrival._replace(packet=packet, now=arrival.now + now)


def test_another_ssrc_goes_on_with_the_same_clock_whatever_its_numbers() -> None:
    first = [arrival for arrival in arrivals(audio=False) if arrival.now < NOW + 2]
    second = [restamped(arrival, ssrc=2, index=-5000, media_time=777_777, now=2.0) for arrival in first]
    units = assembled(Assembly(["video"]), first + second)
    assert len(units) == 100
    steps = [b.wall_us - a.wall_us for a, b in itertools.pairwise(units)]
    assert all(30_000 < step < 50_000 for step in steps)


def test_packets_that_come_again_break_nothing_and_those_that_do_not_are_counted() -> None:
    come = list(arrivals(audio=False))
    repaired = [*come[:10], *come[11:20], come[10]._replace(now=come[20].now), *come[20:]]
    assert not any(placed.unit.lost for placed in assembled(Assembly(["video"]), repaired))
    assembly = Assembly(["video"])
    units = assembled(assembly, [*come[:10], *come[11:]])
    assert sum(placed.unit.lost for placed in units) == 1
    assert len(units) >= 98
    assert sum(assembly.drops().values()) <= 1


def test_pictures_go_on_while_sound_waits_for_a_packet() -> None:
    come = list(arrivals())
    lost = next(arrival for arrival in come if arrival.kind == "audio" and arrival.now > NOW + 2)
    assembly = Assembly(["video", "audio"])
    units = [m for a in come if a is not lost and a.now < NOW + 2.09 for m in assembly.push(a, EPOCH_US)]
    assert units[-1].track == "video"
    assert units[-1].wall_us - EPOCH_US > (NOW + 2.03) * 1e6


def test_the_last_picture_before_a_pause_does_not_wait_for_the_next() -> None:
    come = [arrival for arrival in arrivals(audio=False) if arrival.now < NOW + 1]
    assembly = Assembly(["video"])
    units = [placed for arrival in come for placed in assembly.push(arrival, EPOCH_US)]
    last = come[-1].now
    assert len(units) == 24
    assert assembly.expired(last + 0.05, EPOCH_US) == []
    (late,) = assembly.expired(last + 0.11, EPOCH_US)
    assert abs(late.wall_us - units[-1].wall_us - 40_000) < 1000


def test_sound_does_not_overtake_the_picture_that_was_there_before() -> None:
    units = assembled(Assembly(["video", "audio"]), list(arrivals()))
    begun = [placed.track for placed in units if placed.wall_us >= units[0].wall_us]
    assert begun[0] == "video"
    behind = [a.wall_us - b.wall_us for a, b in itertools.pairwise(units)]
    assert max(behind) < 45_000


def test_parameter_sets_that_were_said_before_serve_this_stream_and_the_next() -> None:
    come = list(arrivals(audio=False))
    family = FAMILIES["H264"]
    first = next(arrival for arrival in come if family.units(arrival.packet.payload))
    sets = [unit for unit in family.units(first.packet.payload) if family.set_key(unit)]
    without = [arrival for arrival in (_without_sets(arrival) for arrival in come) if arrival is not None]
    assert len(sets) == 2
    assert not any(placed.unit.key for placed in assembled(Assembly(["video"]), without))
    assembly = Assembly(["video"])
    assembly.learn(KnownSets("video", sets))
    again = [restamped(arrival, ssrc=2, index=0, media_time=777_777, now=4.0) for arrival in without]
    assert sum(placed.unit.key for placed in assembled(assembly, without + again)) == 8


def _without_sets(arrival: Arrival) -> Arrival | None:
    family, packet = FAMILIES["H264"], arrival.packet
    units = family.units(packet.payload)
    kept = [unit for unit in units if family.set_key(unit) is None]
    if not units or kept == units:
        return arrival
    made = replace(packet, payload=family.aggregate_of(kept)[0]) if kept else replace(packet, payload=b"")
    made.index = packet.index
    return arrival._replace(packet=made)
