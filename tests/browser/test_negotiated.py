"""A real Chromium keeps to what was negotiated: its layers by rid, its retransmissions, and ours to it."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from sfu.clients.outgoing import OutgoingStream
from sfu.media.formats import rtcp, rtp, rtx
from sfu.media.ingest.demux import Demux, Route, Routed
from sfu.media.ingest.reception import Reception
from sfu.rtc.sdp.description import CNAME, RID, TRANSPORT_CC, Local, Negotiated
from sfu.rtc.sdp.negotiate import Role, negotiate
from sfu.rtc.sdp.parse import parse_description
from sfu.rtc.sdp.write import write_answer
from tests.helpers.browser.cameras import Painted
from tests.helpers.transports import Endpoint, ports, server_end
from tests.helpers.waiting import until

OWN_SSRC = 0x0FF5E7
VIDEO_CLOCK = 90_000

# Below 960x540 Chromium sends fewer than three layers.
CAMERA = """async ([direction, rids]) => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 960, height: 540});
  const pen = canvas.getContext('2d');
  let hue = 0;
  setInterval(() => { pen.fillStyle = `hsl(${hue += 3} 50% 50%)`; pen.fillRect(0, 0, 960, 540); }, 100);
  const [track] = canvas.captureStream(10).getTracks();
  window.pc = new RTCPeerConnection();
  const sendEncodings = rids.map((rid, place) => ({rid, scaleResolutionDownBy: 4 / 2 ** place}));
  window.sending = pc.addTransceiver(track, {direction, sendEncodings});
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}"""

REOFFER = """async (direction) => {
  sending.direction = direction;
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}"""

VIEWER = """async () => {
  window.pc = new RTCPeerConnection();
  pc.addTransceiver('video', {direction: 'recvonly'});
  const video = document.body.appendChild(Object.assign(document.createElement('video'), {muted: true}));
  pc.ontrack = ({track}) => { video.srcObject = new MediaStream([track]); video.play(); };
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}"""

STATS = """async (type) => {
  const found = [];
  (await pc.getStats()).forEach((report) => { if (report.type === type) found.push(report); });
  return found;
}"""


@dataclass
class Call:
    page: Page
    end: Endpoint
    role: Role
    negotiated: Negotiated = field(init=False)
    version: int = 0

    async def agree(self, offer: str) -> None:
        """Answers an offer of the page as the server does."""
        ssrcs: list[str] = []

        def ssrc(key: str) -> int:
            ssrcs.append(key)
            return 0xABC0 + len(ssrcs)

        end, agent = self.end, self.end.agent
        self.version += 1
        self.negotiated = negotiate(parse_description(offer), self.role, preference=("vp8", "h264"), ssrc=ssrc)
        ufrag, pwd, fingerprints = self.negotiated.ufrag, self.negotiated.pwd, self.negotiated.fingerprints
        end.transport.start(ufrag=ufrag, pwd=pwd, lite=False, fingerprints=fingerprints)
        local = Local(agent.ufrag, agent.pwd, end.transport.fingerprint, agent.candidates(), lite=True)
        answer = write_answer(self.negotiated, local, session_id=1, version=self.version)
        await self.page.evaluate("(sdp) => pc.setRemoteDescription({type: 'answer', sdp})", answer)

    async def stats(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.page.evaluate(STATS, kind)
        return found


@contextlib.asynccontextmanager
async def calling(chromium: Browser, script: str, argument: object, role: Role) -> AsyncIterator[Call]:
    """Chromium's offer, answered as the server does; connected."""
    async with ports(1) as (port,):
        end = server_end(port)
        page = await chromium.new_page()
        call = Call(page, end, role)
        await end.agent.gather()
        await call.agree(await page.evaluate(script, argument))
        try:
            await until(lambda: end.up, 10)
            yield call
        finally:
            await end.transport.close()


class Tap:
    """Takes a camera's packets as a participant does, and tells it twice a second how they arrive."""

    def __init__(self, call: Call) -> None:
        (self.receive,) = [section.receive for section in call.negotiated.sections if section.receive]
        self.demux = Demux()
        self.demux.configure([Route.of("0", self.receive)])
        self.lost = 0
        self.routed: dict[Routed, list[rtp.Packet]] = {}
        self.silent: set[str | None] = set()
        """Layers whose packets came without their rid."""
        self._receptions: dict[int, Reception] = {}
        self._transport = call.end.transport
        self._told_at = 0.0
        call.end.take_rtp = self.take

    def take(self, data: bytes) -> None:
        packet = rtp.parse(data)
        assert packet is not None
        routed = self.demux.route(packet)
        if routed is None:
            self.lost += 1
            return
        self.routed.setdefault(routed, []).append(packet)
        if routed.repairs:
            return
        if self.receive.extensions[RID] not in packet.extensions:
            self.silent.add(routed.rid)
        now = time.monotonic()
        reception = self._receptions.setdefault(packet.ssrc, Reception(VIDEO_CLOCK))
        reception.received(packet.sequence, packet.media_time, now)
        if now - self._told_at > 0.5:
            self._told_at = now
            blocks = [reception.report(ssrc, now) for ssrc, reception in self._receptions.items()]
            remb = rtcp.remb(OWN_SSRC, 5_000_000, list(self._receptions))
            self._transport.send_rtcp(rtcp.compound(rtcp.receiver_report(OWN_SSRC, blocks, CNAME), remb))

    def ask_again(self, packet: rtp.Packet) -> None:
        """RFC 4585 section 6.2.1."""
        nack = struct.pack("!BBHIIHH", 0x81, 205, 3, OWN_SSRC, packet.ssrc, packet.sequence, 0)
        self._transport.send_rtcp(rtcp.compound(rtcp.receiver_report(OWN_SSRC, (), CNAME), nack))

    def layers(self) -> set[str | None]:
        return {routed.rid for routed in self.routed if not routed.repairs}


