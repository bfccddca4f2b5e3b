"""The page on a broker with accounts: with the access rules of docs/deployment.md, and with too few rights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from playwright.async_api import Browser, Page, expect

from sfu.clients.publish import Camera
from sfu.service import Service
from tests.helpers.access_rules import ACCOUNTS, access_rules
from tests.helpers.brokers import Mosquitto
from tests.helpers.browser.cameras import Painted, on_air
from tests.helpers.browser.pages import opened, until_live
from tests.helpers.mqtt_client import mqtt_client
from tests.helpers.serving import serving
from tests.helpers.waiting import until

StartMosquitto = Callable[..., Mosquitto]


async def signed_in(chromium: Browser, service: Service, room: str) -> Page:
    page = await opened(chromium, service, f"#{room}")
    await page.get_by_label("User").fill("ann")
    await page.get_by_label("Password").fill("secret")
    await page.get_by_role("button", name="Sign in").click()
    return page


async def test_a_person_watches_and_records_with_the_documented_rules(
    chromium: Browser, mosquitto: StartMosquitto
) -> None:
    rules = access_rules() + "\nuser gate-cam\ntopic readwrite sfu/site/gate/pub/gate-cam\ntopic read sfu/bridge/+\n"
    broker = mosquitto(acl=rules, passwords=dict.fromkeys((*ACCOUNTS, "gate-cam"), "secret"))
    server, front, gate = (
        replace(broker.url, username=user, password="secret") for user in ("sfu", "frontdoor-cam", "gate-cam")
    )
    async with (
        serving(server, recording__mode="on_demand") as service,
        on_air(service, "frontdoor", "frontdoor-cam", Camera(Painted()), broker=front),
    ):
        page = await signed_in(chromium, service, "frontdoor")
        await until_live(page, "frontdoor/frontdoor-cam")
        async with on_air(service, "site/gate", "gate-cam", Camera(Painted()), broker=gate):
            inner = await signed_in(chromium, service, "site/gate")
            await until_live(inner, "site/gate/gate-cam")
        ann = replace(broker.url, username="ann", password="secret")
        async with mqtt_client(ann, topics=("sfu/+/recordings/state",)) as switch:
            switch.publish("sfu/frontdoor/recordings/set", "ON")
            await until(lambda: switch.latest.get("sfu/frontdoor/recordings/state") == b"ON")


async def test_a_page_without_an_answer_asks_for_rights(chromium: Browser, mosquitto: StartMosquitto) -> None:
    """The account may read the state of rooms, but not write on the page's leaf."""
    rules = "user sfu\ntopic readwrite sfu/#\nuser ann\ntopic read sfu/bridge/+\ntopic read sfu/+/state\n"
    broker = mosquitto(acl=rules, passwords=dict.fromkeys(ACCOUNTS, "secret"))
    server = replace(broker.url, username="sfu", password="secret")
    async with serving(server) as service, on_air(service, "frontdoor", "frontdoor-cam", Camera(Painted())):
        page = await signed_in(chromium, service, "frontdoor")
        await expect(page.get_by_text("No answer from the server")).to_be_visible()
        await expect(page.get_by_text("May this account watch or publish here?")).to_be_visible()
