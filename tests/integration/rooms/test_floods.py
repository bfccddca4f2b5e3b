"""Floods of offers and commands: they end in refusals, and whoever is connected or joins a live room goes on."""

from __future__ import annotations

import itertools
import json
import logging
import random
from collections.abc import Callable

import pytest

from sfu.signaling.intake import Incoming
from tests.helpers.brokers import Mosquitto
from tests.helpers.mqtt_client import mqtt_client
from tests.helpers.offers import NAMES, offer
from tests.helpers.peers import publishing, watching
from tests.helpers.serving import serving
from tests.helpers.waiting import until

StartMosquitto = Callable[..., Mosquitto]
OFFERS = 1000


def message(peer: str, text: str) -> str:
    fields = {"command": "signal", "v": 2, "type": "offer", "session": f"session-{peer}"}
    return json.dumps(fields | {"clientid": peer, "data": text})


def junk(seed: int) -> str:
    """A real offer with some lines lost, doubled, cut or exchanged."""
    chance = random.Random(seed)
    lines = offer(chance.choice(NAMES)).split("\r\n")
    for _ in range(chance.randrange(1, 40)):
        at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        changed = chance.choice([[], [lines[at]] * 2, [lines[at][: chance.randrange(8)]], [lines[other]], ["\x00ä"]])
        lines[at : at + 1] = changed or [""]
    return "\r\n".join(lines)


async def test_a_thousand_junk_offers_leave_no_trace_and_a_good_one_is_answered(
    mosquitto: StartMosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    url = mosquitto().url
    async with serving(url) as service, mqtt_client(url, topics=()) as eve:
        for number in range(OFFERS):
            peer, role = f"eve{number}", ("pub", "view", "join")[number % 3]
            eve.publish(f"sfu/r{number % 50}/{role}/{peer}", message(peer, junk(number)))
            if number % 50 == 0:
                await eve.drained()
        await eve.drained()
        async with publishing(url, "front/pub/cam1") as camera, watching(url, "front/view/anna") as (viewer, _):
            await viewer.missed_nothing(camera, "v0", "a0")
        counters = service.server.counters
        assert counters["refused_internal"] == service.link.counters["handler_failed"] == 0
        assert counters["refused_bad_request"] > 0
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]


async def test_a_flood_of_offers_is_cut_and_those_in_a_live_room_do_not_wait(mosquitto: StartMosquitto) -> None:
    url, text = mosquitto().url, offer("chromium-view")
    async with serving(url) as service:
        counters = service.server.counters
        async with publishing(url, "front/pub/cam1") as camera:
            for number in itertools.count():
                payload = message(f"eve{number}", text).encode()
                service.inbox.receive(Incoming(f"sfu/r{number % 500}/view/eve{number}", payload))
                if counters["offers_refused"] == 200:
                    break
            assert counters["sessions"] < number < 5000
            assert counters["refused_rate_limited"] < 200, "a flood needs no answers"
            async with watching(url, "front/view/anna") as (viewer, _):
                await viewer.missed_nothing(camera, "v0", "a0")
                assert (viewer.sessions, viewer.downs) == (1, [])
        assert counters["refused_internal"] == 0
        await until(lambda: len(service.server.participants) <= 200)
