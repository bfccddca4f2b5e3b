"""Scenes on a bad network: a real server behind the relay, Chromium as camera and viewers, and what the viewers saw.

Owns the scenes; tests say what is good enough, `impaired_report` prints them all. No scene asserts more than that
pictures flow at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Browser, Page

from sfu.service import Service
from sfu.signaling.broker_url import BrokerUrl
from tests.benchmarks.janus import JanusStage
from tests.helpers.browser import clocks
from tests.helpers.browser.cameras import on_air
from tests.helpers.browser.figures import TILE, Span, between, look, shown_at, span, watch
from tests.helpers.browser.pages import camera_page, opened, publisher, until_live, until_true
from tests.helpers.impairment.link import Bursts, Line, Link
from tests.helpers.impairment.relay import Relay
from tests.helpers.serving import serving
from tests.helpers.waiting import until

ROOM, CAMERA = "hall", "one"
BAD = Line.both(Link(loss=0.02, delay=0.06, jitter=0.03))
DISORDERLY = Line.both(Link(loss=0.02, delay=0.06, jitter=0.03, reorder=0.05))

# The page's own offer with three layers, which Chromium sends of 960x540 and more.
THREE_LAYERS = """
window.lens = [960, 544];
const add = RTCPeerConnection.prototype.addTransceiver;
RTCPeerConnection.prototype.addTransceiver = function (track, init) {
  if (track.kind !== 'video') return add.call(this, track, init);
  const layers = [['q', 4, 120_000], ['h', 2, 400_000], ['f', 1, 1_500_000]];
  return add.call(this, track, {...init, sendEncodings: layers.map(([rid, scaleResolutionDownBy, maxBitrate]) =>
    ({rid, scaleResolutionDownBy, maxBitrate}))});
};
"""

# What each page's connections are: a test restarts ICE as a browser does that notices a new network.
CONNECTIONS = """
window.connections = [];
const Connection = window.RTCPeerConnection;
window.RTCPeerConnection = class extends Connection {
  constructor(...options) { super(...options); window.connections.push(this); }
};
"""
UFRAGS = "connections.flatMap((it) => it.localDescription?.sdp.match(/(?<=a=ice-ufrag:)\\S+/g) ?? [])"


@dataclass
class Stage:
    """A server behind a relay, and a browser."""

    browser: Browser
    service: Service
    relay: Relay

    async def camera(self, line: Line, *, init: str = "") -> Page:
        """A Chromium with a clock before its lens."""
        page = await camera_page(self.browser, self.service, ROOM, CAMERA, init=clocks.CAMERA + CONNECTIONS + init)
        await self.put_on("camera", page, line)
        return page

    async def viewer(self, name: str, line: Line) -> Page:
        """A page that shows the camera and reads its clock. Its line is good until the first picture."""
        page = await opened(self.browser, self.service, f"#{ROOM}", init=CONNECTIONS)
        await until_live(page, f"{ROOM}/{CAMERA}", timeout=30)
        await watch(page)
        await self.put_on(name, page, line)
        return page

    def set(self, name: str, line: Line) -> None:
        """Changes a line that somebody is on."""
        self.relay.set(name, line)

    async def put_on(self, name: str, page: Page, line: Line) -> None:
        """All that the page sends and hears goes over one line."""
        self.relay.set(name, line, await page.evaluate(UFRAGS))


@contextlib.asynccontextmanager
async def stage(browser: Browser, broker: BrokerUrl, *, seed: int = 1, **settings: Any) -> AsyncIterator[Stage]:
    """Everything but the peers."""
    with Relay(seed=seed) as relay:
        async with serving(broker, **relay.settings, **{"media__codecs": "vp8", **settings}) as service:
            yield Stage(browser, service, relay)
            await clear(browser)


async def clear(browser: Browser) -> None:
    """Closes all pages: cameras of an earlier scene would go on encoding, and seek their server."""
    for context in browser.contexts:
        await context.close()


@dataclass(frozen=True)
class Shown:
    """A viewer's span, and how many pictures the camera sent meanwhile."""

    span: Span
    sent: int

    @property
    def decoded_share(self) -> float:
        return self.span.decoded / self.sent


