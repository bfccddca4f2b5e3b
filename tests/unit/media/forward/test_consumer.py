"""A slot's outgoing numbering runs on without a jump, whatever feeds it."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from sfu.media.formats import rtcp
from sfu.media.formats.rtp import Packet
from sfu.media.forward.fanout import HOLD_S
from sfu.media.forward.group import Drop
from sfu.rtc.sdp.description import ABS_SEND_TIME, MID, VIDEO_ORIENTATION
from tests.helpers.forwarding import DELTA, KEY, VP9, FakeCamera, FakeViewer, deliver, numbers


def test_a_consumer_asks_for_a_key_frame_and_starts_on_it() -> None:
    camera, viewer = FakeCamera(), FakeViewer()
    camera.packet()
    viewer.attach(camera, 0.0)
    assert camera.asked == 1
    deliver(camera, [camera.packet(), camera.packet()])
    assert viewer.take() == []
    assert viewer.consumer.drops[Drop.WAITING_FOR_KEY_FRAME] == 2
    deliver(camera, [camera.packet(), camera.packet(KEY), camera.packet()])
    first, second = viewer.take()
    assert viewer.consumer.drops[Drop.WAITING_FOR_KEY_FRAME] == 3
    assert (first.payload, first.payload_type, first.ssrc, first.marker) == (KEY, 120, 0xABCD, True)
    assert second.sequence == first.sequence + 1


def test_viewers_who_came_at_different_times_get_the_same_packets_from_one_group() -> None:
    camera, early, late = FakeCamera(), FakeViewer(), FakeViewer()
    early.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEY), camera.packet()])
    late.attach(camera, 1.0)
    deliver(camera, [camera.packet(), camera.packet(KEY)])
    assert len(camera.branch.groups) == 1
    early.take(), late.take()
    deliver(camera, [camera.packet(), camera.packet()])
    assert early.take() == late.take() != []
    assert (early.consumer.packets, late.consumer.packets) == (6, 3)
    assert early.consumer.octets - late.consumer.octets == len(KEY) + 2 * len(DELTA)


def test_a_late_packet_from_before_the_key_frame_is_dropped_and_one_after_it_keeps_its_place() -> None:
    camera, viewer, there_before = FakeCamera(), FakeViewer(), FakeViewer()
    there_before.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEY, sequence=190)])
    viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEY, sequence=200)])
    (first,) = viewer.take()
    there_before.take()
    deliver(camera, [camera.packet(sequence=199)])
    assert viewer.take() == []
    assert viewer.consumer.drops[Drop.BEFORE_KEY_FRAME] == 1
    assert numbers(there_before.take()) == [199]
    deliver(camera, [camera.packet(sequence=203), camera.packet(sequence=201)])
    assert [n - first.sequence for n in numbers(viewer.take())] == [3, 1]
    assert (viewer.consumer.packets, there_before.consumer.packets) == (3, 5)


def test_a_switch_continues_sequence_and_media_time() -> None:
    one, other, viewer = FakeCamera(), FakeCamera(), FakeViewer()
    other.sequence, other.media_time = 40_000, 4_000_000_000
    viewer.attach(one, 0.0)
    deliver(one, [one.packet(KEY)], now=10.0)
    viewer.attach(other, 10.2)
    deliver(other, [other.packet(KEY)], now=10.5)
    before, after = viewer.take()
    assert after.sequence == (before.sequence + 1) & 0xFFFF
    assert (after.media_time - before.media_time) & 0xFFFFFFFF == 45_000  # half a second at 90 kHz
    assert (one.branch.consumers, one.branch.groups) == ([], {})


def test_a_switch_after_a_burst_that_ended_out_of_order_repeats_no_number() -> None:
    one, other, viewer = FakeCamera(), FakeCamera(), FakeViewer()
    viewer.attach(one, 0.0)
    deliver(one, [one.packet(KEY, sequence=200)])
    deliver(one, [one.packet(sequence=202), one.packet(sequence=201)])
    viewer.attach(other, 0.1)
    deliver(other, [other.packet(KEY)], now=0.2)
    first, *_, switched = viewer.take()
    assert switched.sequence == first.sequence + 3


def test_a_camera_that_restarts_under_a_new_ssrc_goes_on_in_the_same_numbering() -> None:
    camera, viewer = FakeCamera(), FakeViewer()
    viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEY)])
    (last,) = viewer.take()
    camera.sequence = 5
    deliver(camera, [camera.packet(ssrc=99)], now=0.1)
    assert viewer.take() == []
    camera.producer.tick(1.0)
    assert camera.asked == 2
    deliver(camera, [camera.packet(KEY, ssrc=99)], now=0.2)
    assert numbers(viewer.take()) == [(last.sequence + 1) & 0xFFFF]


def test_a_restart_in_the_middle_of_a_burst_never_mixes_old_and_new() -> None:
    """The old stream's last packets wait in the burst when the new SSRC comes: they start nobody."""
    camera, viewer = FakeCamera(), FakeViewer()
    viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEY)])
    (last,) = viewer.take()
    old = [camera.packet(KEY), camera.packet()]
    camera.sequence = 5
    deliver(camera, [*old, camera.packet(ssrc=99), camera.packet(KEY, ssrc=99), camera.packet(ssrc=99)])
    assert numbers(viewer.take()) == [(last.sequence + n) & 0xFFFF for n in (1, 2)]


