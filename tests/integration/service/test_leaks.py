"""Many come and go: afterwards the server is as it was. `CI_LONG=1` makes it 1,000 instead of 60."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sfu.service import Service
from tests.helpers.brokers import Mosquitto
from tests.helpers.mqtt_client import MqttClient, mqtt_client
from tests.helpers.peers import PeerCamera, PeerViewer, publishing
from tests.helpers.raw_peer import RawPeer, raw_peer
from tests.helpers.serving import serving
from tests.helpers.waiting import PATIENCE_S, until

LONG = os.environ.get("CI_LONG") == "1"
WARM_UP, VISITS = (400, 1000) if LONG else (20, 60)
AT_ONCE = 10
MIB_PER_1000 = 8.0  # a heap's ups and downs; whatever forgot a session whole would cost some 60


def rss() -> float:
    """MiB of memory that this process has now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def held(service: Service) -> dict[str, int]:
    """How much of everything there is."""
    server, port = service.server, service.port
    return {
        "tasks": len(asyncio.all_tasks()),
        "files": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
        "participants": len(server.participants),
        "server tasks": server.running_tasks,
        "listeners": port.listener_count,
        "validated": len(port.validated_addresses),
        "expected": port.awaited_responses,
        "members": service.rooms.member_count,
        "rooms": len(service.rooms.rooms()),
    } | ({"remembered leaves": server.remembered_leaves} if LONG else {})


async def visit(home: MqttClient, number: int) -> None:
    """One join and leave, as a camera or a viewer, with a bye, without one, or with the offer alone."""
    player = PeerCamera() if number % 3 == 0 else PeerViewer()
    role = "pub" if number % 3 == 0 else "view"
    async with raw_peer(home, f"front/{role}/peer-{number}", player) as caller:
        caller.send("candidate", None)
        await caller.connect()
        if isinstance(player, PeerCamera):
            for _ in range(3):
                await asyncio.wait_for(send_one(player, caller), PATIENCE_S)
        else:
            await until(lambda: player.received["v0"])
        if number % 2:
            caller.send("bye", {})
            await until(lambda: caller.closed)


async def send_one(camera: PeerCamera, caller: RawPeer) -> None:
    """A few packets."""
    sending = asyncio.create_task(camera.send_forever(caller))
    sent = camera.sent
    await until(lambda: camera.sent > sent + 2)
    sending.cancel()


async def visits(service: Service, home: MqttClient, first: int, count: int) -> None:
    for start in range(first, first + count, AT_ONCE):
        async with asyncio.TaskGroup() as tasks:
            for number in range(start, start + AT_ONCE):
                tasks.create_task(visit(home, number))
        await until(lambda: len(service.server.participants) == 1)
        home.latest.clear()


@pytest.mark.timeout(600)
async def test_joins_and_leaves_leave_nothing_behind(mosquitto: Callable[..., Mosquitto]) -> None:
    url = mosquitto().url
    async with serving(url) as service, mqtt_client(url) as home, publishing(url, "front/pub/cam1"):
        home.messages = None
        await visits(service, home, 0, WARM_UP)
        await settled(service)
        before, memory = held(service), rss()
        await visits(service, home, WARM_UP, VISITS)
        await settled(service)
        with contextlib.suppress(AssertionError):
            await until(lambda: not excess(held(service), before))
        after, grown = held(service), rss() - memory
        sys.stdout.write(f"\n{VISITS} visits: RSS {memory:.1f} MiB + {grown:.2f} MiB; {before} -> {after}\n")
        assert excess(after, before) == {}
        if LONG:
            assert grown < MIB_PER_1000 * VISITS / 1000
        assert service.server.counters["refused_internal"] == 0


def excess(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """A link to a broker has a task or two that come and go with each message; nothing else may differ by one."""
    slack = {"tasks": 3}
    return {name: count - before[name] for name, count in after.items() if count > before[name] + slack.get(name, 0)}


async def settled(service: Service) -> None:
    """All that ends by itself has ended; what is remembered of leaves for a while only in the long run."""
    await until(lambda: not service.server.running_tasks)
    await until(lambda: not any(task.get_name().endswith("publish") for task in asyncio.all_tasks()))
    if LONG:
        await until(lambda: service.server.remembered_leaves <= 1, 60)