async def bad_links(stage: Stage | JanusStage, seconds: float, line: Line = BAD, *, warm_up: float = 5.0) -> Shown:
    """(a) Camera and viewer each on such a line, after the first `warm_up` seconds."""
    camera = await stage.camera(line)
    viewer = await stage.viewer("viewer", line)
    await asyncio.sleep(warm_up)
    sent = await frames_sent(camera)
    seen = await span(viewer, seconds)
    return Shown(seen, await frames_sent(camera) - sent)


async def frames_sent(camera: Page) -> int:
    return int((await publisher(camera))["video"]["framesSent"])


@dataclass(frozen=True)
class Recovery:
    """`during` the bursts; ms from their end to the end of the last gap of more than 200 ms between pictures."""

    during: Span
    recovered: float


async def burst(stage: Stage | JanusStage, seconds: float, *, where: str = "viewer") -> Recovery:
    """(b) 10 % of packets lost in rows of 5 on one link, both directions, for some seconds."""
    clean = Line.both(Link(delay=0.02))
    await stage.camera(clean)
    viewer = await stage.viewer("viewer", clean)
    await asyncio.sleep(1)
    stage.set(where, Line.both(Link(delay=0.02, bursts=Bursts.of(0.1, 5))))
    during = await span(viewer, seconds)
    start = await look(viewer)
    stage.set(where, clean)
    shown, steady = [start.at], start.at
    while (end := await look(viewer)).at - steady < 1500 and end.at - start.at < 15_000:
        shown += shown_at(end)
        pairs = itertools.pairwise([*shown, end.at])
        steady = max((later for earlier, later in pairs if later - earlier > 200), default=start.at)
        await asyncio.sleep(0.2)
    return Recovery(during, steady - start.at)


async def one_slow(stage: Stage, others: int, seconds: float, *, layers: bool = False) -> tuple[Span, list[Span]]:
    """(c) One viewer at 300 kbit/s among others: its span, and theirs."""
    await stage.camera(Line(), init=THREE_LAYERS if layers else "")
    fast = [await stage.viewer(f"fast-{number}", Line()) for number in range(others)]
    slow = await stage.viewer("slow", Line().downwards(rate=300_000.0, delay=0.02))
    await asyncio.sleep(5)
    mine, *theirs = await asyncio.gather(*(span(page, seconds) for page in (slow, *fast)))
    return mine, theirs


@dataclass(frozen=True)
class Layers:
    """Widths shown before, in and after the thin time; s until the picture changed; the whole span."""

    wide: int
    thin: int
    wide_again: int
    down: float
    up: float
    whole: Span


async def layers(stage: Stage, patience: float = 15.0, *, again: bool = True, thin_for: float = 3.0) -> Layers:
    """(d) A camera with three layers, and a viewer whose link is 3 Mbit/s, 400 kbit/s and, if `again`, 3 Mbit/s."""
    wide, thin = (Line().downwards(rate=rate, delay=0.02) for rate in (3e6, 4e5))
    await stage.camera(Line(), init=THREE_LAYERS)
    viewer = await stage.viewer("viewer", wide)
    widest = (await reaches(viewer, lambda width: width >= 960, patience))[0]
    before = await look(viewer)
    stage.set("viewer", thin)
    small, down = await reaches(viewer, lambda width: width < widest, patience)
    await asyncio.sleep(thin_for)
    wider, up = small, math.nan
    if again:
        stage.set("viewer", wide)
        wider, up = await reaches(viewer, lambda width: width >= widest, patience)
    return Layers(widest, small, wider, down, up, between(before, await look(viewer)))


@dataclass(frozen=True)
class Fitted:
    """Widths shown in a small window and in a large one; s until the larger picture was there."""

    small: int
    large: int
    up: float


async def windows(stage: Stage, patience: float = 10.0) -> Fitted:
    """(d) A camera with three layers, and a viewer who makes the window small and large again."""
    await stage.camera(Line(), init=THREE_LAYERS)
    viewer = await stage.viewer("viewer", Line())
    await reaches(viewer, lambda width: width >= 960, patience)
    return await resized(viewer, patience)


async def resized(viewer: Page, patience: float) -> Fitted:
    await viewer.set_viewport_size({"width": 320, "height": 260})
    small, _ = await reaches(viewer, lambda width: width < 960, patience)
    await asyncio.sleep(1)
    await viewer.set_viewport_size({"width": 960, "height": 640})
    large, up = await reaches(viewer, lambda width: width >= 960, patience)
    return Fitted(small, large, up)


