"""Frames become RTP packets with their send time and their section."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.clients.frames import OPUS, Frame, h264
from sfu.clients.outgoing import MediaClock, OutgoingStream, abs_send_time, latency_us, send_time_delta
from sfu.clients.packetize import byte_stream
from sfu.media.formats import rtcp, rtp
from sfu.rtc.sdp.description import ABS_SEND_TIME, MID, VIDEO_ORIENTATION
from sfu.units import ntp_time

PICTURE = byte_stream([b"\x65" + b"\x11" * 3000])


def stream(**changes: int) -> OutgoingStream:
    return OutgoingStream(h264(), mid="v", **({"ssrc": 7, "sequence": 65534, "offset": 100} | changes))


def parsed(data: bytes) -> rtp.Packet:
    packet = rtp.parse(data)
    assert packet is not None
    return packet


def test_a_frame_is_consecutive_packets_of_one_media_time_the_last_one_marked() -> None:
    packets = [parsed(data) for data in stream().packetize(Frame(0, 2.0, PICTURE, True), 0.0)]
    assert [packet.sequence for packet in packets] == [65534, 65535, 0]
    assert [packet.marker for packet in packets] == [False, False, True]
    assert {packet.media_time for packet in packets} == {2 * 90000 + 100}
    assert {(packet.ssrc, packet.payload_type) for packet in packets} == {(7, 102)}


def test_what_the_answer_agrees_to_is_in_every_packet() -> None:
    sending = stream()
    sending.agree(45, {MID: 3, ABS_SEND_TIME: 9})
    for packet in map(parsed, sending.packetize(Frame(0, 0.0, PICTURE, True), 1_700_000_000.25)):
        assert packet.payload_type == 45
        assert packet.extensions[3] == b"v"
        assert int.from_bytes(packet.extensions[9], "big") == abs_send_time(1_700_000_000.25)


def test_abs_send_time_is_six_bits_of_seconds_and_eighteen_of_fraction() -> None:
    wall = 1_700_000_000.25
    assert ntp_time(wall) >> 32 == 1_700_000_000 + 2_208_988_800
    assert abs_send_time(wall) == ((1_700_000_000 + 2_208_988_800) % 64 << 18) + (1 << 16)


def test_sound_has_no_marker_and_negative_media_time_wraps() -> None:
    sound = OutgoingStream(OPUS, mid="a", ssrc=1, sequence=0, offset=0)
    (packet,) = map(parsed, sound.packetize(Frame(1, -0.5, b"opus", True), 0.0))
    assert not packet.marker
    assert packet.media_time == (1 << 32) - 24000


def test_reports_of_both_tracks_put_one_media_second_at_one_wall_time() -> None:
    picture, sound = stream(), OutgoingStream(OPUS, mid="a", ssrc=1, sequence=0, offset=5)
    picture.packetize(Frame(0, 0.0, PICTURE, True), 0.0)
    first, second = (rtcp.parse(sending.report(10.0, 1234.5, "camera"))[0] for sending in (picture, sound))
    assert isinstance(first, rtcp.SenderReport)
    assert isinstance(second, rtcp.SenderReport)
    assert first.ntp == second.ntp == ntp_time(1234.5)
    assert (first.media_time - 100) / 90000 == (second.media_time - 5) / 48000 == 10
    assert (first.packets, second.packets) == (3, 0)


def test_a_recording_is_due_by_its_media_time() -> None:
    clock = MediaClock(live=False)
    assert clock.due(5.0, now=100.0) == 100.0
    assert clock.due(5.5, now=100.1) == 100.5
    assert clock.seconds(101.0) == 6.0


def test_a_recording_that_stood_still_goes_on_instead_of_catching_up() -> None:
    clock = MediaClock(live=False)
    clock.due(0.0, now=0.0)
    assert clock.due(0.04, now=60.0) == 60.0
    assert clock.due(0.08, now=60.0) == pytest.approx(60.04)


def test_a_live_source_is_sent_at_once_and_its_jitter_does_not_shake_the_clock() -> None:
    clock = MediaClock(live=True)
    clock.due(0.0, now=10.0)
    for number in range(1, 100):
        now = 10 + number / 25 + (0.08 if number % 2 else 0.0)
        assert clock.due(number / 25, now) == now
    assert clock.seconds(20.0) == pytest.approx(10.0, abs=0.02)


@given(st.integers(0, 2**33), st.floats(-30, 30))
def test_latency_is_the_time_from_stamp_to_arrival(second: int, late: float) -> None:
    assert latency_us(abs_send_time(float(second)), second + late) == pytest.approx(late * 1e6, abs=10)


@given(st.integers(0, (1 << 24) - 1), st.integers(-(1 << 23), (1 << 23) - 1))
def test_send_times_wrap(start: int, ticks: int) -> None:
    assert send_time_delta(start, (start + ticks) % (1 << 24)) == ticks


def test_the_last_packet_of_each_picture_says_how_to_turn_it_once_one_does_not_stand_upright() -> None:
    sending = stream()
    sending.agree(45, {VIDEO_ORIENTATION: 3})
    said = []
    for number, turn in enumerate([0, 1, 5, 0]):
        packets = [*map(parsed, sending.packetize(Frame(0, float(number), PICTURE, True, turn), 0.0))]
        said.append([packet.extensions.get(3) for packet in packets])
    assert said == [[None] * 3, [None, None, b"\x01"], [None, None, b"\x05"], [None, None, b"\x00"]]


def test_nobody_who_did_not_agree_is_told_how_to_turn_a_picture() -> None:
    sending = stream()
    sending.agree(45, {MID: 3})
    for packet in map(parsed, sending.packetize(Frame(0, 0.0, PICTURE, True, 1), 0.0)):
        assert packet.extensions == {3: b"v"}
