"""The page in a real Chromium through the door: in front of each kind of broker it finds the camera and plays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser

from sfu import settings
from sfu.clients.publish import Camera
from sfu.service import Service
from tests.helpers.brokers import Mosquitto, free_port
from tests.helpers.browser.cameras import Painted, on_air
from tests.helpers.browser.pages import opened, until_live
from tests.helpers.serving import serving


async def plays(chromium: Browser, service: Service) -> None:
    async with on_air(service, "hall", "one", Camera(Painted())):
        viewer = await opened(chromium, service, "#hall")
        await until_live(viewer, "hall/one")


@pytest.mark.parametrize("websocket", [False, True])
async def test_the_page_plays_in_front_of_mosquitto(
    chromium: Browser, mosquitto: Callable[..., Mosquitto], websocket: bool
) -> None:
    broker = mosquitto(websocket=websocket)
    async with serving(broker.websocket_url if websocket else broker.url) as service:
        await plays(chromium, service)


async def test_the_page_plays_in_front_of_the_embedded_broker(chromium: Browser) -> None:
    chosen = {
        "embedded_port": free_port(),
        "http": "127.0.0.1:0",
        "media.port": 0,
        "media.bind": "127.0.0.1",
        "media.announce": "127.0.0.1",
        "recording.mode": "off",
    }
    async with Service(settings.load(command_line=chosen, secrets=Path("/nonexistent"))) as service:
        await plays(chromium, service)
