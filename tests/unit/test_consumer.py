"""A slot's outgoing numbering runs on without a jump, whatever feeds it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from sfu.media import rtcp
from sfu.media.consumer import Consumer, Drop
from sfu.media.producer import Producer
from sfu.media.rtp import Packet, extension_block
from sfu.rtc.codec import Codec
from sfu.rtc.description import ABS_SEND_TIME, MID, VIDEO_ORIENTATION, Send

VP8 = Codec("VP8", 90000, 1, 96, feedback=("nack pli",))
VP8_THERE = Codec("VP8", 90000, 1, 120)
VP9 = Codec("VP9", 90000, 1, 98)
KEY = bytes([0x10, 0x00, 0x00, 0x00, 0x9D, 0x01, 0x2A])  # VP8: start of partition 0, key frame (RFC 7741)
DELTA = bytes([0x10, 0x01, 0x00, 0x00])
TRANSPORT = cast("Any", SimpleNamespace())


class Camera:
    """A producer and the packets it sends; remembers how often it was asked for a key frame."""

    def __init__(
        self, codecs: Sequence[Codec] = (VP8,), extensions: dict[str, int] | None = None, ssrc: int = 7
    ) -> None:
        self.asked = 0
        self.ssrc = ssrc
        self.sequence = 100
        self.media_time = 5000
        self.producer = Producer("0", codecs, extensions or {}, ask_key_frame=self._asked, on_codec=lambda _: None)

    def _asked(self, _: Producer) -> None:
        self.asked += 1

    def packet(
        self, payload: bytes = DELTA, *, now: float = 0.0, sequence: int | None = None, **changes: Any
    ) -> Packet:
        if sequence is None:
            sequence = self.sequence = (self.sequence + 1) & 0xFFFF
        packet = Packet(
            marker=True,
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


def slot(codecs: tuple[Codec, ...] = (VP8_THERE,), extensions: dict[str, int] | None = None) -> Consumer:
    return Consumer("v", Send(codecs, extensions or {}, 0xABCD, "window-1", "window-1-video"), TRANSPORT)


def numbers(rewritten: Sequence[tuple[int, int, int, bytes]]) -> list[int]:
    return [sequence for _, sequence, _, _ in rewritten]


def test_a_consumer_asks_for_a_key_frame_and_starts_on_it() -> None:
    camera, consumer = Camera(), slot()
    camera.packet(KEY)
    consumer.attach(camera.producer, 0.0)
    assert camera.asked == 1
    assert consumer.rewrite([camera.packet(), camera.packet()], 0.1) == []
    assert consumer.drops[Drop.WAITING_FOR_KEY_FRAME] == 2
    out = consumer.rewrite([camera.packet(), camera.packet(KEY), camera.packet()], 0.2)
    assert len(out) == 2
    assert consumer.drops[Drop.WAITING_FOR_KEY_FRAME] == 3
    head, _, _, body = out[0]
    assert (head, body) == (0x8000 | 1 << 7 | 120, KEY)


def test_a_late_packet_from_before_the_key_frame_is_dropped_and_one_after_it_keeps_its_place() -> None:
    camera, consumer = Camera(), slot()
    camera.packet()
    consumer.attach(camera.producer, 0.0)
    first = numbers(consumer.rewrite([camera.packet(KEY, sequence=200)], 0.0))
    assert consumer.rewrite([camera.packet(sequence=199)], 0.0) == []
    assert consumer.drops[Drop.BEFORE_KEY_FRAME] == 1
    later = numbers(consumer.rewrite([camera.packet(sequence=203), camera.packet(sequence=201)], 0.0))
    assert [n - first[0] for n in later] == [3, 1]


def test_a_switch_continues_sequence_and_media_time() -> None:
    one, other, consumer = Camera(), Camera(), slot()
    other.sequence, other.media_time = 40_000, 4_000_000_000
    consumer.attach(one.producer, 0.0)
    ((_, last, last_time, _),) = consumer.rewrite([one.packet(KEY)], 10.0)
    consumer.attach(other.producer, 10.2)
    ((_, sequence, media_time, _),) = consumer.rewrite([other.packet(KEY)], 10.5)
    assert sequence == (last + 1) & 0xFFFF
    assert (media_time - last_time) & 0xFFFFFFFF == 45_000  # half a second at 90 kHz
    assert one.producer.consumers == []


def test_a_camera_that_restarts_under_a_new_ssrc_goes_on_in_the_same_numbering() -> None:
    camera, consumer = Camera(), slot()
    consumer.attach(camera.producer, 0.0)
    last = numbers(consumer.rewrite([camera.packet(KEY)], 0.0))[-1]
    camera.sequence = 5
    assert consumer.rewrite([camera.packet(ssrc=99)], 0.1) == []
    camera.producer.tick(1.0)
    assert camera.asked == 2
    assert numbers(consumer.rewrite([camera.packet(KEY, ssrc=99)], 0.2)) == [(last + 1) & 0xFFFF]


def test_a_codec_that_the_viewer_lacks_is_counted_not_sent() -> None:
    camera, consumer = Camera(codecs=(VP9,)), slot()
    consumer.attach(camera.producer, 0.0)
    assert consumer.rewrite([camera.packet(b"\x00" * 9, payload_type=98)], 0.0) == []
    assert consumer.drops[Drop.CODEC] == 1


def test_extensions_are_carried_under_the_viewers_ids_and_shared_between_viewers() -> None:
    camera = Camera(extensions={MID: 1, VIDEO_ORIENTATION: 2, ABS_SEND_TIME: 3})
    consumers = [slot(extensions={MID: 9, VIDEO_ORIENTATION: 4}) for _ in range(2)]
    for consumer in consumers:
        consumer.attach(camera.producer, 0.0)
    packet = camera.packet(KEY, extensions={1: b"0", 2: b"\x01", 3: b"abc"})
    bodies = [consumer.rewrite([packet], 0.0)[0] for consumer in consumers]
    assert bodies[0][0] & 0x1000
    assert bodies[0][3] == extension_block([(9, b"v"), (4, b"\x01")]) + KEY
    assert bodies[0][3] is bodies[1][3]


def test_a_sender_report_speaks_in_the_slots_own_media_time() -> None:
    camera, consumer = Camera(), slot()
    consumer.attach(camera.producer, 0.0)
    assert consumer.sender_report(0.0) is None
    packet = camera.packet(KEY)
    ((_, _, media_time, _),) = consumer.rewrite([packet], 1.0)
    assert consumer.sender_report(1.0) is None  # the camera's clock is not known yet
    camera.producer.clock_told(ntp=50 << 32, media_time=packet.media_time, now=1.0)
    told = consumer.sender_report(3.0)
    assert told is not None
    (report,) = [message for message in rtcp.parse(told) if isinstance(message, rtcp.SenderReport)]
    assert (report.ssrc, report.ntp, report.packets) == (0xABCD, 52 << 32, 1)
    assert report.media_time == (media_time + 2 * 90_000) & 0xFFFFFFFF


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(1, 4)), max_size=60), st.data())
def test_no_order_of_switches_losses_and_key_frames_makes_a_gap_or_a_repeat(
    steps: list[tuple[int, bool, int]], data: st.DataObject
) -> None:
    """In-order cameras without loss: what the viewer gets is one gapless run of sequence numbers, time never back."""
    cameras = [Camera(ssrc=n + 1) for n in range(3)]
    for camera in cameras:
        camera.sequence = data.draw(st.integers(0, 0xFFFF))
        camera.media_time = data.draw(st.integers(0, 0xFFFFFFFF))
        camera.packet()
    consumer, now, got = slot(), 0.0, list[tuple[int, int]]()
    for which, key, count in steps:
        now += 0.04
        consumer.attach(cameras[which].producer, now)
        for index, camera in enumerate(cameras):
            burst = [camera.packet(KEY if key else DELTA, now=now) for _ in range(count)]
            if index == which:
                got += [(sequence, time) for _, sequence, time, _ in consumer.rewrite(burst, now)]
    for (sequence, time), (following, later) in itertools.pairwise(got):
        assert (following - sequence) & 0xFFFF == 1
        assert 0 < (later - time) & 0xFFFFFFFF < 1 << 31