def test_a_codec_that_the_viewer_lacks_is_counted_not_sent() -> None:
    camera, viewer = FakeCamera(codecs=(VP9,)), FakeViewer()
    viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(b"\x00" * 9, payload_type=98)])
    assert viewer.take() == []
    assert viewer.consumer.drops[Drop.CODEC] == 1


def test_extensions_are_carried_under_the_viewers_ids() -> None:
    camera = FakeCamera(extensions={MID: 1, VIDEO_ORIENTATION: 2, ABS_SEND_TIME: 3})
    rotating, plain = FakeViewer(extensions={MID: 9, VIDEO_ORIENTATION: 4}), FakeViewer()
    for viewer in (rotating, plain):
        viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEY, extensions={1: b"0", 2: b"\x01", 3: b"abc"}), camera.packet()])
    with_all, with_mid = rotating.take()
    assert (with_all.extensions, with_all.payload) == ({9: b"v", 4: b"\x01"}, KEY)
    assert with_mid.extensions == {9: b"v"}
    assert [packet.extensions for packet in plain.take()] == [{}, {}]


def test_a_packet_too_large_to_encrypt_is_counted_for_its_viewer() -> None:
    camera, viewer = FakeCamera(), FakeViewer()
    viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEY), camera.packet(DELTA + bytes(2000)), camera.packet()])
    assert len(viewer.take()) == 2
    assert viewer.consumer.drops[Drop.REFUSED] == 1


def test_a_sender_report_speaks_in_the_slots_own_media_time() -> None:
    camera, viewer = FakeCamera(), FakeViewer()
    viewer.attach(camera, 0.0)
    assert viewer.consumer.sender_report(0.0) is None
    packet = camera.packet(KEY)
    deliver(camera, [packet], now=1.0)
    (sent,) = viewer.take()
    assert viewer.consumer.sender_report(1.0) is None  # the camera's clock is not known yet
    camera.producer.note_clock(ntp=50 << 32, media_time=packet.media_time, now=1.0)
    told = viewer.consumer.sender_report(3.0)
    assert told is not None
    (report,) = [message for message in rtcp.parse(told) if isinstance(message, rtcp.SenderReport)]
    assert (report.ssrc, report.ntp, report.packets, report.octets) == (0xABCD, 52 << 32, 1, len(KEY))
    assert report.media_time == (sent.media_time + 2 * 90_000) & 0xFFFFFFFF


def frame(camera: FakeCamera, count: int, now: float, spacing: float = 0.0) -> list[Packet]:
    """The packets of one frame; the last has the marker."""
    media_time = camera.media_time
    packets = []
    for number in range(count):
        camera.media_time = media_time
        packets.append(
            camera.packet(KEY if number == 0 else DELTA, now=now + number * spacing, marker=number == count - 1)
        )
    return packets


