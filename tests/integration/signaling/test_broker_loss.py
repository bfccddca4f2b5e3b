"""The broker dies under a running picture: nothing of it may show, and afterwards the world hears the truth again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from tests.helpers.brokers import Mosquitto
from tests.helpers.mqtt_client import mqtt_client, retained_messages
from tests.helpers.peers import publishing, watching
from tests.helpers.serving import serving
from tests.helpers.waiting import until

AWAY_S = 20.0 if os.environ.get("CI") == "true" else 3.0
PATIENCE_S = 60.0  # back-off has grown while the broker was away


async def test_not_one_packet_is_lost_while_the_broker_is_away(mosquitto: Callable[..., Mosquitto]) -> None:
    broker = mosquitto()
    url = broker.url
    async with (
        serving(url) as service,
        publishing(url, "front/pub/cam1") as camera,
        watching(url, "front/view/anna") as (viewer, _),
    ):
        await viewer.missed_nothing(camera, "v0", "a0")
        begun = service.server.counters["sessions"]
        broker.kill()
        await until(lambda: not service.link.connected)
        await asyncio.sleep(AWAY_S)  # the loss itself is what is tested
        await viewer.missed_nothing(camera, "v0", "a0")
        broker.restart()
        assert not await retained_messages(url)
        await service.link.wait_connected(PATIENCE_S)
        async with mqtt_client(url) as home, watching(url, "front/view/bert") as (late, _):
            await late.missed_nothing(camera, "v0", "a0")
            await until(lambda: home.json("sfu/front/state").get("viewers") == 2, PATIENCE_S)
            state = home.json("sfu/front/state")
            assert state["live"]
            assert [entry["peer"] for entry in state["producers"]] == ["cam1"]
            await until(lambda: home.latest.get("sfu/front/availability") == b"online")
            await until(lambda: home.latest.get("sfu/front/viewers") == b"2")
            await until(lambda: home.latest.get("sfu/bridge/state") == b"online")
            await until(lambda: home.json("sfu/bridge/info").get("clientid") == service.clientid)
        await viewer.missed_nothing(camera, "v0", "a0")
        assert service.server.counters["sessions"] == begun + 1
        assert (viewer.sessions, viewer.downs) == (1, [])


async def test_what_ended_while_the_broker_was_away_is_told_when_it_is_back(
    mosquitto: Callable[..., Mosquitto],
) -> None:
    broker = mosquitto()
    url = broker.url
    async with serving(url) as service:
        async with mqtt_client(url) as home, publishing(url, "front/pub/cam1"), watching(url, "front/view/anna"):
            await until(lambda: home.latest.get("sfu/front/availability") == b"online")
            broker.kill()
            await until(lambda: not service.link.connected)
        await until(lambda: not service.server.participants)
        broker.restart()
        async with mqtt_client(url) as home:
            await until(lambda: home.latest.get("sfu/bridge/state") == b"online", PATIENCE_S)
            await until(lambda: home.latest.get("sfu/front/availability") == b"offline")
            await until(lambda: home.latest.get("sfu/front/viewers") == b"0")
