"""Senseless requests of viewers and packets of cameras: counted by name, bounded in work, nobody disturbed.

In each test another camera and its viewer in the same room lose not one packet. Work is counted, not timed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import random
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from sfu.clients.frames import VP8
from sfu.media.formats import rtcp, rtp, rtx
from sfu.media.ingest.history import History
from sfu.rooms.participant import Participant
from sfu.rtc.net.srtp import SrtpContext
from sfu.rtc.sdp.description import RID, OfferSection
from sfu.service import Service
from sfu.signaling.bodies import Bye, ErrorCode, ErrorNotice
from sfu.units import ntp_time
from tests.helpers.brokers import Mosquitto
from tests.helpers.mqtt_client import MqttClient, mqtt_client
from tests.helpers.peers import PeerCamera, PeerViewer, publishing, watching
from tests.helpers.raw_peer import RawPeer, raw_peer
from tests.helpers.serving import serving
from tests.helpers.waiting import until

SENDER = 0xE7E
CLOCK = 90_000
RTX, RID_ID = 97, 4
KEY_FRAME = 0x1000


class Screened(PeerViewer):
    """Keeps whole packets, and takes those without a payload too."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[rtp.Packet] = []
        self.reports: list[rtcp.SenderReport] = []
        self.caller: RawPeer

    def on_rtcp(self, data: bytes) -> None:
        self.reports += [message for message in rtcp.parse(data) if isinstance(message, rtcp.SenderReport)]

    def on_rtp(self, data: bytes) -> None:
        packet = rtp.parse(data)
        assert packet is not None
        self.packets.append(packet)
        if packet.payload:
            super().on_rtp(data)

    @property
    def numbers(self) -> list[int]:
        """Returns the numbers that the camera gave to the packets with a picture."""
        return [number for _, number in self.received["v0"]]

    @property
    def slot(self) -> int:
        """The SSRC of its picture."""
        return next(ssrc for ssrc, mid in self._mids.items() if mid == "v0")


class Odd(PeerCamera):
    """A camera whose every packet a test makes; counts what it is asked for."""

    def __init__(self, *rids: str) -> None:
        super().__init__("video")
        self.ssrc, self.rtx_ssrc = 0xCA, 0xCB
        self.rids = rids
        self.asked: list[rtcp.Message] = []
        self.camera: RawPeer

    @property
    def sections(self) -> list[OfferSection]:
        codec = replace(VP8, feedback=("nack", "nack pli"))
        extensions = {RID: RID_ID} if self.rids else {}
        repairs = {} if self.rids else {"ssrc": self.ssrc, "rtx_ssrc": self.rtx_ssrc}
        return [
            OfferSection("video", "video", "sendonly", (codec,), extensions, rtx={96: RTX}, rids=self.rids, **repairs)  # type: ignore[arg-type]
        ]

    def on_rtcp(self, data: bytes) -> None:
        self.asked += rtcp.parse(data)

    def send(self, number: int, **changes: int) -> None:
        """Sends a key frame of one packet; `sequence`, `media_time` and `ssrc` follow from its number unless given."""
        fields = {"sequence": number, "media_time": number * 900, "ssrc": self.ssrc} | changes
        payload = struct.pack(">HHI", KEY_FRAME, self.name, number)
        self.camera.send_rtp(self.head(**fields) + payload)

    @staticmethod
    def head(*, sequence: int, media_time: int, ssrc: int, payload_type: int = 96, first: int = 0x80) -> bytes:
        wrapped = sequence & 0xFFFF, media_time & 0xFFFFFFFF
        return struct.pack(">BBHII", first, 0x80 | payload_type, *wrapped, ssrc)