def test_a_frame_sent_in_one_go_is_forwarded_in_one_go_whenever_its_packets_are_read() -> None:
    camera, viewer = FakeCamera(), FakeViewer()
    viewer.attach(camera, 0.0)
    for number in range(20):
        deliver(camera, frame(camera, 5, number * 0.033))
    viewer.take()
    *most, last = frame(camera, 5, 1.0)
    for packet in most:
        camera.branch.push([packet])
    camera.time.turn()
    assert (viewer.take(), len(camera.time.waiting)) == ([], 1)
    camera.branch.push([last])
    camera.time.turn()
    assert (len(viewer.take()), camera.time.waiting) == (5, [])


def test_a_frame_whose_end_is_lost_waits_no_longer_than_the_hold() -> None:
    camera, viewer = FakeCamera(), FakeViewer()
    viewer.attach(camera, 0.0)
    for number in range(20):
        deliver(camera, frame(camera, 5, number * 0.033))
    viewer.take()
    for packet in frame(camera, 5, 1.0)[:-1]:
        camera.branch.push([packet])
    camera.time.turn()
    (delay,) = camera.time.waiting
    assert (viewer.take(), delay <= 0.002) == ([], True)
    camera.time.advance(HOLD_S)
    assert len(viewer.take()) == 4


def test_packets_of_a_paced_camera_wait_for_nothing() -> None:
    camera, viewer = FakeCamera(), FakeViewer()
    viewer.attach(camera, 0.0)
    for number in range(20):
        deliver(camera, frame(camera, 5, number * 0.033, spacing=0.005))
    viewer.take()
    camera.branch.push([frame(camera, 5, 1.0)[0]])
    camera.time.turn()
    assert (len(viewer.take()), camera.time.waiting) == (1, [])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(1, 4)), max_size=60), st.data())
def test_no_order_of_switches_and_key_frames_makes_a_gap_or_a_repeat(
    steps: list[tuple[int, bool, int]], data: st.DataObject
) -> None:
    """In-order cameras without loss: what the viewer gets is one gapless run of sequence numbers, time never back."""
    cameras = [FakeCamera(ssrc=n + 1) for n in range(3)]
    for camera in cameras:
        camera.sequence = data.draw(st.integers(0, 0xFFFF))
        camera.media_time = data.draw(st.integers(0, 0xFFFFFFFF))
        camera.packet()
    viewer, now, sent = FakeViewer(), 0.0, 0
    got: list[Packet] = []
    for which, key, count in steps:
        now += 0.04
        viewer.attach(cameras[which], now)
        for camera in cameras:
            deliver(camera, [camera.packet(KEY if key else DELTA, now=now) for _ in range(count)], now)
        arrived = viewer.take()
        got += arrived
        sent += len(arrived)
        assert viewer.consumer.packets == sent
    for packet, following in itertools.pairwise(got):
        assert (following.sequence - packet.sequence) & 0xFFFF == 1
        assert 0 < (following.media_time - packet.media_time) & 0xFFFFFFFF < 1 << 31


def test_another_layer_is_asked_for_a_key_frame_though_its_latest_is_kept() -> None:
    low, high, viewer = FakeCamera(), FakeCamera(), FakeViewer()
    for camera in (low, high):
        deliver(camera, [camera.packet(KEY)])
    viewer.attach(low, 0.0)
    deliver(low, [low.packet(KEY)])
    asked = high.asked
    viewer.consumer.follow(high.branch, 1.0)
    assert high.asked == asked + 1


def test_a_slide_show_that_goes_to_another_camera_gets_no_live_burst() -> None:
    one, other, viewer = FakeCamera(), FakeCamera(ssrc=8), FakeViewer()
    viewer.attach(one, 0.0)
    viewer.consumer.set_sparse(True)
    viewer.attach(other, 1.0)
    deliver(other, [other.packet(KEY), other.packet()])
    assert viewer.take() == []
    assert other.fanout.slide(viewer.consumer)
