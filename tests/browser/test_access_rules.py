"""The page in front of a broker with accounts and the access rules of docs/deployment.md: it needs none of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from playwright.async_api import Browser

from sfu.clients.publish import Camera
from tests.helpers.access_rules import ACCOUNTS, access_rules
from tests.helpers.brokers import Mosquitto
from tests.helpers.browser.cameras import Painted, on_air
from tests.helpers.browser.pages import opened, until_live
from tests.helpers.mqtt_client import mqtt_client
from tests.helpers.serving import serving
from tests.helpers.waiting import until

StartMosquitto = Callable[..., Mosquitto]


async def test_a_page_plays_and_a_person_records_with_the_documented_rules(
    chromium: Browser, mosquitto: StartMosquitto
) -> None:
    rules = access_rules("site/gate/pub/gate-cam")
    broker = mosquitto(acl=rules, passwords=dict.fromkeys((*ACCOUNTS, "gate-cam"), "secret"))
    server, front, gate = (
        replace(broker.url, username=user, password="secret") for user in ("sfu", "frontdoor-cam", "gate-cam")
    )
    async with (
        serving(server, recording__mode="on_demand") as service,
        on_air(service, "frontdoor", "frontdoor-cam", Camera(Painted()), broker=front),
    ):
        page = await opened(chromium, service, "#frontdoor")
        await until_live(page, "frontdoor/frontdoor-cam")
        async with on_air(service, "site/gate", "gate-cam", Camera(Painted()), broker=gate):
            inner = await opened(chromium, service, "#site/gate")
            await until_live(inner, "site/gate/gate-cam")
        ann = replace(broker.url, username="ann", password="secret")
        async with mqtt_client(ann, topics=("sfu/+/recordings/state",)) as switch:
            switch.publish("sfu/frontdoor/recordings/set", "ON")
            await until(lambda: switch.latest.get("sfu/frontdoor/recordings/state") == b"ON")
