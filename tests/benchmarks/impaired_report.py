"""`python -m tests.benchmarks.impaired_report [SCENE ...]`: the scenes of `impaired` in full length, for people."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from sfu.signaling.broker_url import BrokerUrl
from tests.benchmarks.janus import JanusStage, janus_stage
from tests.browser.conftest import FLAGS
from tests.helpers.brokers import Mosquitto
from tests.helpers.browser import impaired
from tests.helpers.browser.impaired import Joins, Stage, clear, stage
from tests.helpers.impairment.link import Line
from tests.helpers.programs import need


def _say(scene: str, words: str) -> None:
    sys.stdout.write(f"{scene:<28} {words}\n")
    sys.stdout.flush()


def _joins(joins: Joins) -> str:
    words = f"first picture {_spread(joins.first)} of {len(joins.first)}"
    return f"{words}; 1 s later behind by {_spread(joins.behind)}" if joins.behind else words


def _spread(times: Sequence[float]) -> str:
    return f"p50 {statistics.median(times):.0f} p95 {impaired.p95(times):.0f} max {max(times):.0f} ms"


async def bad_links(browser: Browser, broker: BrokerUrl, seconds: float) -> None:
    """Good links first: what the machine itself costs."""
    for codec in ("vp8", "h264"):
        for name, line in {" good": Line(), "": impaired.BAD, " disorderly": impaired.DISORDERLY}.items():
            async for server, it in _both(browser, broker, codec):
                shown = await impaired.bad_links(it, seconds, line)
                share = 100 * shown.decoded_share
                _say(f"bad {codec}{name} {server}", f"{share:.1f} % of sent decoded; {shown.span.row}")


async def burst(browser: Browser, broker: BrokerUrl, seconds: float) -> None:
    for where in ("viewer", "camera"):
        async for server, it in _both(browser, broker, "vp8"):
            found = await impaired.burst(it, min(seconds, 5), where=where)
            _say(f"burst at {where} {server}", f"recovered after {found.recovered:.0f} ms; during: {found.during.row}")


async def _both(browser: Browser, broker: BrokerUrl, codec: str) -> AsyncIterator[tuple[str, Stage | JanusStage]]:
    """Our server first, then Janus if it is installed."""
    async with stage(browser, broker, media__codecs=codec) as ours:
        yield "sfu", ours
    if shutil.which("janus"):
        with tempfile.TemporaryDirectory() as directory:
            async with janus_stage(browser, Path(directory), codec=codec) as theirs:
                yield "janus", theirs
                await clear(browser)


async def slow(browser: Browser, broker: BrokerUrl, seconds: float) -> None:
    for layered in (False, True):
        async with stage(browser, broker) as it:
            mine, theirs = await impaired.one_slow(it, 3, min(seconds, 20), layers=layered)
            name = "layers" if layered else "single"
            _say(f"300k of 4, {name}", mine.row)
            for other in theirs:
                _say("  a fast one", other.row)


async def layers(browser: Browser, broker: BrokerUrl, seconds: float) -> None:
    """A long thin time, too: trials that failed in it put off the next one."""
    for thin_for in (3.0, seconds):
        async with stage(browser, broker) as it:
            found = await impaired.layers(it, 30.0, thin_for=thin_for)
            words = f"{found.wide} -> {found.thin} in {found.down:.1f} s -> {found.wide_again} px in {found.up:.1f} s"
            _say(f"layers 3M, {thin_for:.0f} s 400k, 3M", f"{words}; {found.whole.row}")


async def windows(browser: Browser, broker: BrokerUrl, _: float) -> None:
    async with stage(browser, broker) as it:
        found = await impaired.windows(it)
        _say("window small, large", f"{found.small} px -> {found.large} px in {found.up:.1f} s")


async def joins(browser: Browser, broker: BrokerUrl, seconds: float) -> None:
    async with stage(browser, broker, media__codecs="h264") as it:
        _say("joins", _joins(await impaired.joins(it, 50 if seconds >= 60 else 10)))


async def crowd(browser: Browser, broker: BrokerUrl, seconds: float) -> None:
    async with stage(browser, broker, media__codecs="h264") as it:
        _say("joins beside 100", _joins(await impaired.joins_in_a_crowd(it, 8 if seconds >= 60 else 3, 100)))


async def move(browser: Browser, broker: BrokerUrl, seconds: float) -> None:
    for leaving in (True, False):
        async with stage(browser, broker) as it:
            gaps = await impaired.moves(it, 10 if seconds >= 60 else 5, leaving=leaving)
        _say("new network" if leaving else "new address", f"without a picture for {_spread(gaps)} of {len(gaps)}")


SCENES: dict[str, Callable[[Browser, BrokerUrl, float], Awaitable[None]]] = {
    scene.__name__: scene for scene in (bad_links, burst, slow, layers, windows, joins, crowd, move)
}


async def main(names: list[str], seconds: float) -> None:
    directory = Path(tempfile.mkdtemp())
    broker = Mosquitto(need("mosquitto"), directory)
    try:
        async with async_playwright() as playwright:
            for name in names:
                browser = await playwright.chromium.launch(executable_path=need("chromium"), args=list(FLAGS))
                await SCENES[name](browser, broker.url, seconds)
                await browser.close()
    finally:
        broker.stop()
        shutil.rmtree(directory)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", nargs="*", default=list(SCENES), metavar="SCENE", help=", ".join(SCENES))
    parser.add_argument("--seconds", type=float, default=60.0, help="of watching, for the scenes that watch")
    chosen = parser.parse_args()
    asyncio.run(main(chosen.scenes, chosen.seconds))
