"""A viewer is brought from the latest key frame to live: how fast, how fairly, and what may come between."""

from __future__ import annotations

import pytest

from sfu.media.ingest.history import History
from tests.helpers.forwarding import DELTA, KEY, FakeCamera, FakeViewer, numbers

BODY = DELTA + bytes(1000)


def filmed(packets: int, *, start: float = 0.0) -> FakeCamera:
    """A camera that has sent a key frame and so many packets less one since, 10 ms apart, and heeds no request."""
    camera = FakeCamera()
    for number in range(packets):
        camera.packet(KEY if number == 0 else BODY, now=start + number / 100)
    return camera


def test_a_viewer_has_the_key_frame_at_once_and_everything_within_half_a_second() -> None:
    camera, viewer = filmed(400), FakeViewer()
    time, fanout = camera.time, camera.fanout
    viewer.attach(camera, time.now)
    fanout.start(viewer.consumer)
    assert viewer.inbox
    assert camera.asked == 0
    time.advance(0.5)
    got = viewer.take()
    assert numbers(got) == list(range(got[0].sequence, got[0].sequence + 400))
    assert viewer.consumer.group in camera.branch.groups.values()
    times = [packet.media_time for packet in got]
    assert times == sorted(times)
    assert times[-1] - times[0] < 0.5 * 90_000  # four seconds of media, written as the time that sending took


def test_a_hundred_at_once_all_have_a_first_picture_at_once_and_none_waits_for_ever() -> None:
    camera = filmed(200)
    time, fanout = camera.time, camera.fanout
    viewers = [FakeViewer() for _ in range(100)]
    for viewer in viewers:
        viewer.attach(camera, time.now)
        fanout.start(viewer.consumer)
    assert all(viewer.inbox for viewer in viewers)
    time.advance(0.1)
    assert sum(len(viewer.inbox) for viewer in viewers) < 13_000  # 20 steps take no more than they may
    time.advance(2.0)
    assert all(len(viewer.inbox) == 200 for viewer in viewers)


def test_who_leaves_in_the_middle_gets_nothing_more() -> None:
    camera, viewer = filmed(400), FakeViewer()
    time, fanout = camera.time, camera.fanout
    viewer.attach(camera, time.now)
    fanout.start(viewer.consumer)
    time.advance(0.02)
    viewer.attach(None, time.now)
    had = len(viewer.inbox)
    time.advance(1.0)
    assert len(viewer.inbox) == had < 400
    assert not camera.branch.groups


def test_a_link_known_to_be_thin_waits_for_a_key_frame_instead() -> None:
    camera, viewer = filmed(400), FakeViewer()
    time, fanout = camera.time, camera.fanout
    viewer.consumer.pace = 30_000.0
    viewer.attach(camera, time.now)
    fanout.start(viewer.consumer)
    assert not viewer.inbox
    assert camera.asked == 1


def test_slides_come_one_by_one_at_the_pace_of_the_link() -> None:
    camera, viewer = FakeCamera(), FakeViewer()
    time, fanout = camera.time, camera.fanout
    for _ in range(2):
        camera.packet(KEY + bytes(1000), now=time.now)
    viewer.attach(camera, time.now)
    viewer.consumer.set_sparse(True)
    viewer.consumer.pace = 2_000.0
    assert fanout.slide(viewer.consumer)
    time.advance(1.0)
    assert len(viewer.take()) == 1
    assert not fanout.slide(viewer.consumer)
    camera.packet(BODY, now=time.now)
    camera.packet(KEY + bytes(1000), now=time.now)
    assert fanout.slide(viewer.consumer)
    time.advance(1.0)
    assert len(viewer.take()) == 1


@pytest.mark.parametrize("pace", [None, 60_000.0])
def test_a_camera_that_comes_back_with_more_than_its_viewer_is_thought_to_take_is_caught_up_with(
    pace: float | None,
) -> None:
    """A second of pictures at once, and then three times the known pace of the link."""
    camera, viewer = filmed(10), FakeViewer()
    time, fanout = camera.time, camera.fanout
    viewer.consumer.pace = pace
    viewer.attach(camera, time.now)
    fanout.start(viewer.consumer)
    for number in range(330):
        time.advance(0.0 if number < 180 else 0.0055)
        camera.branch.push([camera.packet(BODY, now=time.now)])
    assert viewer.consumer.group in camera.branch.groups.values()
    time.advance(0.01)
    got = numbers(viewer.take())
    assert got == list(range(got[0], got[0] + 340))


def test_a_replay_that_the_history_has_left_behind_makes_no_hole_and_waits_for_a_key_frame() -> None:
    camera, viewer = filmed(10), FakeViewer()
    time, fanout = camera.time, camera.fanout
    camera.producer.history.clear()
    vars(camera.producer)["history"] = History(max_bytes=100_000)
    for number in range(40):
        camera.packet(KEY if number == 0 else BODY, now=time.now)
    viewer.consumer.pace = 1_000_000.0
    viewer.attach(camera, time.now)
    fanout.start(viewer.consumer)
    for _ in range(1000):
        camera.branch.push([camera.packet(BODY, now=time.now)])
    time.advance(0.05)
    assert viewer.consumer.group is None
    assert camera.asked == 1
    camera.branch.push([camera.packet(KEY, now=time.now)])
    time.advance(0.01)
    got = numbers(viewer.take())
    assert got == list(range(got[0], got[0] + len(got)))
    assert viewer.consumer.group in camera.branch.groups.values()


def test_a_viewer_is_soon_one_of_the_group_though_packets_come_faster_than_steps() -> None:
    camera, viewer = filmed(100), FakeViewer()
    time, fanout = camera.time, camera.fanout
    viewer.attach(camera, time.now)
    fanout.start(viewer.consumer)
    for _ in range(150):
        time.advance(0.003)
        camera.branch.push([camera.packet(BODY, now=time.now)])
    assert viewer.consumer.group in camera.branch.groups.values()
    time.advance(0.01)
    got = numbers(viewer.take())
    assert got == list(range(got[0], got[0] + 250))
