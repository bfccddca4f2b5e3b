"""Snapshots as users get them: a button over MQTT, a picture over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from tests.helpers.brokers import Mosquitto
from tests.helpers.file_camera import camera
from tests.helpers.media import jpeg_size, make_file
from tests.helpers.mqtt_client import mqtt_client
from tests.helpers.serving import serving
from tests.helpers.waiting import until


async def test_a_picture_over_mqtt_and_http(mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> None:
    url = mosquitto().url
    source = make_file(tmp_path / "source.mp4", audio=None, options={"bf": "0"})
    async with (
        mqtt_client(url) as home,
        serving(url, recording__dir=tmp_path / "recordings", recording__mode="off") as service,
        camera(url, "site/gate/pub/cam1", source),
        aiohttp.ClientSession() as client,
    ):
        await until(lambda: home.json("sfu/site/state").get("live"))
        home.publish("sfu/site/snapshot/set", "PRESS")
        await until(lambda: {"sfu/site/snapshot", "sfu/site/snapshot/url"} <= home.latest.keys())
        assert jpeg_size(home.latest["sfu/site/snapshot"]) == (320, 180)
        assert service.http is not None
        for address, status in (
            (home.latest["sfu/site/snapshot/url"].decode(), 200),
            (f"{service.http.url}api/rooms/site/gate/snapshot.jpg?peer=cam1", 200),
            (f"{service.http.url}api/rooms/site/snapshot.jpg?peer=cam2", 404),
            (f"{service.http.url}api/rooms/yard/snapshot.jpg", 404),
            (f"{service.http.url}api/rooms/bridge/snapshot.jpg", 404),
        ):
            async with client.get(address) as response:
                assert response.status == status, address
                if status == 200:
                    assert response.headers["Content-Type"] == "image/jpeg"
                    assert jpeg_size(await response.read()) == (320, 180)
                else:
                    code = "room_not_found" if "bridge" in urlsplit(address).path else "not_found"
                    assert (await response.json())["error"]["code"] == code
    async with mqtt_client(url) as home:
        await home.drained()
        assert "sfu/site/snapshot" not in home.retained
        assert "sfu/site/snapshot/url" in home.retained
