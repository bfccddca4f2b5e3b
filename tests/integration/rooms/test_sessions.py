"""Sessions word by word: offers repeated and renewed, places that are taken, limits that are reached."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription

from sfu.signaling.bodies import MAX_PAYLOAD_BYTES, Bye, ErrorCode, ErrorNotice
from tests.helpers.brokers import Mosquitto
from tests.helpers.mqtt_client import mqtt_client
from tests.helpers.peers import PeerCamera, PeerViewer, publishing, watching, window_sections
from tests.helpers.raw_peer import RawPeer, raw_peer
from tests.helpers.serving import serving
from tests.helpers.waiting import until

StartMosquitto = Callable[..., Mosquitto]


def notices(caller: RawPeer) -> list[ErrorNotice]:
    return [body for body in caller.messages if isinstance(body, ErrorNotice)]


async def refused(caller: RawPeer, code: ErrorCode) -> ErrorNotice:
    """Offers, and returns the error that must come instead of an answer."""
    caller.send("offer", await caller.make_offer())
    await until(lambda: caller.errors)
    assert caller.errors == [code]
    assert not caller.answers
    return notices(caller)[0]


async def test_a_peer_that_waits_for_the_dtls_hello_connects_and_may_renew_its_offer(
    mosquitto: StartMosquitto,
) -> None:
    url = mosquitto().url
    base = {"command": "signal", "clientid": "waiter", "session": "0123456789", "v": 2, "type": "offer"}
    async with serving(url), publishing(url, "front/pub/cam1"), mqtt_client(url) as wire:
        peer = RTCPeerConnection()
        answers: list[str] = []

        def take(payload: bytes) -> None:
            message = json.loads(payload)
            if message["type"] == "answer":
                answers.append(message["data"])

        wire.listeners["sfu/front/view/waiter"] = take
        tracks: list[MediaStreamTrack] = []
        peer.on("track", tracks.append)
        peer.addTransceiver("video", direction="recvonly")
        for count in (1, 2):
            await peer.setLocalDescription(await peer.createOffer())
            passive = peer.localDescription.sdp.replace(
                "a=setup:actpass", "a=setup:passive" if count == 1 else "a=setup:actpass"
            )
            wire.publish("sfu/front/view/waiter", json.dumps(base | {"data": passive}))
            await until(lambda count=count: len(answers) == count)
            assert "a=setup:active" in answers[-1]
            await peer.setRemoteDescription(RTCSessionDescription(answers[-1], "answer"))
            await until(lambda: peer.connectionState == "connected")
            peer.addTransceiver("audio", direction="recvonly")
        assert tracks
        await peer.close()


async def test_a_re_offer_adds_and_removes_windows_and_leaves_the_others_running(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    viewer = PeerViewer()
    async with (
        serving(url),
        mqtt_client(url) as home,
        publishing(url, "front/pub/cam1") as first,
        raw_peer(home, "front/view/anna", viewer) as anna,
    ):
        await anna.connect()
        await viewer.receives(first)
        ssrcs = {section.mid: section.ssrcs for section in viewer.answer.sections} if viewer.answer else {}
        async with publishing(url, "front/pub/cam2") as second:
            await anna.connect([*window_sections(0), *window_sections(1)])
            assert viewer.answer is not None
            assert {section.mid: section.ssrcs for section in viewer.answer.sections}.items() >= ssrcs.items()
            await viewer.missed_nothing(second, "v1", "a1")
            await viewer.missed_nothing(first, "v0", "a0")
            await anna.connect(window_sections(0))
            await until(lambda: set(viewer.slots) == {"v0", "a0"})
            silent = len(viewer.received["v1"])
            await viewer.missed_nothing(first, "v0", "a0")
            assert len(viewer.received["v1"]) == silent
        assert not anna.closed


async def test_a_camera_s_re_offer_may_add_and_drop_sound(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    source = PeerCamera()
    async with (
        serving(url) as service,
        mqtt_client(url) as home,
        watching(url, "front/view/anna") as (viewer, _),
        raw_peer(home, "front/pub/cam1", source, sections=source.sections[:1]) as camera,
    ):
        await camera.connect()
        sending = asyncio.create_task(source.send_forever(camera))
        await viewer.missed_nothing(source)
        await viewer.shows(None, "a0")
        await camera.connect(source.sections)
        await viewer.missed_nothing(source, "v0", "a0")
        await camera.connect(source.sections[:1])
        await viewer.shows(None, "a0")
        await viewer.missed_nothing(source, "v0")
        sending.cancel()
        assert service.server.counters["sessions"] == 2


async def test_the_same_offer_again_gets_the_same_answer_again(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    async with serving(url) as service, mqtt_client(url) as home, raw_peer(home, "front/view/anna") as anna:
        await anna.connect()
        for _ in range(4):
            anna.send("offer", anna.offer)
        await until(lambda: len(anna.answers) == 5)
        assert len(set(anna.answers)) == 1
        assert anna.up
        assert service.server.counters["sessions"] == 1


async def test_viewers_of_a_camera_that_stands_still_hear_that_the_way_to_us_lives(
    mosquitto: StartMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By which the page tells a dead way, after 0.6 s, from a quiet one."""
    url = mosquitto().url
    source, viewer, heard = PeerCamera("video"), PeerViewer(), list[float]()
    clock = asyncio.get_running_loop().time
    async with (
        serving(url),
        mqtt_client(url) as home,
        raw_peer(home, "front/pub/cam1", source) as camera,
        raw_peer(home, "front/view/anna", viewer) as anna,
    ):
        await camera.connect()
        await anna.connect()

        def seen() -> bool:
            source.send_burst(camera)
            return bool(viewer.received["v0"])

        await until(seen)
        monkeypatch.setattr(viewer, "on_rtcp", lambda _: heard.append(clock()))
        since = clock()
        await until(lambda: len(heard) >= 4)
    assert max(later - earlier for earlier, later in itertools.pairwise([since, *heard[:4]])) < 1.0


