"""Cameras and viewers without a network, around a real fan-out: packets go in, and land in the viewers' inboxes."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from pylibsrtp import _binding

from sfu.media.formats.rtp import Packet, parse
from sfu.media.forward.branch import Branch
from sfu.media.forward.consumer import Consumer
from sfu.media.forward.fanout import HOLD_S, Fanout
from sfu.media.ingest.producer import Producer
from sfu.rtc.net.burst import Burst
from sfu.rtc.net.paths import Targets
from sfu.rtc.sdp.codec import Codec
from sfu.rtc.sdp.description import Send
from tests.helpers.clock import FakeTime

VP8 = Codec("VP8", 90000, 1, 96, feedback=("nack pli",))
VP8_THERE = Codec("VP8", 90000, 1, 120)
VP9 = Codec("VP9", 90000, 1, 98)
KEY = bytes([0x10, 0x00, 0x00, 0x00, 0x9D, 0x01, 0x2A])
"""VP8: start of partition 0 of a key frame (RFC 7741)."""
DELTA = bytes([0x10, 0x01, 0x00, 0x00])
SSRC = 0xABCD
"""The SSRC of each fake viewer's slot."""


class FakeEgress:
    """An egress whose packets land in the inbox of each target's path."""

    def write(self, targets: Targets, burst: Burst) -> dict[int, int]:
        for path in targets.paths:
            cast("Any", path).inbox.extend(burst.packets)
        return {}

    def flush(self) -> None:
        """Does nothing: everything is delivered already."""


def fake_fanout(time: FakeTime) -> Fanout:
    return Fanout(time, clock=time, open_egress=lambda _: cast("Any", FakeEgress()))


def fake_transport(inbox: Any) -> Any:
    """Returns a connected transport whose packets are added to `inbox`."""
    path = SimpleNamespace(socket="wire", name=bytes(16), inbox=inbox)
    keys = SimpleNamespace(handle=_binding.ffi.NULL, overhead=16)
    return SimpleNamespace(sender=keys, agent=SimpleNamespace(path=path))


class FakeViewer:
    """One slot, and the packets that reached it."""

    def __init__(self, codecs: tuple[Codec, ...] = (VP8_THERE,), extensions: dict[str, int] | None = None) -> None:
        self.inbox: list[bytes] = []
        send = Send(codecs, extensions or {}, SSRC, "window-1", "window-1-video")
        self.consumer = Consumer("v", send, fake_transport(self.inbox))

    def attach(self, camera: FakeCamera | None, now: float) -> None:
        self.consumer.attach(None if camera is None else camera.branch, now)

    def take(self) -> list[Packet]:
        """Returns the packets that arrived since the last call."""
        packets = [packet for data in self.inbox if (packet := parse(data))]
        self.inbox.clear()
        return packets


class FakeCamera:
    """A producer with a fan-out, and the packets that it sends; counts the key frame requests that it gets."""

    def __init__(
        self,
        codecs: Sequence[Codec] = (VP8,),
        extensions: dict[str, int] | None = None,
        ssrc: int = 7,
        *,
        fanout: Fanout | None = None,
    ) -> None:
        self.asked = 0
        self.bugs: int | None = None
        self.ssrc = ssrc
        self.sequence = 100
        self.media_time = 5000
        self.time = FakeTime(0.0)
        self.fanout = fanout or fake_fanout(self.time)
        self.producer = Producer("0", codecs, extensions or {}, listener=self, open_output=self.fanout.open)

    @property
    def branch(self) -> Branch:
        return self.fanout.branch(self.producer)

    def on_key_frame_wanted(self, _: Producer) -> None:
        self.asked += 1

    def on_missing(self, producer: Producer, sequences: Sequence[int]) -> None:
        """Sends nothing again."""

    def on_bug(self, producer: Producer) -> None:
        """Fails the test, unless it expects bugs in the handling of this camera's packets."""
        if self.bugs is None:
            raise  # noqa: PLE0704  # the exception on the way out
        self.bugs += 1

    def on_codec(self, producer: Producer) -> None:
        """Tells nobody."""

    def packet(
        self, payload: bytes = DELTA, *, now: float = 0.0, sequence: int | None = None, **changes: Any
    ) -> Packet:
        """Makes the next packet, which the producer has taken in."""
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


def deliver(camera: FakeCamera, packets: Sequence[Packet], now: float = 0.0) -> None:
    """Sends packets through the camera's fan-out as one burst."""
    camera.time.now = now
    for packet in packets:
        camera.branch.push([packet])
    camera.time.advance(HOLD_S)


def numbers(packets: Sequence[Packet]) -> list[int]:
    return [packet.sequence for packet in packets]
