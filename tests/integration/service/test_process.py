"""`sfu serve` as a process: how it starts, how it ends, and what it leaves behind however it ended."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from sfu.cli import app
from sfu.signaling.bodies import Bye
from tests.helpers.brokers import Mosquitto
from tests.helpers.mqtt_client import mqtt_client, retained_messages
from tests.helpers.peers import publishing, watching
from tests.helpers.raw_peer import raw_peer
from tests.helpers.server_process import sfu
from tests.helpers.serving import serving
from tests.helpers.waiting import until

StartMosquitto = Callable[..., Mosquitto]


async def test_sigterm_tells_viewers_leaves_an_honest_room_and_exits_with_0(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    async with mqtt_client(url) as home, sfu("--broker", str(url)) as process:
        await until(lambda: home.latest.get("sfu/bridge/state") == b"online")
        async with publishing(url, "front/pub/cam1"), raw_peer(home, "front/view/anna") as anna:
            await anna.connect()
            await until(lambda: home.latest.get("sfu/front/availability") == b"online")
            process.signal(signal.SIGTERM)
            assert await process.ended() == 0
            await until(lambda: Bye("shutting_down") in anna.messages)
            retained = await retained_messages(url)
    assert retained["sfu/bridge/state"] == b"offline"
    assert retained["sfu/front/availability"] == b"offline"
    assert retained["sfu/front/viewers"] == b"0"
    assert json.loads(retained["sfu/front/state"]) == {
        "v": 2,
        "live": False,
        "producers": [],
        "viewers": 0,
        "recording": False,
    }


async def test_a_second_sigterm_ends_it_at_once(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    async with mqtt_client(broker.url) as home, sfu("--broker", str(broker.url)) as process:
        await until(lambda: home.latest.get("sfu/bridge/state") == b"online")
        broker.freeze()  # the farewell cannot be said: a graceful end takes its time
        while process.lives:  # two that come together are one to the kernel
            process.signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
        assert await process.ended() == 1


async def test_sigterm_ends_it_in_time_though_the_broker_does_not_answer(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    async with mqtt_client(broker.url) as home, sfu("--broker", str(broker.url)) as process:
        await until(lambda: home.latest.get("sfu/bridge/state") == b"online")
        broker.freeze()
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0


async def test_a_bad_setting_is_said_in_one_line_and_exits_with_2() -> None:
    async with sfu("--set", "media.port=70000") as process:
        assert await process.ended() == 2
        assert len(process.log.strip().splitlines()) == 1, process.log
        assert "media.port" in process.log


@pytest.mark.parametrize(
    "arguments",
    [
        ("--set", "media.colour=blue"),
        ("--broker", "http://127.0.0.1"),
        ("--base", "a//b"),
        ("--config", "/nonexistent/sfu.toml"),
    ],
    ids=lambda arguments: arguments[1],
)
def test_every_bad_setting_is_said_in_one_line(arguments: tuple[str, ...]) -> None:
    ended = CliRunner().invoke(app, ["serve", "--http", "127.0.0.1:0", *arguments])
    assert ended.exit_code == 2
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    assert "Traceback" not in ended.output


async def test_a_broker_that_is_not_there_yet_is_waited_for(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    broker.kill()
    async with sfu("--broker", str(broker.url)) as process:
        await until(lambda: "cannot connect to broker" in process.log)
        broker.restart()
        async with mqtt_client(broker.url) as home:
            await until(lambda: home.latest.get("sfu/bridge/state") == b"online")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0


async def test_what_a_killed_server_left_behind_is_put_right_by_the_next(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    async with mqtt_client(url) as home, publishing(url, "site/gate/pub/cam1") as camera:
        async with (
            sfu("--broker", str(url)) as process,
            raw_peer(home, "hall/view/bert") as bert,
            watching(url, "site/gate/view/anna"),
        ):
            await bert.connect()
            await until(lambda: home.latest.get("sfu/site/gate/viewers") == b"1")
            await until(lambda: home.latest.get("sfu/hall/viewers") == b"1")
            process.signal(signal.SIGKILL)
            await process.ended()
        await until(lambda: home.latest["sfu/bridge/state"] == b"offline")  # its last will
        assert (await retained_messages(url))["sfu/site/gate/availability"] == b"online"
        async with serving(url):
            await until(lambda: home.latest["sfu/hall/viewers"] == b"0")
            await until(lambda: home.latest["sfu/site/gate/viewers"] == b"0")
            assert not home.json("sfu/hall/state")["live"]
            async with watching(url, "site/view/anna") as (viewer, _):
                await viewer.receives(camera)  # the camera notices a new server and comes back
                await until(lambda: home.latest["sfu/site/gate/availability"] == b"online")
