"""The broker link against a real mosquitto: what it promises while the broker comes, goes, refuses and overflows."""

import asyncio
import logging
import socket
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from sfu.signaling.broker_url import BrokerUrl, Tls
from sfu.signaling.intake import Incoming
from sfu.signaling.link import BrokerLink
from sfu.signaling.send_queue import MAX_MESSAGES
from tests.helpers.broker_links import LEAF, observer, running
from tests.helpers.brokers import Certificates, Mosquitto, Proxy
from tests.helpers.waiting import PATIENCE_S, until

StartMosquitto = Callable[..., Mosquitto]


async def test_mqtt_5_is_used_and_our_own_messages_do_not_come_back(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    async with Proxy(broker.url) as proxy, running(proxy.url) as (link, box), observer(broker.url) as (other, heard):
        assert link.publish(LEAF, b"from us")
        await until(lambda: heard.payloads == [b"from us"])
        other.publish(LEAF, b"from them")
        await until(lambda: box)
        assert box == [Incoming(LEAF, b"from them")]
        assert proxy.levels == [5]


@pytest.mark.parametrize("refusal", ["connack", "hang up"])
async def test_a_broker_without_mqtt_5_is_served_with_3_1_1_at_once_and_from_then_on(
    mosquitto: StartMosquitto, refusal: str
) -> None:
    broker = mosquitto()
    async with Proxy(broker.url, refuse_v5=refusal) as proxy, running(proxy.url) as (link, box):
        link.publish(LEAF, b"ours")
        await until(lambda: box.payloads == [b"ours"])  # 3.1.1 echoes: harmless, receivers know their own client id
        proxy.cut()
        await until(lambda: link.counters["losses"] == 1)
        await link.wait_connected(PATIENCE_S)
        assert proxy.levels == [5, 4, 4]


async def test_websocket(mosquitto: StartMosquitto) -> None:
    broker = mosquitto(websocket=True)
    async with running(broker.websocket_url) as (link, box), observer(broker.url) as (other, heard):
        link.publish(LEAF, b"x" * 65536)
        await until(lambda: heard.payloads == [b"x" * 65536])
        other.publish(LEAF, b"y" * 65536)
        await until(lambda: box.payloads == [b"y" * 65536])


async def test_tls_with_a_client_certificate(mosquitto: StartMosquitto) -> None:
    broker = mosquitto(tls=True)
    assert broker.certificates is not None
    async with running(broker.url, tls=broker.certificates.tls) as (link, _):
        assert link.connected


async def test_tls_without_our_certificate_is_refused_and_retried(mosquitto: StartMosquitto) -> None:
    broker = mosquitto(tls=True)
    assert broker.certificates is not None
    async with running(broker.url, tls=Tls(ca=broker.certificates.ca), connect=False) as (link, _):
        await until(lambda: link.counters["failures"] >= 2)
        assert not link.connected


async def test_a_server_certificate_of_a_stranger_is_refused(mosquitto: StartMosquitto) -> None:
    async with running(mosquitto(tls=True).url, connect=False) as (link, _):
        await until(lambda: link.counters["failures"] >= 2)
        assert not link.connected


async def test_a_wrong_password_backs_off_says_so_once_and_recovers(
    mosquitto: StartMosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    broker = mosquitto(passwords={"sfu": "old"})
    url = BrokerUrl("mqtt", "127.0.0.1", broker.port, username="sfu", password="new")
    async with running(url, connect=False) as (link, _):
        await until(lambda: link.counters["failures"] >= 3)
        assert caplog.text.count("cannot connect to broker") == 1
        assert "Not authorized" in caplog.text
        assert "new" not in caplog.text
        broker.set_passwords({"sfu": "new"})
        broker.restart()
        await link.wait_connected(PATIENCE_S)


async def test_retained_state_is_all_back_after_the_broker_forgot_it_and_the_birth_comes_last(
    mosquitto: StartMosquitto,
) -> None:
    broker = mosquitto()
    async with running(broker.url, birth=("sfu/bridge/state", b"online")) as (link, _):
        rooms = {f"sfu/room{n}/state": b"%d" % n for n in range(50)}
        for topic, payload in rooms.items():
            link.set_state(topic, payload)
        link.set_state("sfu/gone/state", b"soon gone")
        link.set_state("sfu/gone/state", None)
        broker.kill()
        await until(lambda: not link.connected)
        link.set_state("sfu/room7/state", b"changed while away")
        link.set_state("sfu/room8/state", None)
        broker.restart()
        await link.wait_connected(PATIENCE_S)
        async with observer(broker.url) as (_, heard):
            expected = {**rooms, "sfu/room7/state": b"changed while away", "sfu/bridge/state": b"online"}
            del expected["sfu/room8/state"]
            await until(lambda: len(heard) >= len(expected))
            assert {message.topic: message.payload for message in heard} == expected
            assert all(message.retained for message in heard)


async def test_the_birth_is_published_after_all_state(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    async with observer(broker.url) as (_, heard):
        states = {f"sfu/room{n}/state": b"%d" % n for n in range(50)}
        link = BrokerLink(
            broker.url,
            client_id="sfu",
            subscriptions=(),
            on_message=heard.append,
            birth=("sfu/bridge/state", b"online"),
        )
        for topic, payload in states.items():
            link.set_state(topic, payload)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(link.run())
            await until(lambda: heard.of("sfu/bridge/state"))
            await link.close()
        assert heard[-1].topic == "sfu/bridge/state"
        assert len(heard) == 51


async def test_unchanged_state_is_not_sent_again_and_changes_arrive_in_order(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    async with observer(broker.url) as (_, heard), running(broker.url) as (link, _):
        for value in (b"1", b"1", b"2"):
            link.set_state("sfu/a/viewers", value)
            link.publish("sfu/a/event", value)
            await until(lambda: heard.of("sfu/a/event")[-1:] == [value])  # noqa: B023
        assert heard.of("sfu/a/viewers") == [b"1", b"2"]


async def test_the_will_speaks_when_the_link_breaks_and_the_farewell_when_it_is_closed(
    mosquitto: StartMosquitto,
) -> None:
    broker = mosquitto()
    state = "sfu/bridge/state"
    lasting: dict[str, Any] = {"birth": (state, b"online"), "will": (state, b"offline"), "backoff": (0.5, 0.5)}
    async with observer(broker.url, state) as (_, heard):
        async with Proxy(broker.url) as proxy, running(proxy.url, **lasting) as (link, _):
            await until(lambda: heard.payloads == [b"online"])
            proxy.cut()
            await until(lambda: heard.payloads == [b"online", b"offline", b"online"])
            link.publish("sfu/a/event", b"last words are not lost")
            await link.close(farewell=(state, b"stopped"))
        assert heard.payloads == [b"online", b"offline", b"online", b"stopped"]


async def test_a_peers_bye_as_will_is_not_retained(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    async with running(broker.url) as (_, heard), Proxy(broker.url) as proxy:
        async with running(proxy.url, "peer", will=(LEAF, b"bye"), will_retain=False):
            proxy.cut()
            await until(lambda: heard == [Incoming(LEAF, b"bye")])
        async with observer(broker.url) as (late, late_heard):
            late.publish(LEAF, b"marker")
            await until(lambda: heard.payloads[-1:] == [b"marker"])
            assert b"bye" not in late_heard.payloads


@pytest.mark.parametrize("refusal", [None, "connack"], ids=["mqtt 5", "mqtt 3.1.1"])
async def test_signalling_that_was_there_before_us_is_not_replayed_or_marked_as_such(
    mosquitto: StartMosquitto, refusal: str | None
) -> None:
    broker = mosquitto()
    async with observer(broker.url) as (other, _), Proxy(broker.url, refuse_v5=refusal) as proxy:
        other.set_state(LEAF, b"stale offer")
        other.publish("sfu/sync", b"")
        await until(lambda: other.counters["published"] == 2)
        async with running(proxy.url) as (_, box):
            other.publish(LEAF, b"fresh")
            await until(lambda: b"fresh" in box.payloads)
            assert [message.payload for message in box if not message.retained] == [b"fresh"]
            assert len(box) == (1 if refusal is None else 2)


async def test_signalling_is_kept_10_s_while_the_broker_is_away_and_then_dropped(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    now = 100.0
    async with running(broker.url, clock=lambda: now) as (link, _):
        broker.kill()
        await until(lambda: not link.connected)
        link.publish(LEAF, b"too old")
        now = 105.0
        link.publish(LEAF, b"in time, first")
        link.publish(LEAF, b"in time, second")
        now = 112.0
        broker.restart()
        async with observer(broker.url) as (_, heard):
            await link.wait_connected(PATIENCE_S)
            link.publish(LEAF, b"fresh")
            await until(lambda: b"fresh" in heard.payloads)
            assert b"too old" not in heard.payloads
            assert link.counters["expired"] == 1
            await until(lambda: link.counters["published"] == 3)  # we may hear it before the broker says it has it


async def test_1000_messages_keep_their_order(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    async with observer(broker.url) as (_, heard), running(broker.url) as (link, _):
        assert all(link.publish(LEAF, b"%d" % n) for n in range(1000))
        await until(lambda: len(heard) == 1000)
        assert heard.payloads == [b"%d" % n for n in range(1000)]


async def test_messages_cut_off_in_flight_arrive_after_the_reconnect(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    async with observer(broker.url) as (_, heard), Proxy(broker.url) as proxy, running(proxy.url) as (link, _):
        for n in range(200):
            link.publish(LEAF, b"%d" % n)
        await until(lambda: heard)
        proxy.cut()
        await until(lambda: set(heard.payloads) == {b"%d" % n for n in range(200)})
        first_seen = list(dict.fromkeys(heard.payloads))
        assert first_seen == [b"%d" % n for n in range(200)]


async def test_what_is_too_large_or_too_much_is_refused_before_sending(mosquitto: StartMosquitto) -> None:
    broker = mosquitto(max_packet_size=70_000)
    async with running(broker.url) as (link, _), observer(broker.url) as (_, heard):
        assert not link.publish(LEAF, b"x" * 65 * 1024)
        link.set_state("sfu/a/state", b"x" * 65 * 1024)
        assert link.publish(LEAF, b"x" * 64 * 1024)
        await until(lambda: heard)
        assert link.counters["too_large"] == 2
        assert link.counters["losses"] == 0
        broker.kill()
        await until(lambda: not link.connected)
        assert [link.publish(LEAF, b"") for _ in range(MAX_MESSAGES + 1)].count(False) == 1
        assert link.counters["queue_full"] == 1


@pytest.mark.parametrize("refusal", [None, "connack"], ids=["mqtt 5", "mqtt 3.1.1"])
async def test_two_with_one_client_id_are_told_and_slow_down(
    mosquitto: StartMosquitto, caplog: pytest.LogCaptureFixture, refusal: str | None
) -> None:
    broker = mosquitto()
    async with (
        Proxy(broker.url, refuse_v5=refusal) as proxy,
        running(proxy.url, "twin") as (first, _),
        running(proxy.url, "twin") as (second, _),
    ):
        await until(lambda: first.counters["takeovers"] + second.counters["takeovers"])
        assert "no other client uses the client id twin" in caplog.text


async def test_a_frozen_broker_is_left_and_found_again(
    mosquitto: StartMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfu.signaling.link.ANSWER_TIMEOUT_S", 0.3)
    broker = mosquitto()
    async with running(broker.url) as (link, _):
        broker.freeze()
        link.publish(LEAF, b"anybody there?")
        await until(lambda: not link.connected)
        broker.thaw()
        await link.wait_connected(PATIENCE_S)


async def test_access_rules_bind_us_without_breaking_the_link(mosquitto: StartMosquitto) -> None:
    broker = mosquitto(acl=f"topic readwrite {LEAF}\n")
    async with running(broker.url) as (link, _), observer(broker.url) as (_, heard):
        link.publish("sfu/lobby/view/somebody-else", b"forbidden")
        link.publish(LEAF, b"allowed")
        await until(lambda: heard)
        assert heard.payloads == [b"allowed"]
        assert link.counters["losses"] == 0


async def test_a_message_that_the_broker_refuses_is_told_once(
    mosquitto: StartMosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    broker = mosquitto(acl=f"topic readwrite {LEAF}\n")
    async with running(broker.url) as (link, _):
        for _ in range(3):
            link.publish("sfu/lobby/pub/cam", b"forbidden")
        link.set_state("sfu/lobby/state", b"{}")
        await until(lambda: link.counters["publish_refused"] == 4)
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 2
    for topic in ("sfu/lobby/pub/cam", "sfu/lobby/state"):
        assert f"refuses our messages on {topic} (Not authorized): check its access rules (ACL)" in " ".join(told)


async def test_a_renewed_certificate_is_used_for_the_next_connection(mosquitto: StartMosquitto, tmp_path: Path) -> None:
    broker = mosquitto(tls=True)
    assert broker.certificates is not None
    files = {"certificate": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}
    good = {"certificate": broker.certificates.client, "key": broker.certificates.client_key}
    for name, path in files.items():
        path.write_bytes(good[name].read_bytes())
    async with running(broker.url, tls=Tls(ca=broker.certificates.ca, **files)) as (link, _):
        for state in ("missing", "of a stranger", "renewed"):
            broker.kill()
            await until(lambda: not link.connected)
            failures = link.counters["failures"]
            if state == "missing":
                files["key"].unlink()
            elif state == "of a stranger":
                stranger = tmp_path / "stranger"
                stranger.mkdir()
                other = Certificates(stranger)
                files["certificate"].write_bytes(other.client.read_bytes())
                files["key"].write_bytes(other.client_key.read_bytes())
            else:
                for name, path in files.items():
                    path.write_bytes(good[name].read_bytes())
            broker.restart()
            if state != "renewed":
                await until(lambda failures=failures: link.counters["failures"] > failures + 2)
                assert not link.connected
        await link.wait_connected(PATIENCE_S)


async def test_a_handlers_bug_is_logged_and_the_next_message_still_handled(
    mosquitto: StartMosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    broker = mosquitto()
    seen: list[bytes] = []

    def handler(message: Incoming) -> None:
        seen.append(message.payload)
        if len(seen) == 1:
            raise RuntimeError("bug")

    async with running(broker.url, on_message=handler) as (link, _), observer(broker.url) as (other, _):
        other.publish(LEAF, b"1")
        other.publish(LEAF, b"2")
        await until(lambda: seen == [b"1", b"2"])
        assert link.counters["handler_failed"] == 1
        assert "RuntimeError: bug" in caplog.text


@pytest.mark.parametrize("broker_runs", [True, False])
async def test_close_is_prompt_idempotent_and_leaves_no_task(mosquitto: StartMosquitto, broker_runs: bool) -> None:
    broker = mosquitto()
    before = asyncio.all_tasks()
    async with running(broker.url) as (link, _):
        if not broker_runs:
            broker.kill()
            await until(lambda: not link.connected)
        async with asyncio.timeout(PATIENCE_S):
            await link.close(farewell=("sfu/bridge/state", b"offline"))
            await link.close()
    await until(lambda: asyncio.all_tasks() == before)


def test_it_runs_on_uvloop(mosquitto: StartMosquitto) -> None:
    broker = mosquitto()

    async def talk() -> None:
        async with observer(broker.url) as (_, heard), Proxy(broker.url) as proxy, running(proxy.url) as (link, _):
            proxy.cut()
            await until(lambda: link.counters["connects"] == 2)
            link.publish(LEAF, b"hello")
            await until(lambda: heard.payloads == [b"hello"])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(talk())


async def test_losses_leave_no_stray_errors_behind(mosquitto: StartMosquitto, caplog: pytest.LogCaptureFixture) -> None:
    broker = mosquitto()
    async with Proxy(broker.url) as proxy, running(proxy.url) as (link, _):
        for n in range(1, 4):
            proxy.cut()
            await until(lambda: link.counters["connects"] > n)  # noqa: B023
    assert not [record for record in caplog.records if record.name == "asyncio" and record.levelno >= logging.ERROR]


def test_a_broker_killed_in_the_middle_of_a_publish_leaves_no_stray_errors_behind(
    mosquitto: StartMosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    broker = mosquitto()

    async def lose() -> None:
        async with running(broker.url) as (link, _):
            for n in range(1, 6):
                broker.kill()
                link.publish(LEAF, b"into a connection that has gone without our having read so")
                await until(lambda: link.counters["losses"] == n)  # noqa: B023
                broker.restart()
                await link.wait_connected(5)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # which polls before it calls what is due
        runner.run(lose())
    assert not [record for record in caplog.records if record.name == "asyncio" and record.levelno >= logging.ERROR]


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="Linux alone can be asked")
async def test_an_answer_does_not_wait_for_tcp_with_a_broker_as_it_is_shipped(mosquitto: StartMosquitto) -> None:
    broker = mosquitto(nagle=True)
    async with running(broker.url, "server") as (server, offers), running(broker.url, "client") as (client, answers):
        took = []
        for n in range(1, 22):
            began = time.perf_counter()
            client.publish(LEAF, b"offer")
            await until(lambda: len(offers) == n)  # noqa: B023
            server.publish(LEAF, b"answer")
            await until(lambda: len(answers) == n)  # noqa: B023
            took.append(time.perf_counter() - began)
        assert statistics.median(took) < 0.03, "40 ms is what a delayed acknowledgement takes"
