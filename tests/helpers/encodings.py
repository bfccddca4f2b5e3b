"""Encoders, and each way in which their frames become RTP packets and come back out of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sfu.clients import packetize
from sfu.media.formats.rtp import Packet
from sfu.rtc.sdp.codec import Codec
from tests.helpers.rtp_payloads import aggregate, encode, pack_av1, pack_units, pack_vp9, units

X264 = ("libx264", (("preset", "ultrafast"), ("tune", "zerolatency")))
X264_SLICES = (
    "libx264",
    (("preset", "ultrafast"), ("tune", "zerolatency"), ("x264-params", "slices=4:log-level=none")),
)
X265 = "x265-params", "keyint=10:min-keyint=10:log-level=none:pools=1:frame-threads=1"
X265_CLOSED = ("libx265", (("preset", "ultrafast"), (X265[0], X265[1] + ":open-gop=0")))
X265_OPEN = ("libx265", (("preset", "ultrafast"), (X265[0], X265[1] + ":open-gop=1:bframes=2")))
VP8 = ("libvpx", (("deadline", "realtime"), ("cpu-used", "8"), ("lag-in-frames", "0")))
VP9 = ("libvpx-vp9", VP8[1])
AV1 = ("libsvtav1", (("preset", "11"), ("svtav1-params", "keyint=10:pred-struct=1:rc=2:lp=1")))
X265_LIVE = ("libx265", (("preset", "ultrafast"), (X265[0], X265[1] + ":open-gop=0:bframes=0")))
DECODERS = {"H264": "h264", "H265": "hevc", "VP8": "libvpx", "VP9": "libvpx-vp9", "AV1": "libdav1d"}
VIDEO = tuple(DECODERS)
AUDIO = {"opus": 48000, "PCMU": 8000, "PCMA": 8000, "G722": 8000}


def codec(name: str, **parameters: str) -> Codec:
    if name in AUDIO:
        return Codec(name, AUDIO[name], 2 if name == "opus" else 1, 96)
    return Codec(name, 90000, 1, 96, tuple((key.replace("_", "-"), value) for key, value in parameters.items()))


def packets(groups: Sequence[Sequence[bytes]], ticks: int = 3600) -> list[Packet]:
    """Makes RTP packets of units, each a list of payloads."""
    sent: list[Packet] = []
    for number, payloads in enumerate(groups):
        for at, payload in enumerate(payloads):
            last = at == len(payloads) - 1
            sent.append(Packet(last, 96, len(sent), number * ticks, 1, payload, index=len(sent)))
    return sent


def flat(groups: Sequence[Sequence[bytes]]) -> list[bytes]:
    return [payload for group in groups for payload in group]


def _aggregated_sets(stream: bytes) -> list[bytes]:
    """Returns the payloads of an H.265 access unit whose small units travel in aggregation packets."""
    small, payloads = [], []
    for fragments in pack_units(stream, header=2):
        if len(fragments) == 1:
            small.append(fragments[0])
        else:
            payloads += fragments
    return [aggregate(b"\x60\x01", small), *payloads] if small else payloads


def low_overhead(unit: bytes) -> bytes:
    """Returns an AV1 temporal unit of libsvtav1 without its temporal delimiter."""
    return unit.removeprefix(b"\x12\x00")


def annex_b(unit: bytes) -> bytes:
    return packetize.byte_stream(units(unit))


@dataclass(frozen=True)
class Encoding:
    """One encoder's units, how they are packetised, and what is to come out."""

    codec: str
    encoder: tuple[str, tuple[tuple[str, str], ...]]
    payloads: Callable[[bytes, bool], list[bytes]]
    expected: Callable[[bytes], bytes] = bytes

    def frames(self) -> list[tuple[bytes, bool]]:
        return [(bytes(packet), packet.is_keyframe) for packet in encode(*self.encoder)]

    def packets(self) -> list[Packet]:
        return packets([self.payloads(data, key) for data, key in self.frames()])


ENCODINGS = {
    "h264 stap-a and fu-a": Encoding("H264", X264, lambda data, _: packetize.h264_payloads(data), annex_b),
    "h264 single units": Encoding("H264", X264_SLICES, lambda data, _: flat(pack_units(data, header=1)), annex_b),
    "h265": Encoding("H265", X265_LIVE, lambda data, _: flat(pack_units(data, header=2)), annex_b),
    "h265 aggregated": Encoding("H265", X265_OPEN, lambda data, _: _aggregated_sets(data), annex_b),
    "vp8": Encoding("VP8", VP8, lambda data, _: packetize.vp8_payloads(data)),
    "vp9": Encoding("VP9", VP9, lambda data, key: pack_vp9(data, key=key)),
    "vp9 short ids": Encoding("VP9", VP9, lambda data, key: pack_vp9(data, key=key, picture_id=b"\x07")),
    "av1 counted": Encoding("AV1", AV1, lambda data, key: pack_av1(data, key=key, counted=True), low_overhead),
    "av1 listed": Encoding("AV1", AV1, lambda data, key: pack_av1(data, key=key, counted=False), low_overhead),
}
