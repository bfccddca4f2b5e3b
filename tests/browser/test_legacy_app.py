"""The original app with the engine it has on a phone, libwebrtc: what its call button does when a session was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from playwright.async_api import Browser, Page

from sfu.service import Service
from sfu.signaling.topics import Leaf
from tests.helpers.brokers import Mosquitto
from tests.helpers.legacy_app import Candidate, LegacyApp
from tests.helpers.serving import serving
from tests.helpers.waiting import PATIENCE_S, until

StartMosquitto = Callable[..., Mosquitto]

LEAF = Leaf.parse("lobby/join/one")

_MAKE = """async name => {
    const pc = new RTCPeerConnection({ iceServers: [] });
    const video = document.createElement('video');
    video.muted = video.autoplay = true;
    pc.onicecandidate = ({ candidate }) => candidate && candidateOf(name, candidate.toJSON());
    pc.ontrack = ({ streams }) => { video.srcObject = streams[0]; };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 240 } });
    for (const track of stream.getTracks()) pc.addTrack(track, stream);
    (window.connections ??= {})[name] = { pc, video };
}"""
_OFFER = """async name => {
    const { pc } = connections[name];
    const offer = await pc.createOffer({ offerToReceiveAudio: true, offerToReceiveVideo: true });
    await pc.setLocalDescription(offer);
    return offer.sdp;
}"""
_ANSWER = """async ([name, sdp]) => {
    const { pc } = connections[name];
    await pc.setRemoteDescription({ type: 'offer', sdp });
    const answer = await pc.createAnswer();
    await pc.setLocalDescription(answer);
    return answer.sdp;
}"""
_ACCEPT = "([name, sdp]) => connections[name].pc.setRemoteDescription({ type: 'answer', sdp })"
_ADD = "([name, candidate]) => connections[name].pc.addIceCandidate(candidate)"
_KILL = "name => connections[name]?.pc.close()"
_PLAY = """async name => {
    const { pc, video } = connections[name];
    const counts = async () => {
        const all = [...(await pc.getStats()).values()];
        const received = all.filter(s => s.type === 'inbound-rtp' && s.kind === 'audio');
        return [video.getVideoPlaybackQuality().totalVideoFrames, received[0]?.packetsReceived ?? 0];
    };
    for (let seen = [await counts()]; ; seen.push(await counts())) {
        const grown = index => seen.slice(1).reduce((sum, now, n) => sum + Math.max(0, now[index] - seen[n][index]), 0);
        if (grown(0) >= 15 && grown(1) >= 15) return;
        await new Promise(resolve => setTimeout(resolve, 50));
    }
}"""

_STATE = """async name => {
    const { pc } = connections[name];
    const transports = [...(await pc.getStats()).values()].filter(({ type }) => type === 'transport');
    return [pc.signalingState, pc.iceConnectionState, pc.connectionState, transports];
}"""


class ChromiumConnection:
    """A `Connection` that lives in a page; its picture and sound are a video element's."""

    def __init__(self, page: Page, name: int) -> None:
        self.page = page
        self.name = name
        self._made = asyncio.ensure_future(page.evaluate(_MAKE, name))

    async def offer(self) -> str:
        await self._made
        return str(await self.page.evaluate(_OFFER, self.name))

    async def answer(self, offer: str) -> str:
        await self._made
        return str(await self.page.evaluate(_ANSWER, [self.name, offer]))

    async def accept(self, answer: str) -> None:
        await self.page.evaluate(_ACCEPT, [self.name, answer])

    async def add_candidate(self, candidate: Candidate) -> None:
        await self.page.evaluate(_ADD, [self.name, candidate])

    async def kill(self) -> None:
        await self.page.evaluate(_KILL, self.name)


class Engine:
    """One page of a browser that makes the connections of several apps."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.handlers: list[Callable[[Candidate], None]] = []

    @classmethod
    async def start(cls, chromium: Browser, service: Service) -> Engine:
        """On a page of the server, for camera and microphone are given to secure contexts only."""
        assert service.http is not None
        page = await chromium.new_page()
        await page.goto(f"{service.http.url}/healthz")
        engine = cls(page)
        await page.expose_function("candidateOf", lambda name, candidate: engine.handlers[name](candidate))
        return engine

    def make(self, on_candidate: Callable[[Candidate], None]) -> ChromiumConnection:
        self.handlers.append(on_candidate)
        return ChromiumConnection(self._page, len(self.handlers) - 1)


async def evaluated(app: LegacyApp, expression: str) -> Any:
    """Returns the value of an expression about the app's connection in its page."""
    assert isinstance(app.local, ChromiumConnection)
    return await app.local.page.evaluate(expression, app.local.name)


async def plays(*apps: LegacyApp) -> None:
    """Waits until each app has shown another 15 pictures and received as many packets of sound."""
    try:
        async with asyncio.timeout(2 * PATIENCE_S):
            for app in apps:
                await evaluated(app, _PLAY)
                assert not app.failures
    except TimeoutError:
        states = [await evaluated(app, _STATE) for app in apps]
        raise AssertionError(f"still dark: {states}") from None


async def test_call_again_works_whatever_became_of_the_session(mosquitto: StartMosquitto, chromium: Browser) -> None:
    """Each with a server of its own and all at once: most of it is libwebrtc's wait, 6 s, for a way that is no more."""
    async with asyncio.TaskGroup() as cases:
        cases.create_task(lost(mosquitto(), chromium, notified=True), name="notified")
        cases.create_task(lost(mosquitto(), chromium, notified=False), name="not notified")
        cases.create_task(started_anew(mosquitto(), chromium), name="started anew")


async def lost(broker: Mosquitto, chromium: Browser, *, notified: bool) -> None:
    """The server ends the session, with DTLS's close_notify or without: a phone out of reach hears nothing."""
    async with serving(broker.url) as service:
        engine = await Engine.start(chromium, service)
        async with (
            LegacyApp(broker.url, f"sfu/{LEAF}", engine.make) as one,
            LegacyApp(broker.url, "sfu/lobby/join/two", engine.make) as two,
        ):
            await one.press()
            await two.press()
            await plays(one, two)
            await one.press()
            await until(lambda: len(one.answers()) == 2)
            await plays(one, two)
            assert service.server.counters["sessions"] == 2
            if not notified:
                await service.server.participants[LEAF].transport.agent.close()
            service.server.on_closed(service.server.participants[LEAF], "silent")
            await one.press()
            await plays(one, two)
            assert service.server.counters["sessions"] == 3


async def started_anew(broker: Mosquitto, chromium: Browser) -> None:
    """On the same UDP port, as it would be."""
    async with AsyncExitStack() as apps:
        async with serving(broker.url) as service:
            engine, port = await Engine.start(chromium, service), service.port.port
            one = await apps.enter_async_context(LegacyApp(broker.url, f"sfu/{LEAF}", engine.make))
            two = await apps.enter_async_context(LegacyApp(broker.url, "sfu/lobby/join/two", engine.make))
            await one.press()
            await two.press()
            await plays(one, two)
        async with serving(broker.url, media__port=port):
            await one.press()
            await two.press()
            await plays(one, two)