async def until_sent(call: Call, predicate: Callable[[dict[str, int]], object]) -> None:
    """Waits for what `predicate` wants of the packets sent so far, by rid."""
    async with asyncio.timeout(20):
        while not predicate({report["rid"]: report["packetsSent"] for report in await call.stats("outbound-rtp")}):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(("role", "direction"), [("pub", "sendonly"), ("join", "sendrecv")])
async def test_chromium_sends_all_layers_it_is_asked_for_and_repairs_each(
    chromium: Browser, role: Role, direction: str
) -> None:
    rids = ["q", "h", "f"]
    async with calling(chromium, CAMERA, [direction, rids], role) as call:
        tap = Tap(call)
        assert call.end.transport.profile == "SRTP_AEAD_AES_128_GCM"
        assert tap.receive.rids == ("q", "h", "f")
        await until_sent(call, lambda sent: sent.keys() == set(rids) and min(sent.values()) > 20)
        await until(lambda: tap.silent == set(rids), 10)
        assert tap.layers() == set(rids), "no packet lacked a layer"
        assert tap.lost == 0
        for rid in rids:
            (routed,) = [routed for routed in tap.routed if routed.rid == rid and not routed.repairs]
            missed = tap.routed[routed][-1]
            tap.ask_again(missed)
            await until(lambda rid=rid, missed=missed: repaired(tap, rid, missed), 10)
        await call.page.close()


@pytest.mark.parametrize(
    ("role", "directions"), [("pub", ("sendonly", "inactive")), ("join", ("sendrecv", "recvonly"))]
)
async def test_chromium_sends_all_layers_again_after_a_pause(
    chromium: Browser, role: Role, directions: tuple[str, str]
) -> None:
    rids = ["q", "h", "f"]
    sending, paused = directions
    async with calling(chromium, CAMERA, [sending, rids], role) as call:
        tap = Tap(call)
        await until_sent(call, lambda sent: sent.keys() == set(rids) and min(sent.values()) > 20)
        await until(lambda: tap.silent == set(rids), 10)
        for direction in (paused, paused, sending):
            await call.agree(await call.page.evaluate(REOFFER, direction))
            (section,) = call.negotiated.sections
            assert section.rids == tuple(rids)
            tap.demux.configure([Route.of("0", section.receive)] if section.receive else [])
            tap.routed.clear()
        await until(lambda: tap.layers() == set(rids), 20)
        assert await call.page.evaluate("() => sending.sender.getParameters().encodings.map(e => e.rid)") == rids
        await call.page.close()


def repaired(tap: Tap, rid: str, missed: rtp.Packet) -> bool:
    originals = [
        rtx.unwrap(packet, missed.payload_type, missed.ssrc)
        for routed, packets in tap.routed.items()
        if routed.repairs and routed.rid == rid
        for packet in packets
        if tap.receive.rtx[packet.payload_type] == missed.payload_type
    ]
    return any(one and (one.sequence, one.payload) == (missed.sequence, missed.payload) for one in originals)


async def test_chromium_numbers_its_packets_where_transport_wide_feedback_was_agreed(
    chromium: Browser,
) -> None:
    async with calling(chromium, CAMERA, ["sendonly", []], "pub") as call:
        (receive,) = [section.receive for section in call.negotiated.sections if section.receive]
        await until(lambda: len(call.end.rtp) > 30, 20)
        packets = [packet for packet in map(rtp.parse, call.end.rtp) if packet]
        numbers = [int.from_bytes(packet.extensions[receive.extensions[TRANSPORT_CC]], "big") for packet in packets]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_chromium_asks_for_what_it_missed_and_takes_it_from_the_rtx_stream(chromium: Browser) -> None:
    async with calling(chromium, VIEWER, None, "view") as call:
        (send,) = [section.send for section in call.negotiated.sections if section.send]
        assert send.rtx_ssrc is not None
        codec = next(codec for codec in send.codecs if codec.name == "H264")
        stream = OutgoingStream(codec, mid="0", ssrc=send.ssrc, sequence=1, offset=1)
        stream.agree(codec.payload_type, send.extensions)
        kept: dict[int, bytes] = {}
        wanted: list[int] = []

        def on_rtcp(data: bytes) -> None:
            wanted.extend(
                sequence
                for message in rtcp.parse(data)
                if isinstance(message, rtcp.Nack) and message.media_ssrc == send.ssrc
                for sequence in message.sequences
                if sequence in kept
            )

        call.end.take_rtcp = on_rtcp
        sent = 0
        async with asyncio.timeout(20):
            async for frame in Painted().frames():
                for data in stream.packetize(frame, time.time()):
                    packet = rtp.parse(data)
                    assert packet is not None
                    kept[packet.sequence] = data
                    if packet.sequence % 20 != 15:
                        call.end.transport.send_rtp(data)
                while wanted:
                    plain = kept[wanted.pop()]
                    sent += 1
                    again = rtx.wrap(plain, send.rtx[codec.payload_type], send.rtx_ssrc, sent)
                    call.end.transport.send_rtp(again)
                (inbound,) = await call.stats("inbound-rtp") or [{}]
                if inbound.get("retransmittedPacketsReceived", 0) >= 3 and inbound["framesDecoded"] > 60:
                    break
        assert inbound["rtxSsrc"] == send.rtx_ssrc
        assert inbound["keyFramesDecoded"] == 1, "there was but one: every hole was filled"
