"""Our own clients while strangers write on their topics: anybody on a broker without access rules can."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest

from sfu.clients import attempt as attempts
from sfu.rtc.sdp.description import Local
from sfu.rtc.sdp.write import write_offer
from sfu.signaling.topics import Leaf
from tests.helpers.brokers import Mosquitto
from tests.helpers.mqtt_client import mqtt_client
from tests.helpers.peers import publishing, watching
from tests.helpers.server_process import sfu
from tests.helpers.serving import serving
from tests.helpers.waiting import until

Start = Callable[..., Mosquitto]
LEAF = "yard/view/wall"


def word(kind: str, data: object, **fields: object) -> str:
    return json.dumps({"command": "signal", "clientid": "x", "type": kind, "data": data} | fields)


async def test_a_viewer_heeds_no_message_without_its_session(mosquitto: Start) -> None:
    broker = mosquitto()
    async with (
        serving(broker.url) as service,
        mqtt_client(broker.url) as stranger,
        publishing(broker.url, "yard/pub/cam") as camera,
        watching(broker.url, LEAF) as (viewer, peer),
    ):
        await viewer.receives(camera, "v0")
        for session in ({}, {"session": "another-session"}):
            for reason in ("replaced", "shutting_down"):
                stranger.publish(f"sfu/{LEAF}", word("bye", {"reason": reason}, **session))
            for code in ("unauthorized", "bad_request", "internal"):
                stranger.publish(f"sfu/{LEAF}", word("error", {"code": code, "message": ""}, **session))
            stranger.publish(f"sfu/{LEAF}", word("tracks", {"slots": []}, **session))
        await stranger.drained()
        await viewer.missed_nothing(camera)
        assert peer.up
        assert (viewer.sessions, viewer.downs, viewer.error) == (1, [], None)
        assert service.server.counters["sessions"] == 2


async def test_a_session_whose_media_flows_outlives_forged_boot_ids_and_answers(mosquitto: Start) -> None:
    """A second server of somebody else on the same base writes its own boot id, and answers our offers."""
    broker = mosquitto()
    async with (
        serving(broker.url) as service,
        mqtt_client(broker.url) as stranger,
        publishing(broker.url, "yard/pub/cam") as camera,
        watching(broker.url, LEAF) as (viewer, peer),
    ):
        await viewer.receives(camera, "v0")
        participant = service.server.participants[Leaf.parse(LEAF)]
        local = Local("ufrag", "p" * 24, ":".join(["AB"] * 32), (), True)
        rogue = write_offer(viewer.sections, local, session_id=1, version=1)
        for boot in ("one", "two"):
            stranger.publish("sfu/bridge/info", json.dumps({"boot": boot}))
            peer.offer(viewer.sections)
            stranger.publish(f"sfu/{LEAF}", word("answer", rogue, session=participant.session))
            await viewer.receives(camera, "v0", ahead=250)  # 2.5 s of media, longer than any doubt
        await viewer.missed_nothing(camera)
        assert (viewer.sessions, viewer.downs) == (1, [])
        assert service.server.participants[Leaf.parse(LEAF)] is participant


async def test_a_session_of_a_server_that_is_gone_ends_when_another_boot_id_is_heard(mosquitto: Start) -> None:
    broker = mosquitto()
    async with sfu("--broker", str(broker.url)) as killed, watching(broker.url, LEAF) as (viewer, _):
        killed.signal(signal.SIGKILL)
        await killed.ended()
        async with serving(broker.url):
            await until(lambda: viewer.sessions == 2)
    assert viewer.downs[0] == "the server has restarted"


async def test_who_is_replaced_comes_back_much_later(mosquitto: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = mosquitto()
    monkeypatch.setattr(attempts, "REPLACED_S", (0.5, 0.6))
    async with (
        serving(broker.url),
        watching(broker.url, LEAF) as (first, _),
        watching(broker.url, LEAF) as (second, _),
    ):
        await until(lambda: first.sessions == 2)
        assert "another peer uses this id now; trying again in" in first.downs[0]
        assert first.error is None
        await until(lambda: second.downs)
