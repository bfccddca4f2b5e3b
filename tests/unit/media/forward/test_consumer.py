"""A slot's outgoing numbering runs on without a jump, whatever feeds it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from pylibsrtp import _binding

from sfu.media.formats import rtcp
from sfu.media.formats.rtp import Packet, parse
from sfu.media.forward.consumer import Consumer, Drop
from sfu.media.forward.fanout import Fanout
from sfu.media.ingest.producer import Producer
from sfu.rtc.net.burst import Burst
from sfu.rtc.net.paths import Targets
from sfu.rtc.sdp.codec import Codec
from sfu.rtc.sdp.description import ABS_SEND_TIME, MID, VIDEO_ORIENTATION, Send

VP8 = Codec("VP8", 90000, 1, 96, feedback=("nack pli",))
VP8_THERE = Codec("VP8", 90000, 1, 120)
VP9 = Codec("VP9", 90000, 1, 98)
KEY = bytes([0x10, 0x00, 0x00, 0x00, 0x9D, 0x01, 0x2A])  # VP8: start of partition 0, key frame (RFC 7741)
DELTA = bytes([0x10, 0x01, 0x00, 0x00])


class Wire:
    """Takes the place of a socket's egress: what is sent to a path lands in that viewer's inbox."""

    def write(self, targets: Targets, burst: Burst) -> dict[int, int]:
        for path in targets.paths:
            cast("Any", path).inbox.extend(burst.packets)
        return {}

    def flush(self) -> None:
        """Everything is delivered already."""


class Loop:
    """Keeps what the fan-out would run later."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        entry = (delay, callback)
        self.later.append(entry)
        return SimpleNamespace(cancel=lambda: self.later.remove(entry))

    def turn(self) -> None:
        """The end of a turn."""
        callbacks, self.soon = self.soon, []
        for callback in callbacks:
            callback()


class Viewer:
    """One slot, and the packets that reached it."""

    def __init__(self, codecs: tuple[Codec, ...] = (VP8_THERE,), extensions: dict[str, int] | None = None) -> None:
        self.inbox: list[bytes] = []
        path = SimpleNamespace(socket="wire", name=bytes(16), inbox=self.inbox)
        keys = SimpleNamespace(handle=_binding.ffi.NULL, overhead=16)
        transport = cast("Any", SimpleNamespace(sender=keys, agent=SimpleNamespace(path=path)))
        send = Send(codecs, extensions or {}, 0xABCD, "window-1", "window-1-video")
        self.consumer = Consumer("v", send, transport)

    def attach(self, camera: Camera | None, now: float) -> None:
        self.consumer.attach(None if camera is None else camera.producer, now)

    def take(self) -> list[Packet]:
        """What arrived since the last call."""
        packets = [packet for data in self.inbox if (packet := parse(data))]
        self.inbox.clear()
        return packets


def fanout_of(loop: Loop, now: float = 0.0) -> Fanout:
    fanout = Fanout(cast("Any", loop), clock=lambda: now)
    fanout._egresses[cast("Any", "wire")] = cast("Any", Wire())
    return fanout


def deliver(camera: Camera, packets: Sequence[Packet], now: float = 0.0) -> None:
    """One burst through the fan-out."""
    fanout = fanout_of(Loop(), now)
    for packet in packets:
        fanout.push(camera.producer, [packet])
    fanout._release()


class Camera:
    """A producer and the packets it sends; remembers how often it was asked for a key frame."""

    def __init__(
        self, codecs: Sequence[Codec] = (VP8,), extensions: dict[str, int] | None = None, ssrc: int = 7
    ) -> None:
        self.asked = 0
        self.ssrc = ssrc
        self.sequence = 100
        self.media_time = 5000
        self.producer = Producer(
            "0", codecs, extensions or {}, ask_key_frame=self._asked, ask_again=lambda *_: None, on_codec=lambda _: None
        )

    def _asked(self, _: Producer) -> None:
        self.asked += 1

    def packet(
        self, payload: bytes = DELTA, *, now: float = 0.0, sequence: int | None = None, **changes: Any
    ) -> Packet:
        if sequence is None:
            sequence = self.sequence = (self.sequence + 1) & 0xFFFF
        packet = Packet(
            marker=changes.get("marker", True),
            payload_type=changes.get("payload_type", 96),
            sequence=sequence,
            media_time=self.media_time,
            ssrc=changes.get("ssrc", self.ssrc),
            payload=payload,
            extensions=changes.get("extensions", {}),
        )
        self.media_time = (self.media_time + 3000) & 0xFFFFFFFF
        assert self.producer.receive(packet, now)
        return packet