async def test_a_newer_session_on_a_leaf_replaces_the_older_which_is_told(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    async with serving(url) as service, mqtt_client(url) as home, mqtt_client(url) as phone:
        async with raw_peer(home, "front/view/anna") as old, raw_peer(phone, "front/view/anna") as new:
            await old.connect()
            await new.connect()
            await until(lambda: Bye("replaced") in old.messages)
            await until(lambda: old.closed == ["dtls"])
            assert new.up
            assert len(service.server.participants) == 1
        await until(lambda: not service.server.participants)  # nobody said bye: DTLS did


@pytest.mark.parametrize("role", ["pub", "join"])
async def test_reject_keeps_who_is_there_and_tells_who_comes(mosquitto: StartMosquitto, role: str) -> None:
    url = mosquitto().url
    source = PeerCamera()
    async with (
        serving(url, same_peer="reject"),
        mqtt_client(url) as home,
        watching(url, "front/view/anna") as (viewer, _),
        publishing(url, "front/pub/cam1") as first,
        mqtt_client(url) as stranger,
        raw_peer(stranger, f"front/{role}/cam1", source) as second,
    ):
        await viewer.receives(first)
        await refused(second, ErrorCode.PRODUCER_EXISTS)
        await viewer.missed_nothing(first)
        await until(lambda: [it["peer"] for it in home.json("sfu/front/state").get("producers", ())] == ["cam1"])


@pytest.mark.parametrize(
    ("limit", "leaves"),
    [
        ({"limits__viewers_per_room": 1}, ("front/view/anna", "front/view/bert")),
        ({"limits__producers_per_room": 1}, ("front/pub/cam1", "front/pub/cam2")),
        ({"limits__rooms": 1}, ("front/view/anna", "back/view/bert")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_beyond_a_limit_the_next_is_told_until_there_is_room(
    mosquitto: StartMosquitto, limit: dict[str, Any], leaves: tuple[str, str]
) -> None:
    url = mosquitto().url
    players = [PeerCamera() if "/pub/" in leaf else PeerViewer() for leaf in leaves]
    async with (
        serving(url, **limit) as service,
        mqtt_client(url) as home,
        raw_peer(home, leaves[0], players[0]) as first,
        raw_peer(home, leaves[1], players[1]) as second,
    ):
        await first.connect()
        await refused(second, ErrorCode.LIMIT)
        assert first.up
        await until(lambda: service.port.listener_count == 1)  # the refused one's agent has left the port
        first.send("bye", {})
        await until(lambda: not service.server.participants)
        second.messages.clear()
        await second.connect()


async def test_too_many_messages_are_refused_once_with_a_time_to_come_back(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    async with (
        serving(url, limits__messages=10) as service,
        mqtt_client(url) as home,
        publishing(url, "front/pub/cam1") as source,
        watching(url, "front/view/bert") as (viewer, _),
        raw_peer(home, "front/view/anna") as anna,
    ):
        for _ in range(40):
            anna.send("select", {"mid": "v0", "peer": "cam1"})
        await until(lambda: service.server.counters["rate_limited"] == 30)
        await home.drained()
        (notice,) = notices(anna)
        assert notice.code is ErrorCode.RATE_LIMITED
        assert notice.retry_after is not None
        assert 0 < notice.retry_after <= 10
        await viewer.missed_nothing(source)


async def test_a_message_of_64_KiB_is_read_and_one_byte_more_refused(mosquitto: StartMosquitto) -> None:  # noqa: N802
    url = mosquitto().url
    async with serving(url) as service, mqtt_client(url) as home, raw_peer(home, "front/view/anna") as anna:
        offer = {"command": "signal", "clientid": "anna", "type": "offer", "session": anna.session, "v": 2}
        text = json.dumps(offer | {"data": await anna.make_offer()})
        home.publish(anna.topic, text.ljust(MAX_PAYLOAD_BYTES))
        await until(lambda: anna.answers)
        home.publish(anna.topic, text.ljust(MAX_PAYLOAD_BYTES + 1))
        await until(lambda: anna.errors == [ErrorCode.TOO_LARGE])
        assert len(service.server.participants) == 1
