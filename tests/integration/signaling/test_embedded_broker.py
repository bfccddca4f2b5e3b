"""The embedded broker: that rumqttd, configured by us, does for BrokerLink what mosquitto does, and for nobody else."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sfu.signaling.embedded_broker import (
    MAX_REFUSALS,
    MAX_SLOW_PROBES,
    BrokerError,
    BrokerHealth,
    EmbeddedBroker,
    ProbeResult,
)
from sfu.signaling.intake import Incoming
from sfu.signaling.link import ANSWER_TIMEOUT_S
from tests.helpers.broker_links import LEAF, observer, running
from tests.helpers.brokers import Proxy
from tests.helpers.http import Raw, upgrade
from tests.helpers.waiting import PATIENCE_S, until


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    broker = EmbeddedBroker()
    await broker.start()
    yield broker
    await broker.stop()


async def test_each_client_hears_the_other_up_to_64_kib(broker: EmbeddedBroker) -> None:
    payload = b"to the other ".ljust(65536, b".")
    async with running(broker.url) as (link, box), observer(broker.url, LEAF) as (other, heard):
        link.publish(LEAF, payload)
        await until(lambda: payload in heard.payloads)
        other.publish(LEAF, payload.upper())
        await until(lambda: payload.upper() in box.payloads)


@pytest.mark.parametrize(("user", "password"), [(None, None), ("sfu", "wrong"), ("sfu", ""), ("eve", "right")])
async def test_only_its_login_opens_it(broker: EmbeddedBroker, user: str | None, password: str | None) -> None:
    if password == "right":
        password = broker.url.password
    for _ in range(3):  # a refusal does not harm those who come later
        async with running(replace(broker.url, username=user, password=password), connect=False) as (stranger, _):
            await until(lambda: stranger.counters["failures"] >= 2)
            assert not stranger.connected
    async with running(broker.url):
        assert broker.restarts == 0


async def test_no_page_of_a_browser_can_speak_to_it(broker: EmbeddedBroker) -> None:
    """Its process listens on one port, and that one knows no WebSocket, of whatever origin."""
    assert listening_ports(broker_process()) == {broker.port}
    for origin in ("http://evil.example", f"http://127.0.0.1:{broker.port}"):
        raw = await Raw.open(broker.port, upgrade(broker.port, f"Origin: {origin}"))
        assert "101" not in await raw.head()
        raw.close()


async def test_its_password_is_in_no_argument_and_no_readable_file(broker: EmbeddedBroker) -> None:
    process = broker_process()
    assert broker.url.password
    command = (process / "cmdline").read_text()
    assert broker.url.password not in command
    configuration = Path(json.loads(command.split("\0")[3])["config_path"])
    assert broker.url.password in configuration.read_text()
    assert (configuration.stat().st_mode & 0o077, configuration.parent.stat().st_mode & 0o077) == (0, 0)
    assert broker.url.password not in str(broker.url)


async def test_a_link_finds_its_way_to_mqtt_3_1_1_without_waiting(broker: EmbeddedBroker) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with Proxy(broker.url) as proxy, running(proxy.url):
        assert proxy.levels == [5, 4]
        assert loop.time() - began < ANSWER_TIMEOUT_S


async def test_state_is_retained_changed_and_cleared(broker: EmbeddedBroker) -> None:
    async with running(broker.url, birth=("sfu/bridge/state", b"online")) as (link, _):
        for value in (b"1", b"2"):
            link.set_state("sfu/a/viewers", value)
        link.set_state("sfu/b/viewers", b"1")
        link.set_state("sfu/b/viewers", None)
        link.publish("sfu/a/event", b"all sent")
        await until(lambda: link.counters["published"] >= 4)
        async with observer(broker.url) as (_, heard):
            await until(lambda: len(heard) == 2)
            assert set(heard) == {
                Incoming("sfu/a/viewers", b"2", retained=True),
                Incoming("sfu/bridge/state", b"online", retained=True),
            }


async def test_the_will_speaks_when_a_client_is_lost(broker: EmbeddedBroker) -> None:
    state = "sfu/bridge/state"
    lasting: dict[str, Any] = {"birth": (state, b"online"), "will": (state, b"offline"), "backoff": (0.3, 0.3)}
    async with (
        observer(broker.url, state) as (_, heard),
        Proxy(broker.url) as proxy,
        running(proxy.url, **lasting),
    ):
        proxy.cut()
        await until(lambda: heard.payloads == [b"online", b"offline", b"online"])


async def test_the_second_client_of_one_id_takes_over(broker: EmbeddedBroker) -> None:
    async with running(broker.url, "twin") as (first, _), running(broker.url, "twin") as (second, _):
        await until(lambda: first.counters["takeovers"] + second.counters["takeovers"])


async def test_many_clients_and_a_burst_lose_nothing(broker: EmbeddedBroker) -> None:
    async with observer(broker.url) as (_, heard), asyncio.TaskGroup() as tasks:

        async def talk(number: int) -> None:
            async with running(broker.url, f"client-{number}") as (link, _):
                for n in range(50):
                    assert link.publish(f"sfu/lobby/view/{number}", b"%d" % n)
                await until(lambda: link.counters["published"] == 50)  # its end would wait for 2 s alone

        for number in range(20):
            tasks.create_task(talk(number))
        await until(lambda: len(heard) == 1000)
        assert all(heard.of(f"sfu/lobby/view/{number}") == [b"%d" % n for n in range(50)] for number in range(20))


async def test_a_taken_port_is_said_clearly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        broker = EmbeddedBroker(port=port)
        with pytest.raises(BrokerError, match=str(port)):
            await broker.start()
        assert not broker.running


async def test_it_stops_frees_its_port_and_starts_there_again() -> None:
    broker = EmbeddedBroker()
    await broker.start()
    port = broker.port
    await broker.stop()
    await broker.stop()
    assert not broker.running
    await broker.start()
    assert broker.port == port
    await broker.stop()


async def test_a_listener_that_dies_is_started_again_and_state_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfu.signaling.embedded_broker.PROBE_INTERVAL_S", 0.2)
    monkeypatch.setattr("sfu.signaling.embedded_broker.PROBE_RETRY_S", 0.1)
    broker = EmbeddedBroker()
    await broker.start()
    async with running(broker.url, birth=("sfu/bridge/state", b"online")) as (link, _):
        for client_id in ("a/b", "a/b"):
            async with running(broker.url, client_id, connect=False) as (victim, _):
                await until(lambda: victim.counters["failures"])
        await until(lambda: link.counters["connects"] >= 2)
        async with observer(broker.url) as (_, heard):
            await until(lambda: heard == [Incoming("sfu/bridge/state", b"online", retained=True)])
    assert broker.restarts >= 1
    await broker.stop()


def send_signal(number: signal.Signals) -> None:
    """Sends a signal to the child process of the embedded broker."""
    os.kill(int(broker_process().name), number)


def broker_process() -> Path:
    """Returns the directory in /proc of the child process."""
    (child,) = (path for path in Path("/proc").glob("[0-9]*") if is_broker(path))
    return child


def listening_ports(process: Path) -> set[int]:
    """Returns the TCP ports at which a process listens."""
    held = {path.readlink().name for path in (process / "fd").iterdir()}
    lines = [line.split() for name in ("tcp", "tcp6") for line in (process / "net" / name).read_text().splitlines()[1:]]
    return {int(it[1].rpartition(":")[2], 16) for it in lines if it[3] == "0A" and f"socket:[{it[9]}]" in held}


def is_broker(process: Path) -> bool:
    try:
        parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        return int(parent) == os.getpid() and b"sfu-broker-" in (process / "cmdline").read_bytes()
    except OSError:  # it has ended
        return False


async def test_a_killed_child_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfu.signaling.embedded_broker.PROBE_INTERVAL_S", 0.2)
    broker = EmbeddedBroker()
    await broker.start()
    async with running(broker.url) as (link, _):
        send_signal(signal.SIGKILL)
        await until(lambda: broker.restarts and link.counters["connects"] == 2)
    assert broker.restarts == 1
    await broker.stop()


async def test_a_slow_child_is_left_alone_and_its_clients_stay(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sfu.signaling.embedded_broker.PROBE_INTERVAL_S", 0.1)
    monkeypatch.setattr("sfu.signaling.embedded_broker.PROBE_TIMEOUT_S", 0.3)
    broker = EmbeddedBroker()
    await broker.start()
    async with observer(broker.url) as (link, heard):
        send_signal(signal.SIGSTOP)
        await until(lambda: "answers slowly" in caplog.text)
        await asyncio.sleep(2)
        send_signal(signal.SIGCONT)
        link.publish("sfu/after", b"still here")
        await until(lambda: heard.payloads == [b"still here"])
        assert broker.restarts == 0
        assert (link.counters["connects"], link.counters["losses"]) == (1, 0)
    assert caplog.text.count("answers slowly") == 1
    await broker.stop()


async def test_a_child_that_never_answers_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PROBE_INTERVAL_S": 0.1, "PROBE_TIMEOUT_S": 0.3, "MAX_SLOW_PROBES": 4}.items():
        monkeypatch.setattr(f"sfu.signaling.embedded_broker.{name}", value)
    broker = EmbeddedBroker()
    await broker.start()
    send_signal(signal.SIGSTOP)
    await until(lambda: broker.restarts)
    monkeypatch.setattr("sfu.signaling.embedded_broker.PROBE_TIMEOUT_S", PATIENCE_S)
    async with running(broker.url):
        assert broker.running
    await broker.stop()


def test_one_answer_resets_the_count_of_failed_probes() -> None:
    health = BrokerHealth()
    for _ in range(3):
        assert [health.fault(ProbeResult.REFUSED) for _ in range(MAX_REFUSALS - 1)] == [None] * (MAX_REFUSALS - 1)
        assert health.fault(ProbeResult.ACCEPTED) is None
        assert [health.fault(ProbeResult.SLOW) for _ in range(MAX_SLOW_PROBES - 1)] == [None] * (MAX_SLOW_PROBES - 1)
        assert health.fault(ProbeResult.ACCEPTED) is None


async def test_a_healthy_broker_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfu.signaling.embedded_broker.PROBE_INTERVAL_S", 0.01)
    monkeypatch.setattr("sfu.signaling.embedded_broker.PROBE_TIMEOUT_S", PATIENCE_S)
    broker = EmbeddedBroker()
    await broker.start()
    async with observer(broker.url) as (link, heard):
        for n in range(20):
            link.publish("sfu/sync", b"%d" % n)
            await until(lambda: len(heard) == n + 1)  # noqa: B023
        assert link.counters["losses"] == broker.restarts == 0
    await broker.stop()