@dataclass
class Scene:
    service: Service
    home: MqttClient
    source: PeerCamera
    """The camera that must not be disturbed."""

    def dropped(self, reason: str) -> int:
        return self.service.metrics.drops().get(reason, 0)

    def repaired(self, event: str) -> int:
        return self.service.metrics.repairs().get(event, 0)

    def of(self, caller: RawPeer) -> Participant:
        return self.service.server.participants[caller.leaf]

    @contextlib.asynccontextmanager
    async def viewer(self, leaf: str = "front/view/eve") -> AsyncIterator[Screened]:
        screen = Screened()
        async with raw_peer(self.home, leaf, screen) as caller:
            screen.caller = caller
            await caller.connect()
            yield screen
            assert caller.up

    @contextlib.asynccontextmanager
    async def filmed(self, *rids: str) -> AsyncIterator[tuple[Odd, Screened]]:
        """A camera in a room below, and its viewer, who has seen its packets 0 to 9."""
        odd = Odd(*rids)
        async with raw_peer(self.home, "front/yard/pub/eve", odd) as camera:
            odd.camera = camera
            await camera.connect()
            async with self.viewer("front/yard/view/bert") as bert:
                if not rids:
                    odd.send(0)
                    await until(lambda: bert.numbers == [0])
                    for number in range(1, 10):
                        odd.send(number)
                    await until(lambda: bert.numbers == list(range(10)))
                yield odd, bert
            assert camera.up


@pytest_asyncio.fixture
async def scene(mosquitto: Callable[..., Mosquitto]) -> AsyncIterator[Scene]:
    url = mosquitto().url
    async with (
        serving(url, limits__camera_bitrate=4_000_000) as service,
        mqtt_client(url) as home,
        publishing(url, "front/pub/cam") as source,
        watching(url, "front/view/anna") as (anna, _),
    ):
        home.messages = None
        await anna.receives(source)
        yield Scene(service, home, source)
        await anna.missed_nothing(source, "v0", "a0")
        assert (anna.sessions, anna.downs) == (1, [])
        counters = service.server.counters
        assert counters["refused_internal"] == counters["ended_internal"] == 0


# --- what viewers ask