def numbers(packets: Sequence[Packet]) -> list[int]:
    return [packet.sequence for packet in packets]


def test_a_consumer_asks_for_a_key_frame_and_starts_on_it() -> None:
    camera, viewer = Camera(), Viewer()
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
    camera, early, late = Camera(), Viewer(), Viewer()
    early.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEY), camera.packet()])
    late.attach(camera, 1.0)
    deliver(camera, [camera.packet(), camera.packet(KEY)])
    assert len(camera.producer.groups) == 1
    early.take(), late.take()
    deliver(camera, [camera.packet(), camera.packet()])
    assert early.take() == late.take() != []
    assert (early.consumer.packets, late.consumer.packets) == (6, 3)
    assert early.consumer.octets - late.consumer.octets == len(KEY) + 2 * len(DELTA)


def test_a_late_packet_from_before_the_key_frame_is_dropped_and_one_after_it_keeps_its_place() -> None:
    camera, viewer, there_before = Camera(), Viewer(), Viewer()
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
    one, other, viewer = Camera(), Camera(), Viewer()
    other.sequence, other.media_time = 40_000, 4_000_000_000
    viewer.attach(one, 0.0)
    deliver(one, [one.packet(KEY)], now=10.0)
    viewer.attach(other, 10.2)
    deliver(other, [other.packet(KEY)], now=10.5)
    before, after = viewer.take()
    assert after.sequence == (before.sequence + 1) & 0xFFFF
    assert (after.media_time - before.media_time) & 0xFFFFFFFF == 45_000  # half a second at 90 kHz
    assert (one.producer.consumers, one.producer.groups) == ([], {})


def test_a_switch_after_a_burst_that_ended_out_of_order_repeats_no_number() -> None:
    one, other, viewer = Camera(), Camera(), Viewer()
    viewer.attach(one, 0.0)
    deliver(one, [one.packet(KEY, sequence=200)])
    deliver(one, [one.packet(sequence=202), one.packet(sequence=201)])
    viewer.attach(other, 0.1)
    deliver(other, [other.packet(KEY)], now=0.2)
    first, *_, switched = viewer.take()
    assert switched.sequence == first.sequence + 3


def test_a_camera_that_restarts_under_a_new_ssrc_goes_on_in_the_same_numbering() -> None:
    camera, viewer = Camera(), Viewer()
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
    camera, viewer = Camera(), Viewer()
    viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEY)])
    (last,) = viewer.take()
    old = [camera.packet(KEY), camera.packet()]
    camera.sequence = 5
    deliver(camera, [*old, camera.packet(ssrc=99), camera.packet(KEY, ssrc=99), camera.packet(ssrc=99)])
    assert numbers(viewer.take()) == [(last.sequence + n) & 0xFFFF for n in (1, 2)]


def test_a_codec_that_the_viewer_lacks_is_counted_not_sent() -> None:
    camera, viewer = Camera(codecs=(VP9,)), Viewer()
    viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(b"\x00" * 9, payload_type=98)])
    assert viewer.take() == []
    assert viewer.consumer.drops[Drop.CODEC] == 1


def test_extensions_are_carried_under_the_viewers_ids() -> None:
    camera = Camera(extensions={MID: 1, VIDEO_ORIENTATION: 2, ABS_SEND_TIME: 3})
    rotating, plain = Viewer(extensions={MID: 9, VIDEO_ORIENTATION: 4}), Viewer()
    for viewer in (rotating, plain):
        viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEY, extensions={1: b"0", 2: b"\x01", 3: b"abc"}), camera.packet()])
    with_all, with_mid = rotating.take()
    assert (with_all.extensions, with_all.payload) == ({9: b"v", 4: b"\x01"}, KEY)
    assert with_mid.extensions == {9: b"v"}
    assert [packet.extensions for packet in plain.take()] == [{}, {}]


