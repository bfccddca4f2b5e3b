"""Statistics of a slot: frames, key frames, latency and key frame requests."""

from __future__ import annotations

import pytest

from sfu.clients.outgoing import abs_send_time
from sfu.clients.slot_stats import SlotMeter
from sfu.media.formats.rtp import Packet
from sfu.signaling.bodies import SourceStatus

KEY, DELTA = b"\x65\x88", b"\x41\x9a"


CAMERA = SourceStatus("yard", "camera", "0", "H264")


def packet(sequence: int, media_time: int = 0, payload: bytes = DELTA) -> Packet:
    return Packet(False, 102, sequence, media_time, 7, payload, {}, {})


def receive(meter: SlotMeter, item: Packet, now: float, *, late: float | None = None) -> None:
    sent = None if late is None else abs_send_time(now - late).to_bytes(3, "big")
    meter.received(item, "H264", sent=sent, now=now, wall=now)


def test_lateness_survives_the_wrap_of_the_extension_every_64_seconds() -> None:
    meter = SlotMeter("v0", "video")
    for number in range(700):
        receive(meter, packet(number, number * 3000), 1000 + number / 10, late=0.02)
    figures = meter.figures()
    assert figures.late_p50_ms == pytest.approx(20, abs=0.3)
    assert figures.late_p99_ms == pytest.approx(20, abs=0.3)


def test_pictures_are_counted_by_media_time_and_key_frames_once_each() -> None:
    meter = SlotMeter("v0", "video")
    meter.begin(99.0)
    sequence = 0
    for number in range(50):
        for part in range(3):
            payload = KEY if number % 25 == 0 and part < 2 else DELTA
            receive(meter, packet(sequence, number * 3600, payload), 100 + number / 25)
            sequence += 1
    figures = meter.figures()
    assert (figures.frames, figures.key_frames, figures.lost) == (50, 2, 0)
    assert figures.fps == pytest.approx(25, abs=0.1)
    assert figures.first_packet_ms == figures.first_key_frame_ms == 1000
    assert figures.longest_gap_ms == pytest.approx(40, abs=0.5)


def test_a_key_frame_is_asked_for_after_a_second_without_one_and_each_second_again() -> None:
    meter = SlotMeter("v0", "video")
    receive(meter, packet(1), 100.0)
    assert not meter.key_frame_due(100.9)
    assert meter.key_frame_due(101.1)
    assert not meter.key_frame_due(101.5)
    assert meter.key_frame_due(102.2)
    receive(meter, packet(2, 3000, KEY), 102.3)
    assert not meter.key_frame_due(110.0)
    meter.shows(CAMERA, None, 110.0)
    assert meter.key_frame_due(111.1)
    assert meter.figures().key_frame_requests == 3


def test_an_empty_slot_has_figures_too() -> None:
    figures = SlotMeter("a0", "audio").figures()
    assert (figures.packets, figures.bitrate, figures.fps, figures.first_packet_ms) == (0, 0, 0.0, None)
