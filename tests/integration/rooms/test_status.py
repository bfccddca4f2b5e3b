"""`/api/rooms` and `/metrics` of a server at work: their figures for cameras, viewers and losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiohttp

from sfu.service import Service
from tests.helpers.brokers import Mosquitto
from tests.helpers.peers import publishing, watching
from tests.helpers.serving import serving
from tests.helpers.waiting import until

Start = Callable[..., Mosquitto]


async def rooms(service: Service) -> dict[str, Any]:
    assert service.http is not None
    async with aiohttp.ClientSession() as client, client.get(service.http.url + "api/rooms") as response:
        found: dict[str, Any] = await response.json()
        return found


async def metrics(service: Service) -> dict[str, float]:
    assert service.http is not None
    async with aiohttp.ClientSession() as client, client.get(service.http.url + "metrics") as response:
        lines = [line for line in (await response.text()).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_rooms_tell_of_their_cameras_and_viewers(mosquitto: Start) -> None:
    url = mosquitto().url
    async with (
        serving(url) as service,
        publishing(url, "front/pub/cam1") as source,
        watching(url, "front/view/anna") as (screen, _),
    ):
        await screen.missed_nothing(source, "v0", "a0")
        cameras = [it for it in service.server.participants.values() if it.uplink.tracks]
        await until(lambda: all(producer.bitrate for it in cameras for producer in it.uplink.producers))
        front = (await rooms(service))["front"]
        figures = await metrics(service)
    assert (front["live"], front["viewers"], [it["peer"] for it in front["producers"]]) == (True, 1, ["cam1"])
    camera, viewer = front["sessions"]
    assert (camera["peer"], camera["role"], camera["receives"]) == ("cam1", "pub", [])
    for track in camera["sends"]:
        (layer,) = track["layers"]
        assert track["flowing"]
        assert layer["rid"] is None
        assert layer["bitrate"] > 0
        assert layer["packets"] > 0
        assert (layer["lost"], layer["nacked"], layer["shown_in"]) == (0, 0, 1)
    assert (viewer["peer"], viewer["role"], viewer["sends"]) == ("anna", "view", [])
    assert 0 < viewer["connected_after"] < 30
    assert viewer["loss"] == 0
    for slot, kind in zip(viewer["receives"], ("video", "audio"), strict=True):
        assert (slot["kind"], slot["source"]["peer"], slot["layer"], slot["sparse"]) == (kind, "cam1", None, False)
        assert slot["packets"] > 0
        assert 0 <= slot["started_after"] < 30
    assert figures['sfu_room_bitrate{room="front"}'] > 0
    assert figures['sfu_room_slide_shows{room="front"}'] == 0
    assert not [name for name in figures if "anna" in name or "cam1" in name], "peers are not bounded"


async def test_what_was_repaired_is_remembered_when_its_session_is_over(mosquitto: Start) -> None:
    url = mosquitto().url
    async with serving(url) as service:
        async with publishing(url, "front/pub/cam1") as source, watching(url, "front/view/anna") as (screen, _):
            await screen.missed_nothing(source, "v0")
            viewer = next(it for it in service.server.participants.values() if it.downlink.slots)
            consumer = viewer.downlink.consumers[0]
            consumer.repairs.admit(range(7), 0.0)
            assert (await rooms(service))["front"]["sessions"][1]["receives"][0]["requests"] == 7
            assert (await metrics(service))['sfu_rtp_repairs_total{event="viewer_requests"}'] == 7
        await until(lambda: not service.server.participants)
        assert (await metrics(service))['sfu_rtp_repairs_total{event="viewer_requests"}'] == 7
        assert await rooms(service) == {}
