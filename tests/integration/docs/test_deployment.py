"""The rules that `sfu acl` prints, on a real Mosquitto: a camera and a person may do their part, and no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from tests.helpers.access_rules import ACCOUNTS, access_rules
from tests.helpers.brokers import Mosquitto
from tests.helpers.mqtt_client import mqtt_client
from tests.helpers.peers import publishing, watching
from tests.helpers.serving import serving
from tests.helpers.waiting import until


async def test_the_access_rules_let_a_camera_send_and_a_person_watch(mosquitto: Callable[..., Mosquitto]) -> None:
    broker = mosquitto(acl=access_rules(), passwords=dict.fromkeys(ACCOUNTS, "secret"))
    server, camera, ann = (replace(broker.url, username=user, password="secret") for user in ACCOUNTS)
    async with (
        serving(server, recording__mode="off") as service,
        publishing(camera, "frontdoor/pub/frontdoor-cam") as source,
        watching(ann, "frontdoor/view/anything") as (seen_by_ann, _),
        mqtt_client(ann, topics=("sfu/#",)) as eavesdropper,
    ):
        await seen_by_ann.receives(source)
        for topic in ("state", "availability", "recordings/state"):
            await until(lambda topic=topic: f"sfu/frontdoor/{topic}" in eavesdropper.latest)
        # a malformed offer: the server counts each one that the broker lets through, the last one only
        for leaf in ("pub/ann", "pub/frontdoor-cam", "join/ann", "view/ann"):
            eavesdropper.publish(f"sfu/frontdoor/{leaf}", '{"command":"signal","type":"offer"}')
        for topic in ("bridge/state", "frontdoor/state", "frontdoor/recordings/state"):
            eavesdropper.publish(f"sfu/{topic}", "forged")
        await until(lambda: service.server.counters["refused_bad_request"])
        assert service.server.counters["refused_bad_request"] == 1
        assert service.link.counters["publish_refused"] == service.link.counters["foreign_state"] == 0
    leaves = {topic for topic in eavesdropper.latest if re.search(r"/(pub|join)/", topic)}
    assert not leaves, "a person reads no camera's signalling"
    assert "ACL" not in broker.log.read_text(), "Mosquitto has nothing to say about the rules"


async def test_a_person_with_one_room_sees_it_and_its_sub_rooms_alone(mosquitto: Callable[..., Mosquitto]) -> None:
    rules = access_rules("site/gate/pub/gate-cam", rooms=("site",))
    broker = mosquitto(acl=rules, passwords=dict.fromkeys((*ACCOUNTS, "gate-cam"), "secret"))
    server, front, gate, ann = (
        replace(broker.url, username=user, password="secret") for user in ("sfu", "frontdoor-cam", "gate-cam", "ann")
    )
    async with (
        serving(server, recording__mode="on_demand") as service,
        publishing(front, "frontdoor/pub/frontdoor-cam"),
        publishing(gate, "site/gate/pub/gate-cam") as inner,
        watching(ann, "site/view/anything") as (seen, _),
        mqtt_client(ann, topics=("sfu/#",)) as eavesdropper,
    ):
        await seen.receives(inner)
        eavesdropper.publish("sfu/frontdoor/recordings/set", "ON")
        eavesdropper.publish("sfu/frontdoor/view/ann", '{"command":"signal","type":"offer"}')
        eavesdropper.publish("sfu/site/gate/view/ann", '{"command":"signal","type":"offer"}')
        eavesdropper.publish("sfu/site/gate/recordings/set", "ON")
        for room in ("site", "site/gate"):
            await until(lambda room=room: f"sfu/{room}/state" in eavesdropper.latest)
        await until(lambda: eavesdropper.latest.get("sfu/site/gate/recordings/state") == b"ON")
        assert service.server.counters["refused_bad_request"] == 1
    assert not {topic for topic in eavesdropper.latest if topic.startswith("sfu/frontdoor")}
