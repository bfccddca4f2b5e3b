"""Every function that reads bytes of strangers: how it is called, what it may raise, and bytes that it takes.

`tests/unit/helpers/test_remote_parsers.py` feeds each with changed bytes for a moment, and
`python -m tests.benchmarks.fuzz` for as long as one likes. A new reader of remote bytes belongs in this table.
"""

from __future__ import annotations

import base64
import functools
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aioice.stun import Method

from recorder.depacketize import Depacketizer
from recorder.segments.muxer import Muxer
from recorder.store import mp4, webm
from sfu.access.rights import Claims, Right, Use
from sfu.access.sealing import Seal, SealError, Speaker, token_of_kid
from sfu.access.tokens import Keys, TokenError, mint
from sfu.access.tokens import read as read_token
from sfu.http.door import packets
from sfu.http.entry import shown
from sfu.media.formats import rtcp, rtp, rtx, sps, transport_cc, vp8
from sfu.media.formats.key_frame_detection import starts_key_frame
from sfu.media.formats.picture_size import picture_size
from sfu.media.ingest.demux import Demux, Route
from sfu.rtc.ice import candidates
from sfu.rtc.net import stun
from sfu.rtc.sdp.description import SdpError
from sfu.signaling import messages
from sfu.signaling.bodies import SignalError
from sfu.signaling.topics import Leaf, TopicError
from tests.helpers.encodings import ENCODINGS, codec
from tests.helpers.offers import NAMES, answer, offer
from tests.helpers.recordings import START_US, muxed, tracks_of, units

VIDEO_CODECS = ("H264", "H265", "VP8", "VP9", "AV1")


@dataclass(frozen=True)
class RemoteParser:
    """One reader of remote bytes. `seeds` returns bytes that it reads to their end."""

    call: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    raises: tuple[type[Exception], ...] = ()


