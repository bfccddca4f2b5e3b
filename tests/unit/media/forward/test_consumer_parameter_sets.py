"""A camera says its parameter sets once; whoever starts later gets them before its first key frame, under numbers in
order, and can ask for them again."""

from __future__ import annotations

import itertools

import pytest

from sfu.media.formats.nal_units import FAMILIES
from sfu.media.formats.rtp import Packet
from sfu.rtc.sdp.codec import Codec
from tests.helpers.forwarding import FakeCamera, FakeViewer, deliver, numbers

SETS = {
    "H264": [bytes.fromhex("6742c01eda"), bytes.fromhex("68ce3c80")],
    "H265": [bytes.fromhex("40010c01"), bytes.fromhex("420101") + bytes(12) + b"\xa0\x00", bytes.fromhex("4401c0")],
}
KEYS = {"H264": b"\x65\x88\x84\x00", "H265": b"\x26\x01\xaf\x00"}
DELTAS = {"H264": b"\x61\x88\x84\x00", "H265": b"\x02\x01\xd0\x00"}
NAMES = tuple(SETS)


def h26x(name: str, payload_type: int = 96, mode: str = "1") -> Codec:
    parameters = (("packetization-mode", mode),) if name == "H264" else ()
    return Codec(name, 90000, 1, payload_type, parameters, ("nack pli",))


def filming(name: str, mode: str = "1") -> FakeCamera:
    """A camera that has said its sets in packets of their own, once, and has sent key frames without them since."""
    camera = FakeCamera((h26x(name, mode=mode),))
    for unit in SETS[name]:
        camera.packet(unit, marker=False)
        camera.media_time -= 3000
    for _ in range(3):
        camera.packet(KEYS[name])
        camera.packet(DELTAS[name])
    return camera


def units(name: str, packets: list[Packet]) -> list[bytes]:
    return [unit for packet in packets for unit in FAMILIES[name].units(packet.payload)]


def in_order(packets: list[Packet]) -> bool:
    return {b - a & 0xFFFF for a, b in itertools.pairwise(numbers(packets))} == {1}


@pytest.mark.parametrize("name", NAMES)
def test_who_starts_from_the_history_gets_the_sets_first(name: str) -> None:
    camera, viewer = filming(name), FakeViewer((h26x(name, 120),))
    viewer.attach(camera, 0.0)
    camera.fanout.start(viewer.consumer)
    camera.time.advance(0.5)
    deliver(camera, [camera.packet(DELTAS[name], now=1.0)], 1.0)
    got = viewer.take()
    assert units(name, got) == [*SETS[name], KEYS[name], DELTAS[name], DELTAS[name]]
    assert in_order(got)
    assert got[0].media_time == got[len(got) - 3].media_time


@pytest.mark.parametrize("name", NAMES)
def test_who_starts_at_a_live_key_frame_gets_the_sets_first(name: str) -> None:
    camera, viewer = filming(name), FakeViewer((h26x(name, 120),))
    viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(DELTAS[name]), camera.packet(KEYS[name]), camera.packet(DELTAS[name])])
    got = viewer.take()
    assert units(name, got) == [*SETS[name], KEYS[name], DELTAS[name]]
    assert in_order(got)


@pytest.mark.parametrize("name", NAMES)
def test_who_has_seen_another_camera_gets_the_sets_under_the_next_numbers(name: str) -> None:
    before, camera, viewer = filming(name), filming(name), FakeViewer((h26x(name, 120),))
    viewer.attach(before, 0.0)
    deliver(before, [before.packet(KEYS[name])])
    viewer.attach(camera, 1.0)
    deliver(camera, [camera.packet(KEYS[name], now=1.0)], 1.0)
    got = viewer.take()
    assert units(name, got) == [*SETS[name], KEYS[name]] * 2
    assert in_order(got)


def test_packets_with_sets_can_be_asked_for_again_and_are_the_same_bit_for_bit() -> None:
    camera, viewer = filming("H264"), FakeViewer((h26x("H264", 120),))
    viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEYS["H264"]), camera.packet(DELTAS["H264"])])
    plain = list(viewer.inbox)
    sequences = numbers(viewer.take())
    assert viewer.consumer.resend(sequences, 0.1, 0.05) == plain


def test_a_late_packet_of_the_frame_before_is_not_sent_under_the_number_of_the_sets() -> None:
    camera, viewer = filming("H264"), FakeViewer((h26x("H264", 120),))
    late = camera.sequence = camera.sequence + 1
    viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEYS["H264"])])
    deliver(camera, [camera.packet(DELTAS["H264"], sequence=late)])
    assert units("H264", viewer.take()) == [*SETS["H264"], KEYS["H264"]]


def test_a_camera_without_aggregates_gets_a_packet_for_each_set() -> None:
    camera, viewer = filming("H264", mode="0"), FakeViewer((h26x("H264", 120, mode="0"),))
    viewer.attach(camera, 0.0)
    camera.fanout.start(viewer.consumer)
    got = viewer.take()
    assert [packet.payload for packet in got][:3] == [*SETS["H264"], KEYS["H264"]]
    assert in_order(got)


def test_sets_that_a_key_frame_brings_are_not_sent_twice() -> None:
    camera, viewer = filming("H264"), FakeViewer((h26x("H264", 120),))
    packets = [camera.packet(unit, marker=False) for unit in SETS["H264"]] + [camera.packet(KEYS["H264"])]
    viewer.attach(camera, 0.0)
    deliver(camera, packets)
    assert units("H264", viewer.take()) == [*SETS["H264"], KEYS["H264"]]