async def test_a_flood_of_nacks_costs_no_more_than_its_budget(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """200,000 packets are asked for: most of them are not even looked for, and few are sent."""
    looks = itertools.count()
    get = History.get
    monkeypatch.setattr(History, "get", lambda history, index: (next(looks), get(history, index))[1])
    loop = asyncio.get_running_loop()
    async with scene.viewer() as eve:
        await until(lambda: len(eve.packets) > 50)
        start = loop.time()
        for _ in range(200):
            last = eve.sequences["v0"][-1]
            nack = rtcp.nack(SENDER, eve.slot, [last - back & 0xFFFF for back in range(999, -1, -1)])
            eve.caller.transport.send_rtcp(rtcp.compound(nack))
            await asyncio.sleep(0)
        await until(lambda: scene.repaired("viewer_requests") >= 200_000)
        seconds = loop.time() - start
        assert next(looks) <= 2 * (2000 + 5000 * seconds)
        assert 0 < scene.repaired("viewer_resent") <= 500 + 1000 * seconds
        events = ("viewer_resent", "viewer_repeated", "viewer_over_budget", "viewer_unknown")
        assert sum(map(scene.repaired, events)) == scene.repaired("viewer_requests")
        assert scene.repaired("viewer_over_budget") > 200_000 - 2000 - 5000 * seconds


async def test_nacks_for_the_future_and_the_far_past_get_nothing(scene: Scene) -> None:
    async with scene.viewer() as eve:
        await until(lambda: len(eve.packets) > 20)
        last = eve.sequences["v0"][-1]
        for far in (1000, 20_000, 32_700, -20_000, -32_700):
            asked = [last + far + more & 0xFFFF for more in range(50)]
            eve.caller.transport.send_rtcp(rtcp.compound(rtcp.nack(SENDER, eve.slot, asked)))
        eve.caller.transport.send_rtcp(rtcp.compound(rtcp.nack(SENDER, 0xDEAD, [last])))  # no such stream
        await until(lambda: scene.repaired("viewer_unknown") == 250)
        assert scene.repaired("viewer_resent") == 0


async def test_a_thousand_key_frame_requests_a_second_are_a_handful_for_the_camera(scene: Scene) -> None:
    async with scene.filmed() as (odd, bert):
        numbers = itertools.count(10)
        start = asyncio.get_running_loop().time()
        for _ in range(100):
            for _ in range(10):
                bert.caller.transport.send_rtcp(rtcp.compound(rtcp.pli(SENDER, bert.slot)))
            odd.send(next(numbers))  # a key frame, each time
            await asyncio.sleep(0.01)
        seconds = asyncio.get_running_loop().time() - start
        await until(lambda: scene.dropped("key_frame_requests") >= 1000 - 25)
        asked = sum(isinstance(message, rtcp.KeyFrameRequest) for message in odd.asked)
        assert 0 < asked <= 2 + 2 * seconds
        await until(lambda: bert.numbers[-1] == 109)
        assert set(bert.numbers) == set(range(110))
        assert len(bert.numbers) <= 112, "a camera that has not heeded a request yet is replayed, once a second"


BROKEN = {
    "REMB that ends after its name": b"\x8f\xce\0\3" + bytes(8) + b"REMB",
    "REMB of more streams than it names": b"\x8f\xce\0\4" + bytes(8) + b"REMB" + b"\xff\xff\xff\xff",
    "NACK for nothing": b"\x81\xcd\0\2" + bytes(8),
    "FIR for half a stream": b"\x84\xce\0\3" + bytes(12),
    "padding beyond its start": b"\xa1\xce\0\2" + bytes(7) + b"\xff",
    "longer than its datagram": b"\x81\xcd\xff\xff" + bytes(8),
}


async def test_malformed_feedback_is_counted_and_costs_little(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    read = itertools.count()
    monkeypatch.setattr(rtcp, "read_arrivals", lambda _: next(read))
    feedback = bytes(8) + b"\0\0\x1f\xff" + bytes(4)  # on 8,191 packets
    malformed = {"cut": b"", "one run": b"\x1f\xff\0\0", "of a reserved kind": b"\x7f\xff\0\0"}
    async with scene.viewer() as eve:
        await until(lambda: len(eve.packets) > 20)
        for part in BROKEN.values():
            eve.caller.transport.send_rtcp(rtcp.compound(part))
        await until(lambda: scene.dropped("malformed_rtcp") == len(BROKEN))
        for body in malformed.values():
            part = b"\x8f\xcd" + struct.pack(">H", len(feedback + body) // 4) + feedback + body
            eve.caller.transport.send_rtcp(rtcp.compound(part * 40))
        await until(lambda: scene.dropped("unasked_feedback") == 40 * len(malformed))
        assert next(read) == 0
        for bitrate in (0, 1, (1 << 18) - 1 << 63):
            eve.caller.transport.send_rtcp(rtcp.compound(rtcp.remb(SENDER, bitrate, [eve.slot])))
        before = len(eve.packets)
        await until(lambda: len(eve.packets) > before + 100)
        assert scene.dropped("malformed_rtcp") == len(BROKEN)


# --- what cameras send


async def test_rtx_without_an_original_begins_nothing(scene: Scene) -> None:
    """Requests for packets that never existed, for far ones, for none; then one for a packet that is missing."""
    async with scene.filmed() as (odd, bert):
        strays = [9 + 2000, 9 + 2001, 9 + 20_000, 9 + 20_001, 9 - 20_000, 9 - 19_999]
        for count, sequence in enumerate(strays):
            head = odd.head(sequence=count, media_time=0, ssrc=odd.rtx_ssrc, payload_type=RTX)
            odd.camera.send_rtp(head + struct.pack(">HHHI", sequence & 0xFFFF, KEY_FRAME, odd.name, 99_999))
        odd.camera.send_rtp(odd.head(sequence=50, media_time=0, ssrc=odd.rtx_ssrc, payload_type=RTX))
        await until(lambda: scene.dropped("rtx") == len(strays) + 1)
        for number in (11, 12, 13, 14, 15):
            odd.send(number)
        await until(lambda: rtcp.Nack(odd.ssrc, (10,)) in odd.asked)
        plain = odd.head(sequence=10, media_time=9000, ssrc=odd.ssrc) + struct.pack(">HHI", KEY_FRAME, odd.name, 10)
        odd.camera.send_rtp(rtx.wrap(plain, RTX, odd.rtx_ssrc, 51))
        await until(lambda: sorted(bert.numbers) == list(range(16)))
        assert scene.repaired("camera_restarts") == 0


async def test_a_layer_that_was_never_offered_leads_nowhere(scene: Scene) -> None:
    async with scene.filmed("h", "l") as (odd, bert):
        for number in range(300):
            for ssrc, rid in ((1, b"h"), (1000 + number % 100, b"x"), (2, b"l")):
                head = odd.head(sequence=number, media_time=900 * number, ssrc=ssrc, first=0x90)
                name = struct.pack(">HHI", KEY_FRAME, odd.name, number)
                odd.camera.send_rtp(head + rtp.extension_block([(RID_ID, rid)]) + name)
            if number % 50 == 49:
                await until(lambda number=number: scene.dropped("unknown_rid") == number + 1)
        uplink = scene.of(odd.camera).uplink
        assert len(uplink.ssrcs) == 2
        assert {rid: layer.reception.packets for rid, layer in uplink.tracks["video"].rids.items()} == {
            "h": 300,
            "l": 300,
        }
        await until(lambda: bert.numbers and bert.numbers[-1] == 299)


JUMPS = {
    "numbers": {"sequence": 20_000},
    "media time, an hour on": {"media_time": 3600 * CLOCK},
    "media time, back to nothing": {"media_time": -1_000_000 * CLOCK},
    "SSRC": {"ssrc": 1},
}


async def test_a_clock_that_is_set_while_people_watch_ends_nobody(scene: Scene) -> None:
    """A camera without a battery starts in 1970, and gets the time when it finds a time server."""
    async with scene.filmed() as (odd, bert):
        reports: list[rtcp.SenderReport] = []
        for at, clock in enumerate((0, 1, 4_008_988_800, 4_008_988_801, 0xFFFF_FFFF)):
            told = rtcp.SenderReport(odd.ssrc, clock << 32, 9000 + at * CLOCK, 10, 1000)
            odd.camera.transport.send_rtcp(rtcp.sender_report(told, "odd"))
            bert.reports.clear()
            await until(lambda: bert.reports)
            reports += bert.reports
        assert scene.dropped("sender_report") >= 1
        now = ntp_time(time.time())
        assert all(abs(rtcp.ntp_delta(report.ntp, now)) < 60 << 32 for report in reports)


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_camera_that_jumps_is_one_stream_to_its_viewer(scene: Scene, jump: str) -> None:
    """One number after the other, and a media time that goes on as the clock does."""
    async with scene.filmed() as (odd, bert):
        for number in range(10, 20):
            fields = {"sequence": number, "media_time": number * 900, "ssrc": odd.ssrc}
            odd.send(number, **{name: value + JUMPS[jump].get(name, 0) for name, value in fields.items()})
        await until(lambda: bert.numbers[-1] == 19)
        assert scene.repaired("camera_restarts") == 1
        assert len(bert.numbers) >= 19, "at most the first is taken for a stray"
        steps = {(b.sequence - a.sequence) & 0xFFFF for a, b in itertools.pairwise(bert.packets)}
        assert steps == {1}
        times = [rtp.time_delta(b.media_time, a.media_time) for a, b in itertools.pairwise(bert.packets)]
        assert all(0 < step < 5 * CLOCK for step in times), times


async def test_ssrcs_that_change_with_each_packet_restart_nobody_for_ever(scene: Scene) -> None:
    async with scene.filmed() as (odd, _):
        start = asyncio.get_running_loop().time()
        for number in range(2000):
            odd.send(number, ssrc=5000 + number % 60)
            if number % 100 == 99:
                await asyncio.sleep(0.01)
        uplink = scene.of(odd.camera).uplink
        await until(lambda: scene.dropped("stale") > 1500)
        assert scene.repaired("camera_restarts") <= 2 + 2 * (asyncio.get_running_loop().time() - start)
        assert len(uplink.ssrcs) <= 64


@pytest.mark.parametrize("what", ["rtp", "rtp of no section", "rtcp"])
async def test_ever_new_ssrcs_end_their_session_with_words_and_leave_libsrtp_a_short_list(
    scene: Scene, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[int] = []
    forget = SrtpContext.forget

    def counted(keys: SrtpContext, ssrc: int) -> None:
        forgotten.append(ssrc)
        forget(keys, ssrc)

    monkeypatch.setattr(SrtpContext, "forget", counted)
    odd, counters = Odd(), scene.service.server.counters
    async with raw_peer(scene.home, "front/yard/pub/eve", odd) as camera:
        odd.camera = camera
        await camera.connect()
        for number in range(600):
            if what == "rtcp":
                camera.transport.send_rtcp(rtcp.receiver_report(5000 + number, (), "odd"))
            else:
                payload_type = 96 if what == "rtp" else 50
                head = odd.head(sequence=1, media_time=1, ssrc=5000 + number, payload_type=payload_type)
                camera.send_rtp(head + struct.pack(">HHI", KEY_FRAME, odd.name, number))
            if number % 100 == 99:
                await asyncio.sleep(0.01)
        await until(lambda: counters["ended_ssrcs"] == 1)
        await until(lambda: any(isinstance(body, Bye) for body in camera.messages))
        (notice,) = [body for body in camera.messages if isinstance(body, ErrorNotice)]
        assert (notice.code, notice.retry_after) == (ErrorCode.RATE_LIMITED, 60.0)
        assert "SSRC" in notice.message
        assert [body.reason for body in camera.messages if isinstance(body, Bye)] == ["ssrcs"]
    assert len(forgotten) == len(set(forgotten)) >= 256 - 128


async def test_a_flood_is_cut_to_the_bound_and_nobody_else_notices(scene: Scene) -> None:
    """13 MB at once from a camera that cannot be asked for less."""
    body = struct.pack(">HHI", KEY_FRAME, 7, 7) + bytes(1192)
    async with scene.filmed() as (odd, bert):
        for number in range(10, 10_010):
            odd.camera.send_rtp(odd.head(sequence=number, media_time=number * 900, ssrc=odd.ssrc) + body)
            if number % 50 == 0:
                await asyncio.sleep(0.001)
        await until(lambda: scene.dropped("over_bitrate") > 0)
        before = len(bert.packets)
        await asyncio.sleep(0.5)
        odd.send(10_010)
        odd.send(10_011)
        await until(lambda: len(bert.packets) > before)


async def test_packets_of_nothing_but_padding_keep_the_numbers_whole(scene: Scene) -> None:
    """As Chromium probes: 255 bytes of which the last says so."""
    async with scene.filmed() as (odd, bert):
        for number in range(10, 60):
            if number % 2:
                head = odd.head(sequence=number, media_time=number * 900, ssrc=odd.ssrc, first=0xA0)
                odd.camera.send_rtp(head + bytes(254) + b"\xff")
            else:
                odd.send(number)
        odd.send(60)
        await until(lambda: bert.numbers[-1] == 60)
        assert scene.repaired("camera_padding") == 25
        assert bert.numbers == [*range(10), *range(10, 61, 2)]
        steps = {(b.sequence - a.sequence) & 0xFFFF for a, b in itertools.pairwise(bert.packets)}
        assert steps == {1}
        assert scene.dropped("malformed_rtp") == 0


async def test_each_packet_twice_in_random_order_comes_once_under_one_number(scene: Scene) -> None:
    """200 % of reordering, among any 64 packets."""
    chance = random.Random(7)
    async with scene.filmed() as (odd, bert):
        first = bert.packets[0].sequence
        for start in range(10, 10 + 64 * 10, 64):
            twice = [*range(start, start + 64)] * 2
            chance.shuffle(twice)
            for number in twice:
                odd.send(number)
            await until(lambda start=start: len(bert.numbers) == start + 64)
        pairs = list(zip(bert.sequences["v0"], bert.numbers, strict=True))
        assert sorted(pairs) == [(first + number & 0xFFFF, number) for number in range(650)]
        assert scene.dropped("srtp") == 640, "a replay, as far as SRTP can tell"
        assert scene.repaired("camera_reordered") > 100
        assert scene.of(odd.camera).uplink.tracks["video"].main.gaps.due_at == math.inf, "nothing is missed"
