"""Packets of a camera: they make producers, requests for missing packets and feedback; strays are dropped."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import pytest

from sfu.media.formats import rtcp
from sfu.media.formats.rtp import Packet, extension_block
from sfu.media.formats.transport_cc import TransportFeedback
from sfu.media.ingest.output import NoOutput
from sfu.media.ingest.producer import Producer
from sfu.media.ingest.reception import BitrateBounds
from sfu.media.ingest.starts import Problem, Trouble
from sfu.media.ingest.uplink import Uplink
from sfu.rtc.sdp.codec import Codec
from sfu.rtc.sdp.description import RID, TRANSPORT_CC, Agreed, Receive

VP8 = Codec("VP8", 90_000, 1, 96, feedback=("nack", "nack pli", "transport-cc"))
_Message = TypeVar("_Message", bound=rtcp.Message)
WIDE, LAYER, REPAIRED = 3, 4, 5


class Taken(NoOutput):
    """An output that keeps each packet with its producer."""

    def __init__(self, producer: Producer, taken: list[tuple[Producer, Packet]]) -> None:
        self._producer, self._taken = producer, taken

    def push(self, packets: Sequence[Packet]) -> None:
        self._taken += [(self._producer, packet) for packet in packets]


class UplinkCamera:
    """A camera of one uplink, and the messages that it receives."""

    def __init__(self, rids: tuple[str, ...] = (), feedback: tuple[str, ...] = ()) -> None:
        self.messages: list[rtcp.Message] = []
        self.changes = 0
        self.taken: list[tuple[Producer, Packet]] = []
        self.uplink = Uplink(
            self._hear,
            1,
            bitrates=BitrateBounds(150_000, 2_000_000, 60_000_000),
            history_bytes=1 << 20,
            listener=self,
            open_output=lambda producer: Taken(producer, self.taken),
        )
        extensions = {TRANSPORT_CC: WIDE, RID: LAYER}
        codec = replace(VP8, feedback=(*VP8.feedback, *feedback))
        receive = Receive(
            (codec,),
            extensions,
            (),
            None,
            None,
            rtx={97: 96},
            repairs={70: 7},
            rids=rids,
        )
        section = Agreed(0, "v", True, "video", "UDP/TLS/RTP/SAVPF", ("96",), "recvonly", receive=receive)
        self.uplink.negotiated([section])

    def take(self, data: bytes, now: float) -> tuple[Producer, Packet] | None:
        """One packet, and where it went."""
        self.taken.clear()
        self.uplink.receive([data], now)
        return self.taken[0] if self.taken else None

    def _hear(self, compound: bytes) -> None:
        self.messages += rtcp.parse(compound)

    def on_flowing(self) -> None:
        self.changes += 1

    def on_bug(self) -> None:
        raise  # noqa: PLE0704  # the exception of the packet

    def of(self, kind: type[_Message]) -> list[_Message]:
        return [message for message in self.messages if isinstance(message, kind)]


def packet(
    sequence: int, *, payload: bytes = b"\x10\x01\x00", payload_type: int = 96, ssrc: int = 7, **values: bytes
) -> bytes:
    """An RTP packet; `wide` and `rid` are header extensions."""
    ids = {"wide": WIDE, "rid": LAYER}
    block = extension_block([(ids[name], value) for name, value in values.items()])
    head = 0x9000 if block else 0x8000
    return struct.pack(">HHII", head | payload_type, sequence, 3000 * sequence, ssrc) + block + payload


def test_a_packet_reaches_its_producer_and_the_track_flows() -> None:
    camera = UplinkCamera()
    received = camera.take(packet(1), 0.0)
    assert received is not None
    producer, taken = received
    assert (producer, taken.sequence, camera.changes) == (camera.uplink.tracks["v"].main, 1, 1)
    assert camera.uplink.flowing == {"v"}


def test_missing_packets_are_asked_for_and_taken_from_an_rtx_packet() -> None:
    camera = UplinkCamera()
    for sequence in (1, 2, 4, 5, 6, 7):
        assert camera.take(packet(sequence), sequence / 100)
    assert camera.of(rtcp.Nack) == [rtcp.Nack(7, (3,))]
    repair = packet(900, payload=b"\x00\x03\x10\x01\x00", payload_type=97, ssrc=70)
    received = camera.take(repair, 0.2)
    assert received is not None
    assert (received[1].sequence, received[1].ssrc, received[1].payload) == (3, 7, b"\x10\x01\x00")
    assert camera.take(repair, 0.3) is None
    assert next(camera.uplink.producers).drops["stale"] == 1


def flooded(camera: UplinkCamera, seconds: int, packets: int) -> None:
    """Packets of 1,000 bytes, so many a second."""
    number = 0
    for second in range(seconds):
        for part in range(50):
            batch = [packet(number + n & 0xFFFF, payload=bytes(1000)) for n in range(packets // 50)]
            number += len(batch)
            camera.uplink.receive(batch, second + part / 50)


def test_a_camera_that_follows_remb_is_cut_at_three_times_that_and_told_apart_when_it_goes_on() -> None:
    camera = UplinkCamera(feedback=("goog-remb",))
    flooded(camera, 40, 780)
    assert (camera.uplink.drops["over_bitrate"], camera.uplink.abuse(40.0)) == (0, None)
    flooded(camera, 40, 2000)
    assert camera.uplink.drops["over_bitrate"] > 30_000
    assert camera.uplink.abuse(40.0) == "bitrate"


def test_a_camera_that_cannot_be_asked_for_less_is_not_held_to_what_others_are_asked_for() -> None:
    """A file or an RTSP camera that goes through without re-encoding."""
    camera = UplinkCamera()
    flooded(camera, 40, 2000)
    assert (camera.uplink.drops["over_bitrate"], camera.uplink.abuse(40.0)) == (0, None)


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x00\x03"], ids=["padding", "cut", "empty"])
def test_rtx_with_no_original_is_counted(payload: bytes) -> None:
    camera = UplinkCamera()
    camera.take(packet(1), 0.0)
    assert camera.take(packet(900, payload=payload, payload_type=97, ssrc=70), 0.1) is None
    assert camera.uplink.drops["rtx"] == 1


def test_rtx_before_the_stream_itself_is_counted() -> None:
    camera = UplinkCamera()
    assert camera.take(packet(900, payload=b"\x00\x03\x10\x01", payload_type=97, ssrc=70), 0.0) is None
    assert camera.uplink.drops["rtx"] == 1


@pytest.mark.parametrize("ahead", [100, 3500, 20_000, -3500])
def test_rtx_begins_no_stream_and_makes_no_hole(ahead: int) -> None:
    """Two in a row would be a jump of the camera's numbers, were they not sent again."""
    camera = UplinkCamera()
    for sequence in (10_000, 10_001):
        camera.take(packet(sequence), 1.0)
    producer = camera.uplink.tracks["v"].main
    for sequence in (10_001 + ahead, 10_002 + ahead):
        payload = struct.pack(">H", sequence) + b"\x10\x01\x00"
        assert camera.take(packet(900, payload=payload, payload_type=97, ssrc=70), 1.1) is None
    assert (camera.uplink.drops["rtx"], producer.restarts) == (2, 0)
    assert camera.take(packet(10_002), 1.2)
    assert not camera.of(rtcp.Nack)


