"""A server as started by somebody who read no manual, on a broker where everybody may write: as processes."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.helpers.brokers import Mosquitto
from tests.helpers.media import make_file
from tests.helpers.mqtt_client import mqtt_client
from tests.helpers.server_process import Process, command, sfu
from tests.helpers.waiting import until

pytestmark = pytest.mark.usefixtures("access_on")

Start = Callable[..., Mosquitto]
PRIVATE = (b"v=0", b"ice-pwd", b"fingerprint", b"candidate", b'"token"')


@pytest.fixture
def video(tmp_path: Path) -> str:
    options = {"bf": "0", "profile": "baseline", "tune": "zerolatency"}
    return str(make_file(tmp_path / "camera.mp4", options=options, seconds=1))


@asynccontextmanager
async def serving(broker: Mosquitto, state: Path) -> AsyncIterator[Process]:
    async with sfu("--broker", str(broker.url), SFU_STATE=str(state)) as server:
        await until(lambda: "serving" in server.log)
        yield server


@asynccontextmanager
async def publishing(broker: Mosquitto, state: Path, source: str, *arguments: str) -> AsyncIterator[Process]:
    at = ("--loop", "--id", "cam-1", "--broker", str(broker.url))
    async with command("publish", "frontdoor", source, *at, *arguments, SFU_STATE=str(state)) as camera:
        yield camera


async def watched(broker: Mosquitto, state: Path, seconds: int = 2, **variables: str) -> tuple[int, int]:
    """Views the room; returns the packets that arrived, and the sessions that it took."""
    arguments = ("--seconds", str(seconds), "--json", "--broker", str(broker.url))
    async with command("view", "frontdoor", *arguments, SFU_STATE=str(state), **variables) as viewer:
        assert await viewer.ended() == 0, viewer.log
    figures = json.loads(viewer.log.splitlines()[-1])
    return figures["slots"][0]["packets"], figures["sessions"]


async def made_token(state: Path, *arguments: str) -> str:
    async with command("token", "frontdoor", *arguments, SFU_STATE=str(state)) as making:
        assert await making.ended() == 0, making.log
    return next(word for word in making.log.split() if word.count(".") == 2 and len(word) > 100)


async def test_on_the_servers_machine_nothing_is_typed_and_the_broker_learns_nothing(
    mosquitto: Start, tmp_path: Path, video: str
) -> None:
    broker = mosquitto()
    async with mqtt_client(broker.url) as stranger, serving(broker, tmp_path):
        async with publishing(broker, tmp_path, video) as camera:
            await until(lambda: "connected" in camera.log)
            packets, _ = await watched(broker, tmp_path)
        await stranger.drained()
    assert packets > 10
    heard = b"".join(message.payload for message in stranger.messages or ())
    assert b'"sealed"' in heard
    assert [word for word in PRIVATE if word in heard] == []


async def test_elsewhere_a_camera_is_refused_with_the_way_out_and_a_sealed_token_is_one(
    mosquitto: Start, tmp_path: Path, video: str
) -> None:
    broker, here, elsewhere = mosquitto(), tmp_path / "here", tmp_path / "elsewhere"
    async with serving(broker, here):
        async with publishing(broker, elsewhere, video) as refused:
            assert await refused.ended() == 1
        assert "sfu token frontdoor --role publish --sub cam-1 --sealed" in refused.log
        kept = tmp_path / "token"
        kept.write_text(await made_token(here, "--role", "publish", "--sub", "cam-1", "--sealed"))
        token = await made_token(here, "--role", "view", "--sub", "ann", "--sealed")
        async with publishing(broker, elsewhere, video, "--token", f"@{kept}") as camera:
            await until(lambda: "connected" in camera.log)
            packets, _ = await watched(broker, elsewhere, SFU_TOKEN=token)
    assert packets > 10


async def test_strangers_neither_end_nor_take_nor_blind_a_camera(mosquitto: Start, tmp_path: Path, video: str) -> None:
    """The attacks H1 and M1 of the assessment: a forged end, a second server, a camera's id, a switch, a boot id."""
    broker, here, elsewhere = mosquitto(), tmp_path / "here", tmp_path / "elsewhere"
    async with serving(broker, here) as server, publishing(broker, here, video) as camera:
        await until(lambda: "connected" in camera.log)
        async with mqtt_client(broker.url) as stranger, serving(broker, elsewhere) as impostor:
            end = {"command": "signal", "clientid": "x", "type": "bye", "data": {"reason": "replaced"}}
            stranger.publish("sfu/frontdoor/pub/cam-1", json.dumps(end))
            stranger.publish("sfu/bridge/info", json.dumps({"v": 2, "clientid": "x", "boot": "f" * 16}))
            stranger.publish("sfu/frontdoor/recordings/set", "ON")
            async with publishing(broker, tmp_path / "third", video) as taken:
                assert await taken.ended() == 1
            packets, sessions = await watched(broker, here, seconds=5)
        assert "session" not in impostor.log
    assert (packets > 10, sessions) == (True, 1)
    assert camera.log.count("connected") == 1
    assert server.log.count("frontdoor/pub/cam-1: session") == 1
    assert "recording" not in server.log.replace("recordings", "")


async def test_http_shows_a_stranger_nothing_and_the_printed_link_opens_it_once(
    mosquitto: Start, tmp_path: Path
) -> None:
    jar = aiohttp.CookieJar(unsafe=True)  # takes cookies of addresses, as browsers do
    async with serving(mosquitto(), tmp_path) as server, aiohttp.ClientSession(cookie_jar=jar) as browser:
        page = (re.search(r"page (http://\S+/)", server.log) or [""])[1]
        for path in ("config.json", "api/rooms", "api/recordings", "metrics", "api/rooms/frontdoor/snapshot.jpg"):
            async with browser.get(page + path, headers={"Remote-User": "owner"}) as answer:
                assert answer.status == 401, path
        async with browser.get(page, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "login")
        once = (tmp_path / "once").read_text().strip().partition("#once=")[2]
        for status in (200, 401):
            async with browser.post(f"{page}login", json={"once": once}) as answer:
                assert answer.status == status
        async with browser.get(f"{page}api/rooms") as answer:
            assert answer.status == 200
    assert once not in server.log
