"""The RTCP of a viewer and its effects; nothing that it sends costs the other viewers anything."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

from sfu.media.adapt.downlink import Downlink
from sfu.media.formats import rtcp
from sfu.media.ingest.track import IncomingTrack
from sfu.rtc.sdp.description import Agreed, Receive, Send
from tests.helpers.forwarding import DELTA, KEY, SSRC, VP8, VP8_THERE, FakeCamera, FakeViewer


class DownlinkViewer:
    """One viewer of one camera, through its downlink."""

    def __init__(self) -> None:
        self.camera, self.slot = FakeCamera(), FakeViewer()
        self.time, self.fanout = self.camera.time, self.camera.fanout
        self.time.now = 100.0
        self.resent: list[bytes] = []
        transport = self.slot.consumer.transport
        cast("Any", transport).send_rtp = self.resent.append
        self.turned_sparse = 0
        self.downlink = Downlink(transport, self.fanout, listener=self)
        send = Send((VP8_THERE,), {}, SSRC, "window-1", "window-1-video")
        section = Agreed(0, "v", True, "video", "UDP/TLS/RTP/SAVPF", ("120",), "sendonly", send=send)
        self.downlink.negotiated([section], self.time.now)
        receive = Receive((VP8,), {}, (), None, None)
        self.track = IncomingTrack("0", receive, lambda *_: self.camera.producer)
        self.consumer = self.downlink.consumers[0]
        self.send(KEY)
        self.downlink.show("v", self.track, self.time.now)

    def on_sparse(self) -> None:
        self.turned_sparse += 1

    def send(self, payload: bytes = DELTA) -> None:
        """Sends one packet of the camera."""
        self.camera.branch.push([self.camera.packet(payload, now=self.time.now)])
        self.time.advance(0.01)

    def send_rtcp(self, *parts: bytes) -> None:
        data = rtcp.compound(*parts)
        self.downlink.on_rtcp(data, rtcp.parse_requests(data, Counter()), self.time.now)

    def report(self, lost: int, highest: int, *, lsr: int = 0, dlsr: float = 0.0) -> None:
        block = rtcp.ReportBlock(SSRC, 0, lost, highest, 0, lsr, int(dlsr * 65536))
        self.send_rtcp(rtcp.receiver_report(9, [block], "viewer"))
        self.downlink.tick(self.time.now)


def test_what_was_lost_is_sent_again_once_a_round_trip_however_often_it_is_asked_for() -> None:
    viewer = DownlinkViewer()
    for _ in range(20):
        viewer.send()
    first = viewer.slot.take()[5].sequence
    for _ in range(1000):
        viewer.send_rtcp(rtcp.nack(9, SSRC, [first]))
    assert len(viewer.resent) == 1
    assert viewer.consumer.repairs.repeated == 999


def test_a_flood_of_nacks_ends_at_the_budget() -> None:
    viewer = DownlinkViewer()
    for _ in range(400):
        viewer.send(DELTA + bytes(1000))
    sequences = [packet.sequence for packet in viewer.slot.take()][-300:]
    for _ in range(20):
        viewer.send_rtcp(rtcp.nack(9, SSRC, sequences))
        viewer.time.advance(0.2)
    assert 0 < len(viewer.resent) * 1000 < 300_000
    assert viewer.consumer.repairs.over_budget > 0


def test_numbers_never_sent_are_counted_and_nothing_else() -> None:
    viewer = DownlinkViewer()
    last = viewer.slot.take()[-1].sequence
    viewer.send_rtcp(rtcp.nack(9, SSRC, [last + 1 & 0xFFFF, last + 30_000 & 0xFFFF, last - 20_000 & 0xFFFF]))
    assert (viewer.resent, viewer.consumer.repairs.unknown) == ([], 3)


def test_picture_losses_at_1_khz_are_two_requests_a_second() -> None:
    viewer = DownlinkViewer()
    viewer.camera.producer.key_frames.heeded = True
    for _ in range(1000):
        viewer.send_rtcp(rtcp.pli(9, SSRC))
        viewer.time.advance(0.001)
        viewer.camera.producer.tick(viewer.time.now)
    assert viewer.camera.asked <= 3


def test_the_round_trip_is_told_by_our_own_clock() -> None:
    viewer = DownlinkViewer()
    viewer.camera.producer.note_clock(0x1234_5678_0000_0000, 0, viewer.time.now)
    report = viewer.consumer.sender_report(viewer.time.now)
    assert report is not None
    (told,) = (message for message in rtcp.parse(report) if isinstance(message, rtcp.SenderReport))
    viewer.time.advance(0.25)
    viewer.report(0, 10, lsr=told.ntp >> 16 & 0xFFFF_FFFF, dlsr=0.2)
    assert 0.04 < viewer.downlink.round_trip < 0.06


def test_reports_of_what_was_never_told_say_nothing_of_the_round_trip() -> None:
    viewer = DownlinkViewer()
    before = viewer.downlink.round_trip
    viewer.report(0, 10, lsr=77, dlsr=0.1)
    assert viewer.downlink.round_trip == before


def test_heavy_loss_that_a_low_estimate_explains_makes_a_slide_show_and_its_end_is_told() -> None:
    viewer = DownlinkViewer()
    for second in range(12):
        for _ in range(90):
            viewer.send(DELTA + bytes(1200))
        viewer.camera.producer.tick(viewer.time.now)
        viewer.send_rtcp(rtcp.remb(9, 150_000, [SSRC]))
        viewer.report(80 * second, 90 * second + 1)
    assert viewer.downlink.sparse == {"v"}
    assert viewer.turned_sparse == 1
    for second in range(60):  # what is thought to be carried grows slowly after a loss
        viewer.send(KEY + bytes(1200))
        viewer.send_rtcp(rtcp.remb(9, 50_000_000, [SSRC]))
        viewer.time.advance(1.5)
        viewer.report(960, 1200 + 10 * second)
    assert viewer.downlink.sparse == frozenset()
    assert viewer.turned_sparse == 2


def test_who_has_moved_starts_anew_and_what_the_way_swallowed_makes_no_slide_show() -> None:
    viewer = DownlinkViewer()
    for _ in range(20):
        viewer.send()
    viewer.slot.take()
    viewer.downlink.moved(viewer.time.now)
    viewer.time.advance(0.1)
    again = viewer.slot.take()
    assert again[0].payload == KEY, "the latest key frame, at once"
    viewer.downlink.moved(viewer.time.now)  # to a better path of the new network
    for second in range(4):
        for _ in range(90):
            viewer.send(DELTA + bytes(1200))
        viewer.camera.producer.tick(viewer.time.now)
        viewer.send_rtcp(rtcp.remb(9, 150_000, [SSRC]))
        viewer.report(80, 110 + 90 * second)
        viewer.time.advance(0.2)
    assert viewer.downlink.sparse == frozenset()
    assert sum(packet.payload == KEY for packet in viewer.slot.take()) == 0, "once is enough"


def test_hostile_estimates_and_reports_do_no_harm() -> None:
    viewer = DownlinkViewer()
    for bitrate in (0, 1, 1 << 60):
        viewer.send_rtcp(rtcp.remb(9, bitrate, [SSRC]))
        viewer.report(0x7FFFFF, 0xFFFF_FFFF)
        viewer.report(-0x7FFFFF, 0)
    viewer.slot.take()
    viewer.send()
    assert len(viewer.slot.take()) == 1


def test_the_pace_from_before_a_pause_is_forgotten_with_the_estimate_that_it_came_from() -> None:
    viewer = DownlinkViewer()
    viewer.send_rtcp(rtcp.remb(9, 200_000, [SSRC]))
    viewer.downlink.tick(viewer.time.now)
    assert viewer.consumer.pace == 20_000
    viewer.downlink.show("v", None, viewer.time.now)
    viewer.time.advance(18.0)
    viewer.downlink.show("v", viewer.track, viewer.time.now)
    assert viewer.consumer.pace is None


def test_what_was_sent_between_rare_reports_is_not_taken_for_what_was_sent_in_one_second() -> None:
    """Receivers that report each five seconds only."""
    viewer = DownlinkViewer()
    for _ in range(2):
        for _ in range(500):
            viewer.send(DELTA + bytes(1246))
        viewer.report(0, 1)
    viewer.send_rtcp(rtcp.remb(9, 100_000, [SSRC]))
    estimate = viewer.downlink.estimate.bitrate(viewer.time.now)
    assert estimate is not None
    assert 800_000 < estimate < 1_200_000, "1 Mbit/s was sent and carried"
