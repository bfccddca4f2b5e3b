"""Jumps and restarts of a camera's sequence numbers, and their cost for viewers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from sfu.media.formats.rtp import Packet
from sfu.rtc.sdp.description import ABS_SEND_TIME, Send
from tests.helpers.forwarding import DELTA, KEY, SSRC, VP8, VP8_THERE, FakeCamera, FakeViewer, deliver, numbers


def sent(camera: FakeCamera, sequence: int, now: float, *, ssrc: int = 7, payload: bytes = DELTA) -> bool:
    """True if the producer takes this packet in."""
    return camera.producer.receive(Packet(True, 96, sequence, 9000, ssrc, payload), now)


@pytest.mark.parametrize("jump", [3500, 20_000, -3500, -20_000])
def test_numbers_that_jump_begin_anew_with_the_second_one_and_a_stray_changes_nothing(jump: int) -> None:
    camera, viewer = FakeCamera(), FakeViewer()
    viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEY)])
    (first,) = viewer.take()
    there = camera.sequence + jump & 0xFFFF
    assert not sent(camera, there, 1.0)
    deliver(camera, [camera.packet(now=1.0)], 1.0)
    assert numbers(viewer.take()) == [first.sequence + 1]
    assert not sent(camera, there, 1.1)
    assert sent(camera, there + 1, 1.1)
    assert viewer.consumer.group is None
    camera.sequence = there + 1
    deliver(camera, [camera.packet(KEY, now=1.2)], 1.2)
    assert numbers(viewer.take()) == [first.sequence + 2]


@pytest.mark.parametrize("step", [3600 * 90_000, -60 * 90_000, 1 << 31])
def test_a_media_time_that_jumps_begins_anew_and_leaves_no_trace_in_what_a_viewer_gets(step: int) -> None:
    camera, viewer = FakeCamera(), FakeViewer()
    viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEY)])
    (first,) = viewer.take()
    camera.producer.note_clock(1 << 32, 9000, 0.0)
    there, then = camera.sequence, camera.media_time + step & 0xFFFFFFFF
    for n in (1, 2):
        packet = Packet(True, 96, there + n, then + n * 3000 & 0xFFFFFFFF, 7, KEY)
        assert camera.producer.receive(packet, 1.0 + n / 30)
        deliver(camera, [packet], 1.0 + n / 30)
    assert (camera.producer.restarts, camera.producer.reception.moment(1.0)) == (1, None)
    got = [first, *viewer.take()]
    assert numbers(got) == [first.sequence + n for n in range(3)]
    assert all(0 < (b.media_time - a.media_time & 0xFFFFFFFF) < 2 * 90_000 for a, b in pairwise(got))


@pytest.mark.parametrize("hours", [-9800, 9800, 13_000])
def test_one_picture_with_a_media_time_far_away_gets_one_between_its_neighbours(hours: float) -> None:
    """A digital video recorder: all packets of one picture in fifty are hours away, all else is in order."""
    camera, viewer = FakeCamera(), FakeViewer()
    viewer.attach(camera, 0.0)
    away = int(hours * 90_000)
    for at in range(200):
        now, media_time = 1 + at / 25, 5000 + at * 3600
        for half in (0, 1):
            raw = media_time + (away if at % 50 == 20 else 0) & 0xFFFFFFFF
            packet = Packet(half == 1, 96, 2 * at + half, raw, 7, DELTA if at else KEY)
            assert camera.producer.receive(packet, now + half / 1000)
            assert packet.media_time == media_time
            deliver(camera, [packet], now + half / 1000)
    assert (camera.producer.restarts, camera.producer.drops["stale"], camera.producer.times.corrected) == (0, 0, 8)
    got = viewer.take()
    assert numbers(got) == list(range(got[0].sequence, got[0].sequence + 400))
    assert [b.media_time - a.media_time for a, b in pairwise(got)] == [0, *[3600, 0] * 199]


def test_a_part_of_a_picture_far_away_that_comes_late_gets_the_media_time_of_the_rest() -> None:
    camera = FakeCamera()
    camera.packet(KEY, now=1.0)
    there, away = camera.sequence, camera.media_time + 3600 * 90_000
    camera.producer.receive(Packet(True, 96, there + 2, away, 7, DELTA), 1.1)
    camera.producer.receive(Packet(True, 96, there + 3, camera.media_time + 6000, 7, DELTA), 1.2)
    late = Packet(False, 96, there + 1, away, 7, DELTA)
    assert camera.producer.receive(late, 1.2)
    assert late.media_time == camera.producer.history.since(0)[-2].media_time
    assert camera.producer.restarts == 0


@pytest.mark.parametrize(("pause", "step"), [(600.0, 600.0), (60.0, 0.03), (0.01, 9.0)])
def test_a_pause_and_a_line_that_was_cut_are_no_jump(pause: float, step: float) -> None:
    camera = FakeCamera()
    camera.packet(KEY, now=1.0)
    camera.media_time = camera.media_time + int(step * 90_000) & 0xFFFFFFFF
    camera.packet(now=1.0 + pause)
    assert (camera.producer.restarts, camera.producer.drops["stale"]) == (0, 0)


def test_a_packet_of_nothing_but_header_extensions_is_kept_without_them() -> None:
    camera = FakeCamera()
    camera.packet(KEY)
    packet = Packet(True, 96, camera.sequence + 1 & 0xFFFF, 9000, 7, DELTA, dict.fromkeys(range(1, 200), b"x"))
    assert camera.producer.receive(packet, 1.0)
    assert packet.extensions.keys() <= set(camera.producer.extensions.values())


def test_ssrcs_that_alternate_restart_viewers_twice_a_second_at_most() -> None:
    camera = FakeCamera()
    camera.packet(KEY)
    taken = [sent(camera, 500 + at // 3, at / 1000, ssrc=100 + at % 3) for at in range(1000)]
    assert 300 < sum(taken) < 400
    assert camera.producer.start >> 16 <= 2 + 2 * 3


def test_a_layer_that_restarts_leaves_alone_who_only_waits_for_it() -> None:
    present, better, viewer = FakeCamera(), FakeCamera(ssrc=8), FakeViewer()
    viewer.attach(present, 0.0)
    deliver(present, [present.packet(KEY)])
    viewer.consumer.follow(better.branch, 0.0)
    better.packet()
    viewer.take()
    deliver(present, [present.packet()])
    assert len(viewer.take()) == 1
    deliver(better, [better.packet(KEY)])
    assert (len(viewer.take()), viewer.consumer.producer) == (1, better.producer)


def test_a_re_offer_with_the_same_codecs_goes_unnoticed() -> None:
    camera, viewer = FakeCamera(), FakeViewer()
    viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEY)])
    camera.producer.negotiated((replace(VP8),), {})
    deliver(camera, [camera.packet()])
    assert len(viewer.take()) == 2


def test_a_key_frame_that_comes_twice_answers_no_request() -> None:
    camera = FakeCamera()
    packet = camera.packet(KEY)
    camera.producer.request_key_frame(1.0)
    assert not sent(camera, packet.sequence, 1.1, payload=KEY)
    camera.producer.tick(1.6)
    assert camera.asked == 2


def test_a_slide_that_was_never_begun_leaves_no_trace_in_the_numbering() -> None:
    camera, other, viewer = FakeCamera(), FakeCamera(ssrc=8), FakeViewer()
    time, fanout = camera.time, camera.fanout
    viewer.attach(camera, time.now)
    deliver(camera, [camera.packet(KEY)], time.now)
    (first,) = viewer.take()
    viewer.consumer.set_sparse(True)
    camera.packet(KEY)
    assert fanout.slide(viewer.consumer)
    viewer.consumer.set_sparse(False)
    viewer.attach(other, time.now)
    deliver(other, [other.packet(KEY)], time.now)
    assert numbers(viewer.take()) == [first.sequence + 1]


def test_what_overtook_the_key_frame_in_its_burst_comes_after_it() -> None:
    camera, viewer = FakeCamera(), FakeViewer()
    camera.packet()
    viewer.attach(camera, 0.0)
    key, rest = camera.packet(KEY), camera.packet()
    deliver(camera, [rest, key])
    assert [packet.payload for packet in viewer.take()] == [KEY, DELTA]


def test_nothing_from_before_a_re_offer_is_sent_again_in_another_form() -> None:
    """Under one number and one key, two different packets would give the key stream away."""
    camera, viewer = FakeCamera(extensions={ABS_SEND_TIME: 3}), FakeViewer()
    with_rtx = Send((VP8_THERE,), {ABS_SEND_TIME: 3}, SSRC, "w", "w-v", rtx={120: 121}, rtx_ssrc=0xABCE)
    viewer.consumer.negotiated(with_rtx)
    viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEY)])
    (first,) = viewer.take()
    assert len(viewer.consumer.resend([first.sequence], 1.0, 0.1)) == 1
    viewer.consumer.negotiated(replace(with_rtx, rtx={}, rtx_ssrc=None))
    assert viewer.consumer.resend([first.sequence], 2.0, 0.1) == []


def test_a_late_packet_that_waits_does_not_hide_later_ones_from_who_starts() -> None:
    camera, viewer = FakeCamera(), FakeViewer()
    time, fanout = camera.time, camera.fanout
    key = camera.packet(KEY)
    late = camera.sequence + 1
    camera.sequence = late
    later = [camera.packet(), camera.packet()]
    camera.branch.push([camera.packet(sequence=late)])
    viewer.attach(camera, time.now)
    fanout.start(viewer.consumer)
    time.advance(1.0)
    assert len({packet.sequence for packet in viewer.take()}) == len([key, late, *later])


@pytest.mark.parametrize("wait", [0.006, 1.0])
def test_a_late_packet_reaches_who_was_replayed_past_its_place_with_the_time_of_its_frame(wait: float) -> None:
    camera, viewer = FakeCamera(), FakeViewer()
    time, fanout = camera.time, camera.fanout
    made = [camera.packet(KEY if at == 0 else DELTA + bytes(1000)) for at in range(100)]
    missing = camera.sequence = camera.sequence + 1
    camera.media_time = made[-1].media_time
    made += [camera.packet(DELTA + bytes(1000)) for _ in range(100)]
    viewer.attach(camera, time.now)
    fanout.start(viewer.consumer)
    time.advance(wait)
    camera.media_time = made[99].media_time
    camera.branch.push([camera.packet(sequence=missing)])
    time.advance(1.0)
    got = {packet.sequence: packet.media_time for packet in viewer.take()}
    place = min(got) + 100
    assert len(got) == 201
    assert got[place] == got[place - 1]