def test_a_packet_too_large_to_encrypt_is_counted_for_its_viewer() -> None:
    camera, viewer = Camera(), Viewer()
    viewer.attach(camera, 0.0)
    deliver(camera, [camera.packet(KEY), camera.packet(DELTA + bytes(2000)), camera.packet()])
    assert len(viewer.take()) == 2
    assert viewer.consumer.drops[Drop.REFUSED] == 1


def test_a_sender_report_speaks_in_the_slots_own_media_time() -> None:
    camera, viewer = Camera(), Viewer()
    viewer.attach(camera, 0.0)
    assert viewer.consumer.sender_report(0.0) is None
    packet = camera.packet(KEY)
    deliver(camera, [packet], now=1.0)
    (sent,) = viewer.take()
    assert viewer.consumer.sender_report(1.0) is None  # the camera's clock is not known yet
    camera.producer.clock_told(ntp=50 << 32, media_time=packet.media_time, now=1.0)
    told = viewer.consumer.sender_report(3.0)
    assert told is not None
    (report,) = [message for message in rtcp.parse(told) if isinstance(message, rtcp.SenderReport)]
    assert (report.ssrc, report.ntp, report.packets, report.octets) == (0xABCD, 52 << 32, 1, len(KEY))
    assert report.media_time == (sent.media_time + 2 * 90_000) & 0xFFFFFFFF


def frame(camera: Camera, count: int, now: float, spacing: float = 0.0) -> list[Packet]:
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
    camera, viewer, loop = Camera(), Viewer(), Loop()
    viewer.attach(camera, 0.0)
    for number in range(20):
        deliver(camera, frame(camera, 5, number * 0.033))
    viewer.take()
    fanout = fanout_of(loop)
    *most, last = frame(camera, 5, 1.0)
    for packet in most:
        fanout.push(camera.producer, [packet])
    loop.turn()
    assert (viewer.take(), len(loop.later)) == ([], 1)
    fanout.push(camera.producer, [last])
    loop.turn()
    assert (len(viewer.take()), loop.later) == (5, [])


def test_a_frame_whose_end_is_lost_waits_no_longer_than_the_hold() -> None:
    camera, viewer, loop = Camera(), Viewer(), Loop()
    viewer.attach(camera, 0.0)
    for number in range(20):
        deliver(camera, frame(camera, 5, number * 0.033))
    viewer.take()
    fanout = fanout_of(loop)
    for packet in frame(camera, 5, 1.0)[:-1]:
        fanout.push(camera.producer, [packet])
    loop.turn()
    ((delay, release),) = loop.later
    assert (viewer.take(), delay <= 0.002) == ([], True)
    release()
    assert len(viewer.take()) == 4


def test_packets_of_a_paced_camera_wait_for_nothing() -> None:
    camera, viewer, loop = Camera(), Viewer(), Loop()
    viewer.attach(camera, 0.0)
    for number in range(20):
        deliver(camera, frame(camera, 5, number * 0.033, spacing=0.005))
    viewer.take()
    fanout = fanout_of(loop)
    fanout.push(camera.producer, [frame(camera, 5, 1.0)[0]])
    loop.turn()
    assert (len(viewer.take()), loop.later) == (1, [])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(1, 4)), max_size=60), st.data())
def test_no_order_of_switches_and_key_frames_makes_a_gap_or_a_repeat(
    steps: list[tuple[int, bool, int]], data: st.DataObject
) -> None:
    """In-order cameras without loss: what the viewer gets is one gapless run of sequence numbers, time never back."""
    cameras = [Camera(ssrc=n + 1) for n in range(3)]
    for camera in cameras:
        camera.sequence = data.draw(st.integers(0, 0xFFFF))
        camera.media_time = data.draw(st.integers(0, 0xFFFFFFFF))
        camera.packet()
    viewer, now, sent = Viewer(), 0.0, 0
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
    low, high, viewer = Camera(), Camera(), Viewer()
    for camera in (low, high):
        deliver(camera, [camera.packet(KEY)])
    viewer.attach(low, 0.0)
    deliver(low, [low.packet(KEY)])
    asked = high.asked
    viewer.consumer.follow(high.producer, 1.0)
    assert high.asked == asked + 1