def test_layers_are_told_apart_by_rid_and_one_never_offered_leads_nowhere() -> None:
    camera = UplinkCamera(rids=("h", "l"))
    high, low = (camera.uplink.tracks["v"].layer(rid) for rid in ("h", "l"))
    assert [
        (received := camera.take(packet(1, ssrc=ssrc, rid=rid), 0.0)) and received[0]
        for ssrc, rid in ((7, b"h"), (8, b"l"), (9, b"x"))
    ] == [high, low, None]
    assert (camera.uplink.drops["unknown_rid"], camera.uplink.drops["no_section"]) == (1, 0)
    assert camera.take(packet(1, ssrc=9, payload_type=99), 0.0) is None
    assert (camera.uplink.drops["unknown_rid"], camera.uplink.drops["no_section"]) == (1, 1)


def test_feedback_tells_each_arrival_once_in_50_ms() -> None:
    camera = UplinkCamera()
    for number in range(100):
        camera.take(packet(number, wide=struct.pack(">H", number)), number / 100)
    told = camera.of(TransportFeedback)
    assert 15 <= len(told) <= 21
    arrivals = [delta for feedback in told for delta in feedback.deltas if delta is not None]
    assert 94 <= len(arrivals) <= 100


def test_numbers_of_another_length_and_malformed_packets_do_nothing() -> None:
    camera = UplinkCamera()
    assert camera.take(packet(1, wide=b"\x01"), 0.0)
    assert not camera.of(TransportFeedback)
    assert camera.take(b"\x80\x60", 0.0) is None
    assert camera.uplink.drops["malformed_rtp"] == 1


def test_a_silent_track_flows_no_more() -> None:
    camera = UplinkCamera()
    camera.take(packet(1), 0.0)
    camera.uplink.tick(9.0)
    assert camera.uplink.flowing == {"v"}
    camera.uplink.tick(10.5)
    assert (camera.uplink.flowing, camera.changes) == (set(), 2)


def test_a_camera_hears_when_its_packets_came_not_when_they_were_read() -> None:
    camera = UplinkCamera()
    packets = [packet(number, wide=struct.pack(">H", number)) for number in range(1, 9)]
    camera.uplink.receive(packets[:1], 1.0, lambda: [0.9])
    camera.uplink.receive(packets[1:], 1.3, lambda: [1.0 + number / 100 for number in range(7)])
    camera.uplink.receive([packet(9, wide=b"\x00\x09")], 1.4)
    told = [message for message in camera.messages if isinstance(message, TransportFeedback)]
    ten_ms, to_the_last = 40, 1360  # of 250 us each
    assert told[-1].deltas[1:] == pytest.approx([ten_ms] * 5 + [to_the_last], abs=1)


def test_tracks_with_a_problem_are_told_once_and_so_are_refused_sections() -> None:
    camera = UplinkCamera()
    for at in range(6):
        camera.take(packet(at + 1, payload=b"\x10\x01\x00"), float(at))
        camera.uplink.tick(float(at))
    assert camera.uplink.problems == {"v": Trouble("video", "VP8", Problem.NO_KEY_FRAME)}
    assert camera.changes == 2  # its first packet, and the problem
    camera.take(packet(7, payload=b"\x10\x00\x00"), 6.0)
    camera.uplink.tick(6.0)
    assert (camera.uplink.problems, camera.changes) == ({}, 3)
    refused = Agreed(0, "w", True, "video", "", (), "inactive", rejected="codec", unknown_codecs=True)
    camera.uplink.negotiated([refused])
    camera.uplink.tick(7.0)
    assert camera.uplink.problems == {"w": Trouble("video", "unknown", Problem.NO_CODEC)}
