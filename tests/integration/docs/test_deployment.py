"""The access rules in docs/deployment.md on a real Mosquitto: a camera and a viewer may do their part, and no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.helpers.brokers import Mosquitto
from tests.helpers.mqtt_client import mqtt_client
from tests.helpers.peers import publishing, watching
from tests.helpers.serving import serving
from tests.helpers.waiting import until

PAGE = Path(__file__).parents[3] / "docs" / "deployment.md"
USERS = ("sfu", "frontdoor-cam", "ann")


async def test_the_access_rules_let_a_camera_send_and_a_viewer_watch(mosquitto: Callable[..., Mosquitto]) -> None:
    rules = re.search(r"```\n(user sfu\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert rules is not None
    broker = mosquitto(acl=rules[1], passwords=dict.fromkeys(USERS, "secret"))
    server, camera, viewer = (replace(broker.url, username=user, password="secret") for user in USERS)
    async with (
        serving(server, recording__mode="off") as service,
        publishing(camera, "frontdoor/pub/frontdoor-cam") as source,
        watching(viewer, "frontdoor/view/ann") as (seen_by_ann, _),
        mqtt_client(viewer, topics=("sfu/#",)) as eavesdropper,
    ):
        await seen_by_ann.receives(source)
        await until(lambda: "sfu/frontdoor/state" in eavesdropper.latest)
        # a malformed offer: the server counts each one that the broker lets through, the last one only
        for leaf in ("pub/ann", "view/bob", "view/ann"):
            eavesdropper.publish(f"sfu/frontdoor/{leaf}", '{"command":"signal","type":"offer"}')
        await until(lambda: service.server.counters["refused_bad_request"])
        assert service.server.counters["refused_bad_request"] == 1
    topics = {topic for topic in eavesdropper.latest if not topic.startswith("drain/")}
    leaves = {topic for topic in topics if re.search(r"/(pub|view|join)/", topic)}
    assert leaves <= {"sfu/frontdoor/view/ann"}, "a viewer reads its own leaf only"
    assert "sfu/frontdoor/state" in topics