async def reaches(viewer: Page, good: Any, patience: float) -> tuple[int, float]:
    """The picture's width once it is `good`, and the s that it took; as it is when `patience` is over."""
    start = time.monotonic()
    while True:
        width = int(await viewer.evaluate("(selector) => document.querySelector(selector).videoWidth", TILE))
        passed = time.monotonic() - start
        if good(width) or passed > patience:
            return width, passed
        await asyncio.sleep(0.05)


# From the click on a room to its first picture on the screen.
JOIN = """([room, selector]) => new Promise((done) => {
  const clicked = performance.now();
  location.hash = room;
  const seek = () => {
    const video = document.querySelector(selector);
    if (video?.srcObject) video.requestVideoFrameCallback((now) => done(now - clicked));
    else setTimeout(seek, 2);
  };
  seek();
})"""


@dataclass(frozen=True)
class Joins:
    """ms from click to first picture, and how many ms older it was 1 s later than one who was there before saw it."""

    first: tuple[float, ...]
    behind: tuple[float, ...] = ()


async def joins(stage: Stage, count: int, *, compare: bool = True) -> Joins:
    """(e) One viewer after another, a camera with a key frame every 4 s."""
    first, behind = [], []
    async with on_air(stage.service, ROOM, CAMERA, clocks.deaf_camera()):
        there = await stage.viewer("there", Line())
        page = await opened(stage.browser, stage.service, "#nobody/here")
        for _ in range(count):
            first.append(await join(page))
            if compare:
                behind.append(await lag(page, there))
            await leave(page)
    return Joins(tuple(first), tuple(behind))


async def join(page: Page) -> float:
    async with asyncio.timeout(30):
        return float(await page.evaluate(JOIN, [ROOM, TILE]))


async def leave(page: Page) -> None:
    await page.evaluate("location.hash = 'nobody/here'")
    await until_true(page, f"!document.querySelector('{TILE}')")


async def lag(page: Page, there: Page) -> float:
    """How many ms older than the other page's this page's pictures are about a second after the first."""
    await watch(page)
    await asyncio.sleep(0.7)
    mine, theirs = await asyncio.gather(span(page, 0.5), span(there, 0.5))
    return mine.age - theirs.age


async def joins_in_a_crowd(stage: Stage, count: int, crowd: int) -> Joins:
    """(e) Each joins while `crowd` synthetic viewers do so too."""
    first = []
    async with on_air(stage.service, ROOM, CAMERA, clocks.deaf_camera()):
        await stage.viewer("there", Line())
        page = await opened(stage.browser, stage.service, "#nobody/here")
        for _ in range(count):
            async with crowding(stage.service, crowd):
                first.append(await join(page))
            await leave(page)
    return Joins(tuple(first))


@contextlib.asynccontextmanager
async def crowding(service: Service, viewers: int) -> AsyncIterator[None]:
    """Entered when the first of them are in."""
    url = service.broker_url
    arguments = ["load", "--viewers", str(viewers), "--room", ROOM, "--ramp", "1000", "--bitrate", "50k"]
    arguments += ["--broker", f"{url.scheme}://{url.host}:{url.port}", "--seconds", "3"]
    quiet = asyncio.subprocess.DEVNULL
    before = len(service.server.participants)
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "sfu", *arguments, stdout=quiet, stderr=quiet)
    try:
        await until(lambda: len(service.server.participants) > before + 5, 20)
        yield
    finally:
        await process.wait()
        await until(lambda: len(service.server.participants) <= before + 1, 20)


async def moves(stage: Stage, count: int, *, leaving: bool = True) -> list[float]:
    """(f) The viewer's address changes, again and again; ms without a picture each time.

    `leaving`: the old address is dead, as after a change from Wi-Fi to LTE; else it is a NAT's that changed.
    """
    line = Line.both(Link(delay=0.02))
    await stage.camera(line)
    viewer = await stage.viewer("viewer", line)
    gaps = []
    for _ in range(count):
        await asyncio.sleep(2)
        await stage.put_on("viewer", viewer, line)  # the connection's way may be another one since the last time
        before = await look(viewer)
        (stage.relay.leave if leaving else stage.relay.move)("viewer")
        await asyncio.sleep(5)
        gaps.append(between(before, await look(viewer)).gap)
    return gaps


def p95(times: Sequence[float]) -> float:
    """The least that 95 % do not exceed."""
    return sorted(times)[math.ceil(0.95 * len(times)) - 1]
