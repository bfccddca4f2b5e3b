"""Debian's Janus VideoRoom on the same stage: the same Chromium, the same clock, the same relay, another server.

Owns Janus's process and configuration, its signalling, and a page of one video that answers what `pages` ask of ours.
Janus takes a port for each client and never loopback: each client's relay is its own, towards this machine's address.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import Browser, Page

from sfu.rtc.net.addresses import host_addresses
from tests.helpers.brokers import free_port
from tests.helpers.browser import clocks
from tests.helpers.browser.figures import watch
from tests.helpers.browser.pages import new_context, until_true
from tests.helpers.impairment.link import Line
from tests.helpers.impairment.relay import Relay
from tests.helpers.programs import need

_ROOM = 1
_PLUGIN = "janus.plugin.videoroom"
_CANDIDATE = re.compile(r"^(a=candidate:\S+ 1 udp \d+) (\S+) (\d+) typ host.*$", re.MULTILINE | re.IGNORECASE)

# What `figures` and `pages` ask of our own page, answered by a page with one connection and one video.
_PAGE = """<!doctype html><article class="tile"><video autoplay muted playsinline></video></article><script>
const connection = new RTCPeerConnection({bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require'});
connection.ontrack = ({track}) => { document.querySelector('video').srcObject = new MediaStream([track]); };
const report = async (type) =>
  [...(await connection.getStats()).values()].find((it) => it.type === type && it.kind === 'video') ?? null;
window.__sfu = {
  stats: async () => [{video: await report('inbound-rtp')}],
  publisher: async () => ({video: await report('outbound-rtp')}),
};
window.offer = async (codec) => {
  const [track] = (await navigator.mediaDevices.getUserMedia({video: true})).getVideoTracks();
  const transceiver = connection.addTransceiver(track, {direction: 'sendonly'});
  const codecs = RTCRtpSender.getCapabilities('video').codecs;
  transceiver.setCodecPreferences(codecs.filter((it) => [codec, 'rtx'].includes(it.mimeType.slice(6).toLowerCase())));
  await connection.setLocalDescription();
  return connection.localDescription.sdp;
};
window.answer = async (sdp) => {
  await connection.setRemoteDescription({type: 'offer', sdp});
  await connection.setLocalDescription();
  return connection.localDescription.sdp;
};
window.accept = (sdp) => connection.setRemoteDescription({type: 'answer', sdp});
</script>"""


class JanusStage:
    """The part of a `Stage` that scenes use, with Janus as the server."""

    def __init__(self, browser: Browser, http: aiohttp.ClientSession, session: str, codec: str) -> None:
        self._browser = browser
        self._http = http
        self._session = session
        self._codec = codec
        self._feed = 0
        self._relays: dict[str, Relay] = {}
        self._transactions = itertools.count(1)

    async def camera(self, line: Line, *, init: str = "") -> Page:
        """See `Stage`."""
        handle, page = await self._attach(), await self._page(clocks.CAMERA + init)
        await self._ask(handle, {"request": "create", "room": _ROOM, "publishers": 9, "videocodec": self._codec})
        joined = await self._ask(handle, {"request": "join", "ptype": "publisher", "room": _ROOM}, event=True)
        self._feed = joined["plugindata"]["data"]["id"]
        offer = {"type": "offer", "sdp": _unreachable(await page.evaluate("offer", self._codec))}
        published = await self._ask(handle, {"request": "publish", "audio": False}, offer, event=True)
        await page.evaluate("accept", self._behind_relay("camera", published["jsep"]["sdp"]))
        await until_true(page, "connection.connectionState === 'connected'")
        self.set("camera", line)
        return page

    async def viewer(self, name: str, line: Line) -> Page:
        """See `Stage`."""
        handle, page = await self._attach(), await self._page("")
        join = {"request": "join", "ptype": "subscriber", "room": _ROOM, "streams": [{"feed": self._feed}]}
        joined = await self._ask(handle, join, event=True)
        answer = await page.evaluate("answer", self._behind_relay(name, joined["jsep"]["sdp"]))
        jsep = {"type": "answer", "sdp": _unreachable(answer)}
        await self._ask(handle, {"request": "start"}, jsep, event=True)
        await until_true(page, "document.querySelector('video').videoWidth > 0", 30)
        await watch(page)
        self.set(name, line)
        return page

    def set(self, name: str, line: Line) -> None:
        """See `Stage`."""
        self._relays[name].set("client-0", line)

    def close(self) -> None:
        for relay in self._relays.values():
            relay.__exit__(None, None, None)

    def _behind_relay(self, name: str, sdp: str) -> str:
        """Janus's description with a new relay's address for its own."""
        match = _CANDIDATE.search(sdp)
        assert match, sdp
        relay = self._relays[name] = Relay(server=(match[2], int(match[3]))).__enter__()
        return _CANDIDATE.sub(rf"\1 {relay.host} {relay.port} typ host", sdp)

    async def _page(self, init: str) -> Page:
        page = await (await new_context(self._browser)).new_page()
        await page.route("**/*", lambda route: route.fulfill(body=_PAGE, content_type="text/html"))
        await page.add_init_script(init)
        await page.goto("http://localhost/")
        return page

    async def _attach(self) -> str:
        attached = await self._post(self._session, {"janus": "attach", "plugin": _PLUGIN})
        return f"{self._session}/{attached['data']['id']}"

    async def _ask(
        self, handle: str, body: dict[str, Any], jsep: dict[str, Any] | None = None, *, event: bool = False
    ) -> Any:
        message = {"janus": "message", "body": body} | ({"jsep": {**jsep, "trickle": False}} if jsep else {})
        reply = await self._post(handle, message)
        while (event and reply.get("transaction") != message["transaction"]) or reply["janus"] in ("ack", "keepalive"):
            async with self._http.get(self._session) as response:
                reply = await response.json(content_type=None)
        assert "error" not in reply.get("plugindata", {}).get("data", {}), reply
        return reply

    async def _post(self, path: str, message: dict[str, Any]) -> Any:
        message["transaction"] = f"t{next(self._transactions)}"
        async with self._http.post(path, json=message) as response:
            reply = await response.json(content_type=None)
        assert reply["janus"] != "error", reply
        return reply


@contextlib.asynccontextmanager
async def janus_stage(browser: Browser, directory: Path, *, codec: str) -> AsyncIterator[JanusStage]:
    """A Janus of its own, configured into `directory`, and its room."""
    url, process = await _started(directory)
    try:
        async with aiohttp.ClientSession(url) as http:
            async with http.post("/janus", json={"janus": "create", "transaction": "t0"}) as response:
                session = (await response.json(content_type=None))["data"]["id"]
            stage = JanusStage(browser, http, f"/janus/{session}", codec)
            try:
                yield stage
            finally:
                stage.close()
    finally:
        process.terminate()
        process.wait(10)


async def _started(directory: Path) -> tuple[str, subprocess.Popen[bytes]]:
    port = free_port()
    plugins = next(Path("/usr/lib").glob("*/janus/plugins"))
    (directory / "janus.jcfg").write_text(
        f'general: {{ plugins_folder = "{plugins}" transports_folder = "{plugins.parent}/transports" }}\n'
        f'nat: {{ ice_lite = false full_trickle = false ice_enforce_list = "{host_addresses()[0]}" }}\n'
        'plugins: { disable = "libjanus_audiobridge.so,libjanus_duktape.so,libjanus_echotest.so,libjanus_lua.so,'
        "libjanus_nosip.so,libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,libjanus_textroom.so,"
        'libjanus_videocall.so,libjanus_voicemail.so" }\n'
        'transports: { disable = "libjanus_websockets.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,'
        'libjanus_rabbitmq.so" }\n'
    )
    (directory / "janus.transport.http.jcfg").write_text(
        f'general: {{ base_path = "/janus" http = true port = {port} ip = "127.0.0.1" https = false }}\n'
    )
    (directory / f"{_PLUGIN}.jcfg").write_text("general: { }\n")
    with (directory / "janus.log").open("wb") as log:
        command = [need("janus"), "-F", str(directory), "-C", str(directory / "janus.jcfg")]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as http, asyncio.timeout(10):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(f"{url}/janus/info"):
                    return url, process
            await asyncio.sleep(0.05)


def _unreachable(sdp: str) -> str:
    """A client that Janus, which wants to know a candidate, can only hear through the relay."""
    without = re.sub(r"a=candidate:.*\r\n", "", sdp)
    return without.replace("a=ice-ufrag", "a=candidate:1 1 udp 2130706431 127.0.0.9 9 typ host\r\na=ice-ufrag")
