"""A fault in the handling of one camera's packets: that camera ends, and no viewer or other camera."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.media.adapt.downlink import Downlink
from sfu.media.formats import rtcp
from sfu.media.formats.rtp import Packet, time_delta
from sfu.media.ingest.producer import Producer
from sfu.media.ingest.reception import BitrateBounds
from sfu.media.ingest.uplink import Uplink
from sfu.rtc.sdp.description import Agreed, Receive, Send
from sfu.units import ntp_time
from tests.helpers.clock import FakeTime
from tests.helpers.forwarding import DELTA, KEY, SSRC, VP8, VP8_THERE, FakeCamera, FakeViewer, fake_fanout


def broken(packet: Packet) -> Packet:
    """A packet that no code can write."""
    packet.media_time = cast("Any", "broken")
    return packet


def two_cameras() -> tuple[FakeTime, list[FakeCamera], list[FakeViewer]]:
    """Two cameras of one fan-out, each with a viewer that has seen its key frame; the first one expects bugs."""
    time = FakeTime(0.0)
    fanout = fake_fanout(time)
    cameras, viewers = [FakeCamera(fanout=fanout), FakeCamera(ssrc=8, fanout=fanout)], [FakeViewer(), FakeViewer()]
    cameras[0].bugs = 0
    for camera, viewer in zip(cameras, viewers, strict=True):
        viewer.attach(camera, 0.0)
        camera.branch.push([camera.packet(KEY)])
    time.advance(0.01)
    assert [len(viewer.take()) for viewer in viewers] == [1, 1]
    return time, cameras, viewers


def test_packets_of_other_cameras_that_came_in_the_same_turn_are_forwarded() -> None:
    time, cameras, viewers = two_cameras()
    first, second = cameras
    for _ in range(3):
        first.branch.push([broken(first.packet())])
        second.branch.push([second.packet()])
        time.advance(0.01)
    assert first.bugs == 3
    assert [len(viewer.take()) for viewer in viewers] == [0, 3]


def test_a_replay_that_fails_stops_no_other_replay() -> None:
    time, cameras, _ = two_cameras()
    for camera in cameras:
        for number in range(60):
            packet = camera.packet(DELTA + bytes(1000))
            if camera.bugs is not None and number == 50:
                broken(packet)
    late = [FakeViewer(), FakeViewer()]
    for camera, viewer in zip(cameras, late, strict=True):
        viewer.attach(camera, time.now)
        camera.fanout.start(viewer.consumer)
    time.advance(1.0)
    assert cameras[0].bugs == 1
    assert len(late[1].take()) == 61


def test_a_sender_report_that_cannot_be_written_is_the_fault_of_the_camera() -> None:
    camera, viewer = FakeCamera(), FakeViewer()
    downlink = Downlink(viewer.consumer.transport, camera.fanout, listener=cast("Any", None))
    send = Send((VP8_THERE,), {}, SSRC, "window-1", "window-1-video")
    downlink.negotiated([Agreed(0, "v", True, "video", "", ("120",), "sendonly", send=send)], 0.0)
    downlink.consumers[0].attach(camera.branch, 0.0)
    camera.branch.push([camera.packet(KEY)])
    camera.time.advance(0.01)
    camera.producer.note_clock(1 << 32, 9000, 0.0)
    assert len(downlink.reports(1.0, due=True)) == 1
    camera.bugs = 0
    camera.producer.note_clock(cast("Any", "broken"), 9000, 0.0)
    assert downlink.reports(1.0, due=True) == []
    assert camera.bugs == 1


class _Filmed:
    """A real uplink, fan-out and downlink of one camera and one viewer."""

    def __init__(self) -> None:
        self.time = FakeTime(1e6)
        fanout = fake_fanout(self.time)
        self.viewer = FakeViewer()
        self.uplink = Uplink(
            lambda _: None,
            1,
            bitrates=BitrateBounds(150_000, 2_000_000),
            history_bytes=1 << 20,
            listener=self,
            open_output=fanout.open,
        )
        receive = Receive((VP8,), {}, (), None, None)
        self.uplink.negotiated([Agreed(0, "v", True, "video", "", ("96",), "recvonly", receive=receive)])
        (self.producer,) = self.uplink.producers
        self.downlink = Downlink(self.viewer.consumer.transport, fanout, listener=cast("Any", None))
        send = Send((VP8_THERE,), {}, SSRC, "window-1", "window-1-video")
        self.downlink.negotiated([Agreed(0, "v", True, "video", "", ("120",), "sendonly", send=send)], self.time.now)
        self.downlink.show("v", self.uplink.tracks["v"], self.time.now)

    def on_flowing(self) -> None: ...

    def on_bug(self) -> None:
        raise  # noqa: PLE0704  # fails the test

    def tick(self) -> None:
        now = self.time.now
        self.uplink.tick(now)
        self.uplink.report(now)
        self.downlink.tick(now)
        for report in self.downlink.reports(now, due=True):
            (message, *_) = rtcp.parse(report)
            assert isinstance(message, rtcp.SenderReport)


EDGE_16 = st.sampled_from([0, 1, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF]) | st.integers(0, 0xFFFF)
EDGE_32 = st.sampled_from([0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF]) | st.integers(0, 0xFFFF_FFFF)
EDGE_64 = st.sampled_from([0, 1, 1 << 63, (1 << 64) - 1, ntp_time(0), ntp_time(2e9)]) | st.integers(0, (1 << 64) - 1)
SAID = st.one_of(
    st.tuples(st.just("packet"), EDGE_16, EDGE_32, st.sampled_from([KEY, DELTA, b""])),
    st.tuples(st.just("report"), EDGE_64, EDGE_32, EDGE_32),
    st.tuples(st.just("pause"), st.sampled_from([0.001, 0.04, 0.6, 3.0, 86_400.0, 1e7])),
)


@given(st.lists(SAID, max_size=60))
def test_whatever_numbers_and_times_a_camera_sends_its_viewer_gets_well_formed_packets(
    said: list[tuple[Any, ...]],
) -> None:
    filmed = _Filmed()
    for what, *values in said:
        if what == "packet":
            sequence, media_time, payload = values
            packet = b"\x80\xe0" + sequence.to_bytes(2, "big") + media_time.to_bytes(4, "big") + b"\0\0\0\7" + payload
            filmed.uplink.receive([packet], filmed.time.now)
            filmed.time.advance(0.001)
        elif what == "report":
            ntp, media_time, octets = values
            report = rtcp.SenderReport(7, ntp, media_time, octets, octets)
            filmed.uplink.on_sender_report(report, ntp_time(filmed.time.now), filmed.time.now)
        else:
            filmed.time.advance(values[0])
        filmed.tick()
    packets = filmed.viewer.take()
    steps = {b.sequence - a.sequence & 0xFFFF for a, b in pairwise(packets)}
    assert 0 not in steps


def test_the_producer_tells_its_uplink_of_a_bug_and_that_the_owner() -> None:
    ended: list[str] = []

    class Owner:
        def on_flowing(self) -> None: ...

        def on_bug(self) -> None:
            ended.append("camera")

    bounds = BitrateBounds(1, 2)
    uplink = Uplink(lambda _: None, 1, bitrates=bounds, history_bytes=1, listener=Owner())
    receive = Receive((VP8,), {}, (), None, None)
    uplink.negotiated([Agreed(0, "v", True, "video", "", ("96",), "recvonly", receive=receive)])
    producer: Producer = next(uplink.producers)
    producer.on_bug()
    assert ended == ["camera"]


@pytest.mark.parametrize(
    ("sequence", "media_time", "ours", "now"),
    [
        (0xFFFF - 20, 5000, 1_800_000_000.0, 100.0),
        (100, 0xFFFF_FFFF - 20 * 3000, 1_800_000_000.0, 100.0),
        (100, 0x7FFF_FFFF - 20 * 3000, 1_800_000_000.0, 100.0),
        (100, 5000, 2_085_978_496.0 - 0.5, 100.0),
        (100, 5000, 1_800_000_000.0, 63.5),
        (0xFFFF - 20, 0xFFFF_FFFF - 20 * 3000, 2_085_978_496.0 - 0.5, 10 * 365.25 * 86_400),
    ],
    ids=["16 bits", "32 bits", "31 bits", "NTP in 2036", "24 bits of send time", "all of them after ten years"],
)
def test_what_wraps_goes_on(sequence: int, media_time: int, ours: float, now: float) -> None:
    """Two seconds of film over the moment in which a number begins again at 0."""
    filmed = _Filmed()
    filmed.time.now = now
    reports: list[rtcp.SenderReport] = []
    for at in range(60):
        second = at / 30
        head = struct.pack(">BBHII", 0x80, 0xE0, sequence + at & 0xFFFF, media_time + at * 3000 & 0xFFFF_FFFF, 7)
        filmed.time.advance(now + second - filmed.time.now)
        filmed.uplink.receive([head + (DELTA if at else KEY)], filmed.time.now)
        if at % 10 == 0:
            told = rtcp.SenderReport(7, ntp_time(ours + second), media_time + at * 3000 & 0xFFFF_FFFF, at, at)
            filmed.uplink.on_sender_report(told, ntp_time(ours + second), filmed.time.now)
        filmed.time.advance(0.001)
        for report in filmed.downlink.reports(filmed.time.now, due=True):
            reports += [message for message in rtcp.parse(report) if isinstance(message, rtcp.SenderReport)]
    got = filmed.viewer.take()
    assert {b.sequence - a.sequence & 0xFFFF for a, b in pairwise(got)} == {1}
    assert {b.media_time - a.media_time & 0xFFFF_FFFF for a, b in pairwise(got)} == {3000}
    assert (filmed.producer.restarts, filmed.producer.times.corrected, filmed.producer.drops["stale"]) == (0, 0, 0)
    assert len(got) == len(reports) == 60
    for told in reports:
        passed = rtcp.ntp_delta(told.ntp, ntp_time(ours)) / (1 << 32)
        assert abs(time_delta(told.media_time, got[0].media_time) / 90_000 - passed) < 0.001
