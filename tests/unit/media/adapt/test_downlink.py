"""What a viewer says of what it gets, and what comes of it; whatever it says costs others nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

from sfu.media.adapt.downlink import Downlink
from sfu.media.formats import rtcp
from sfu.media.ingest.track import IncomingTrack
from sfu.rtc.sdp.description import Agreed, Receive, Send
from tests.helpers.forwarding import DELTA, KEY, SSRC, VP8, VP8_THERE, FakeCamera, FakeViewer


class Watching:
    """One viewer of one camera, through its downlink."""

    def __init__(self) -> None:
        self.camera, self.end = FakeCamera(), FakeViewer()
        self.time, self.fanout = self.camera.time, self.camera.fanout
        self.time.now = 100.0
        self.resent: list[bytes] = []
        transport = self.end.consumer.transport
        cast("Any", transport).send_rtp = self.resent.append
        self.turned_sparse = 0
        self.downlink = Downlink(transport, self.fanout, listener=self)
        send = Send((VP8_THERE,), {}, SSRC, "window-1", "window-1-video")
        section = Agreed(0, "v", True, "video", "UDP/TLS/RTP/SAVPF", ("120",), "sendonly", send=send)
        self.downlink.negotiated([section], self.time.now)
        receive = Receive((VP8,), {}, (), None, None)
        self.track = IncomingTrack("0", receive, lambda *_: self.camera.producer)
        self.consumer = self.downlink.consumers[0]
        self.film(KEY)
        self.downlink.show("v", self.track, self.time.now)

    def on_sparse(self) -> None:
        self.turned_sparse += 1

    def film(self, payload: bytes = DELTA) -> None:
        """One packet, sent to whom it concerns."""
        self.camera.branch.push([self.camera.packet(payload, now=self.time.now)])
        self.time.advance(0.01)

    def say(self, *parts: bytes) -> None:
        data = rtcp.compound(*parts)
        self.downlink.on_rtcp(data, rtcp.parse_requests(data, Counter()), self.time.now)

    def report(self, lost: int, highest: int, *, lsr: int = 0, dlsr: float = 0.0) -> None:
        block = rtcp.ReportBlock(SSRC, 0, lost, highest, 0, lsr, int(dlsr * 65536))
        self.say(rtcp.receiver_report(9, [block], "viewer"))
        self.downlink.tick(self.time.now)


def test_what_was_lost_is_sent_again_once_a_round_trip_however_often_it_is_asked_for() -> None:
    watching = Watching()
    for _ in range(20):
        watching.film()
    first = watching.end.take()[5].sequence
    for _ in range(1000):
        watching.say(rtcp.nack(9, SSRC, [first]))
    assert len(watching.resent) == 1
    assert watching.consumer.repairs.repeated == 999


def test_a_flood_of_nacks_ends_at_the_budget() -> None:
    watching = Watching()
    for _ in range(400):
        watching.film(DELTA + bytes(1000))
    sequences = [packet.sequence for packet in watching.end.take()][-300:]
    for _ in range(20):
        watching.say(rtcp.nack(9, SSRC, sequences))
        watching.time.advance(0.2)
    assert 0 < len(watching.resent) * 1000 < 300_000
    assert watching.consumer.repairs.over_budget > 0


def test_numbers_never_sent_are_counted_and_nothing_else() -> None:
    watching = Watching()
    last = watching.end.take()[-1].sequence
    watching.say(rtcp.nack(9, SSRC, [last + 1 & 0xFFFF, last + 30_000 & 0xFFFF, last - 20_000 & 0xFFFF]))
    assert (watching.resent, watching.consumer.repairs.unknown) == ([], 3)


def test_picture_losses_at_1_khz_are_two_requests_a_second() -> None:
    watching = Watching()
    watching.camera.producer.key_frames.heeded = True
    for _ in range(1000):
        watching.say(rtcp.pli(9, SSRC))
        watching.time.advance(0.001)
        watching.camera.producer.tick(watching.time.now)
    assert watching.camera.asked <= 3


def test_the_round_trip_is_told_by_our_own_clock() -> None:
    watching = Watching()
    watching.camera.producer.note_clock(0x1234_5678_0000_0000, 0, watching.time.now)
    report = watching.consumer.sender_report(watching.time.now)
    assert report is not None
    (told,) = (message for message in rtcp.parse(report) if isinstance(message, rtcp.SenderReport))
    watching.time.advance(0.25)
    watching.report(0, 10, lsr=told.ntp >> 16 & 0xFFFF_FFFF, dlsr=0.2)
    assert 0.04 < watching.downlink.round_trip < 0.06


def test_reports_of_what_was_never_told_say_nothing_of_the_round_trip() -> None:
    watching = Watching()
    before = watching.downlink.round_trip
    watching.report(0, 10, lsr=77, dlsr=0.1)
    assert watching.downlink.round_trip == before


def test_heavy_loss_that_a_low_estimate_explains_makes_a_slide_show_and_its_end_is_told() -> None:
    watching = Watching()
    for second in range(12):
        for _ in range(90):
            watching.film(DELTA + bytes(1200))
        watching.camera.producer.tick(watching.time.now)
        watching.say(rtcp.remb(9, 150_000, [SSRC]))
        watching.report(80 * second, 90 * second + 1)
    assert watching.downlink.sparse == {"v"}
    assert watching.turned_sparse == 1
    for second in range(60):  # what is thought to be carried grows slowly after a loss
        watching.film(KEY + bytes(1200))
        watching.say(rtcp.remb(9, 50_000_000, [SSRC]))
        watching.time.advance(1.5)
        watching.report(960, 1200 + 10 * second)
    assert watching.downlink.sparse == frozenset()
    assert watching.turned_sparse == 2


def test_who_has_moved_starts_anew_and_what_the_way_swallowed_makes_no_slide_show() -> None:
    watching = Watching()
    for _ in range(20):
        watching.film()
    watching.end.take()
    watching.downlink.moved(watching.time.now)
    watching.time.advance(0.1)
    again = watching.end.take()
    assert again[0].payload == KEY, "the latest key frame, at once"
    watching.downlink.moved(watching.time.now)  # to a better path of the new network
    for second in range(4):
        for _ in range(90):
            watching.film(DELTA + bytes(1200))
        watching.camera.producer.tick(watching.time.now)
        watching.say(rtcp.remb(9, 150_000, [SSRC]))
        watching.report(80, 110 + 90 * second)
        watching.time.advance(0.2)
    assert watching.downlink.sparse == frozenset()
    assert sum(packet.payload == KEY for packet in watching.end.take()) == 0, "once is enough"


def test_hostile_estimates_and_reports_do_no_harm() -> None:
    watching = Watching()
    for bitrate in (0, 1, 1 << 60):
        watching.say(rtcp.remb(9, bitrate, [SSRC]))
        watching.report(0x7FFFFF, 0xFFFF_FFFF)
        watching.report(-0x7FFFFF, 0)
    watching.end.take()
    watching.film()
    assert len(watching.end.take()) == 1