def changed(seed: bytes, rng: random.Random) -> bytes:
    """Returns `seed` with a few bits, bytes or pieces changed, doubled, left out or cut off."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice([1, 1, 2, 4, 16, 64]))
        match rng.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at:end] = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * (end - at)
            case 2:
                data[at:at] = data[at:end]
            case 3:
                del data[at:end]
            case 4:
                data[at:end] = rng.randbytes(end - at)
            case _:
                del data[at:]
    return bytes(data)


@functools.cache
def _payloads(name: str) -> tuple[bytes, ...]:
    """Returns RTP payloads of a really encoded video."""
    encodings = [encoding for encoding in ENCODINGS.values() if encoding.codec == name]
    return tuple(packet.payload for encoding in encodings for packet in encoding.packets()[:12])


@functools.cache
def _nal_units(name: str) -> tuple[bytes, ...]:
    return tuple(payload for payload in _payloads(name) if len(payload) < 200)


@functools.cache
def _rtp_packets() -> tuple[bytes, ...]:
    extensions: tuple[dict[int, bytes], ...] = ({}, {1: b"v0", 3: b"\1\2\3"}, {200: bytes(40)})
    return tuple(
        rtp.serialize(rtp.Packet(True, 96, 7, 90_000, 42, b"payload of a packet", elements)) for elements in extensions
    )


@functools.cache
def _rtcp_packets() -> tuple[bytes, ...]:
    block = rtcp.ReportBlock(42, 64, 3, 70_000, 12, 0, 0)
    feedback = transport_cc.TransportFeedback(42, 7, 1, 64_000, (0, None, 250, -4, None, 30_000))
    report = rtcp.SenderReport(42, 1 << 63, 90_000, 3, 400)
    whole = (
        rtcp.compound(rtcp.sender_report(report, "cname"), rtcp.pli(1, 42), rtcp.fir(1, 42, 3)),
        rtcp.compound(rtcp.receiver_report(1, (block,), "cname"), rtcp.nack(1, 42, (5, 6, 9, 40))),
        rtcp.compound(rtcp.receiver_report(1, (), "cname"), rtcp.remb(1, 1_500_000, (42, 43)), rtcp.bye((42,))),
    )
    return (*whole, rtcp.transport_feedback(1, feedback))


@functools.cache
def _recorded(suffix: str) -> bytes:
    """Returns a recording of two seconds."""
    name = "VP8" if suffix == ".webm" else "H264"
    muxer = Muxer(tracks_of(name), start_us=START_US, title="yard/cam")
    assert muxer.suffix == suffix
    return b"".join(muxed(muxer, units(name, seconds=2)))


def _routed(data: bytes) -> object:
    packet = rtp.parse(data)
    demux = Demux()
    demux.configure([Route("v0", 1, (96,), rid_extension=2, repaired_extension=3, rids=("h", "l"), rtx=(97,))])
    return packet and demux.route(packet)


def _depacketized(name: str, data: bytes) -> object:
    depacketizer = Depacketizer(codec(name))
    halves = (data[: len(data) // 2], data[len(data) // 2 :], data)
    packets = [rtp.Packet(True, 96, at, at * 3600, 1, half, index=at) for at, half in enumerate(halves)]
    return [depacketizer.push(packet) for packet in packets] + [depacketizer.flush()]


def _in_file(layout: Any, frames: Any, data: bytes) -> object:
    def read(at: int, count: int) -> bytes:
        return data[at : at + count] if at >= 0 and count >= 0 else b""

    found = layout(read, len(data))
    return [frames(read, found.header, part) for part in found.parts]


def _message_seeds() -> list[bytes]:
    bodies: list[tuple[str, object]] = [
        ("offer", offer(NAMES[0])),
        ("candidate", {"candidate": "candidate:1 1 udp 1 192.0.2.1 5000 typ host", "sdpMid": "0", "sdpMLineIndex": 0}),
        ("select", {"mid": "v0", "peer": "cam", "room": "yard"}),
        ("sizes", {"slots": [{"mid": "v0", "width": 320, "height": 180}]}),
        ("bye", {"reason": "replaced"}),
    ]
    head = {"command": "signal", "clientid": "eye", "v": 2, "session": "0123456789abcdef"}
    return [json.dumps(head | {"type": kind, "data": data}).encode() for kind, data in bodies]


def _stun_seeds() -> list[bytes]:
    check = stun.Message(Method.BINDING, stun.Class.REQUEST)
    check.attributes |= {"USERNAME": "server:peer", "PRIORITY": 1853824767, "ICE-CONTROLLING": 1, "USE-CANDIDATE": None}
    check.add_message_integrity(b"p" * 24)
    return [bytes(check)]


def _checked(data: bytes) -> object:
    stun.addressed_ufrag(data)
    message = stun.parse(data)
    if not (stun.is_message(data) and message and stun.is_check(message)):
        return None
    return stun.remote_ufrag(message), stun.authentic(message, "p" * 24)


_CONNECT = b"\x10\x1a\0\4MQTT\4\2\0\x3c\0\x0eclient-of-test"


def _after_connect(data: bytes) -> object:
    reader = packets.PacketReader()
    reader.feed(_CONNECT)
    return reader.feed(data[:7]), reader.feed(data[7:])


def _mqtt_seeds() -> list[bytes]:
    whole = b"\x82\x0c\0\1\0\7sfu/a/b\1" + b"\xa2\x0b\0\2\0\7sfu/a/b" + b"\xc0\0" + b"\x40\2\0\7"
    return [whole, packets.publish("sfu/hall/view/me", b"payload", 7), packets.publish("sfu/a", b"", 0) + b"\xe0\0"]


_KEY = bytes(32)


def _token() -> str:
    return mint(_KEY, Claims("cam-1", ("yard",), frozenset({Right.PUBLISH}), 2e9, "id", Use.SESSION, 1.0, "stamp"))


def _claimed(data: bytes) -> object:
    """Reads claims that have a good signature, whatever they are."""
    payload = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    return read_token(Keys(_KEY), token_of_kid(f"{_token().partition('.')[0]}.{payload}", _KEY), 0.0)


def _opened(data: bytes) -> object:
    seal = Seal.of_token(_token())
    return seal.open(data.decode(errors="replace"), speaker=Speaker.PEER, topic="t", boot="b")


def _sealed_seeds() -> list[bytes]:
    seal = Seal.of_token(_token())
    return [seal.close(b"inner", speaker=Speaker.PEER, topic="t", boot="b", nonce=bytes(12)).encode()]


def _payload_seeds() -> list[bytes]:
    return [base64.urlsafe_b64decode(_token().split(".")[1] + "==")]


PARSERS: dict[str, RemoteParser] = {
    "token": RemoteParser(
        lambda data: read_token(Keys(_KEY), data.decode(errors="replace"), 0.0),
        lambda: [_token().encode()],
        (TokenError,),
    ),
    "claims": RemoteParser(_claimed, _payload_seeds, (TokenError,)),
    "seal": RemoteParser(_opened, _sealed_seeds, (SealError,)),
    "seal of a kid": RemoteParser(
        lambda data: Seal.of_kid(data.decode(errors="replace"), _KEY),
        lambda: [_token().rpartition(".")[0].encode()],
        (ValueError,),
    ),
    "rtp": RemoteParser(rtp.parse, _rtp_packets),
    "rtp to a section": RemoteParser(_routed, _rtp_packets),
    "rtx": RemoteParser(
        lambda data: rtx.unwrap(rtp.Packet(False, 97, 1, 2, 3, data), 96, 4), lambda: [b"\1\2original payload"]
    ),
    "rtcp": RemoteParser(rtcp.parse, _rtcp_packets),
    "rtcp requests": RemoteParser(lambda data: rtcp.parse_requests(data, Counter()), _rtcp_packets),
    "transport-cc": RemoteParser(transport_cc.read_arrivals, lambda: [packet[12:] for packet in _rtcp_packets()]),
    "vp8 numbers": RemoteParser(
        lambda data: (vp8.numbers(data), vp8.moved(data, (5, 7)), vp8.key_frame_size(data)), lambda: _payloads("VP8")
    ),
    "h264 sps": RemoteParser(lambda data: (sps.h264_size(data), sps.h264_id(data)), lambda: _nal_units("H264")),
    "h265 sps": RemoteParser(lambda data: (sps.h265_size(data), sps.h265_id(data)), lambda: _nal_units("H265")),
    "stun": RemoteParser(_checked, _stun_seeds),
    "sdp": RemoteParser(
        lambda data: answer(data.decode(errors="replace"), "join"),
        lambda: [offer(name).encode() for name in NAMES],
        (SdpError,),
    ),
    "message": RemoteParser(messages.parse, _message_seeds, (SignalError,)),
    "sealed message": RemoteParser(
        messages.parse_sealed,
        lambda: [messages.dump_sealed(messages.SealedFrame("eye", "header.payload", "c2VhbGVk"))],
        (SignalError,),
    ),
    "command with a token": RemoteParser(
        messages.parse_command,
        lambda: [b'{"data":"ON","token":"a.b.c"}', b'{"data":"PRESS","n":7}'],
        (SignalError,),
    ),
    "session of a message": RemoteParser(messages.session_of, _message_seeds),
    "topic": RemoteParser(
        lambda data: Leaf.parse(data.decode(errors="replace")), lambda: [b"site/gate/pub/cam-1"], (TopicError,)
    ),
    "candidate": RemoteParser(
        lambda data: candidates.parse(data.decode(errors="replace"), allow_private=True),
        lambda: [b"candidate:1 1 udp 2130706431 192.0.2.1 50000 typ srflx raddr 10.0.0.1 rport 9"],
        (candidates.RefusedError,),
    ),
    "mqtt connect": RemoteParser(
        lambda data: packets.PacketReader().feed(data),
        lambda: [_CONNECT, b"\x10\x19\0\4MQTT\4\xc6\0\x3c\0\1c\0\1t\0\1w\0\1u\0\1p"],
        (packets.PacketError,),
    ),
    "mqtt": RemoteParser(_after_connect, _mqtt_seeds, (packets.PacketError,)),
    "login": RemoteParser(
        shown.login_of,
        lambda: [b'{"user":"ann","password":"a long one"}', b'{"token":"a.b.c"}'],
        (shown.LoginBodyError,),
    ),
    "login headers": RemoteParser(
        lambda data: [
            read(data.decode("latin-1"))
            for read in (shown.bearer_of, shown.basic_of, lambda text: shown.sessions_of([text]))
        ],
        lambda: [b"Bearer a.b.c", b"Basic YW5uOmxvbmc=", b"a=1; sfu=a.b.c"],
    ),
    "mp4": RemoteParser(lambda data: _in_file(mp4.layout, mp4.frames, data), lambda: [_recorded(".mp4")]),
    "webm": RemoteParser(lambda data: _in_file(webm.layout, webm.frames, data), lambda: [_recorded(".webm")]),
    **{
        f"{name} key frame": RemoteParser(
            lambda data, name=name: (starts_key_frame(name, data), picture_size(name, data)),  # type: ignore[misc]
            functools.partial(_payloads, name),
        )
        for name in VIDEO_CODECS
    },
    **{
        f"{name} depacketized": RemoteParser(functools.partial(_depacketized, name), functools.partial(_payloads, name))
        for name in VIDEO_CODECS
    },
    "opus depacketized": RemoteParser(
        functools.partial(_depacketized, "opus"), lambda: [b"\xf8\xff\xfe", b"\xfb\x83\1\2" + bytes(30)]
    ),
}
