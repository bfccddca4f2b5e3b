"""Peers that reach each other only through a TURN server (coturn, long-term credentials)."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from aioice import turn as turn_client

from sfu.rtc.ice.agent import TurnServer
from sfu.rtc.ice.aioice_agent import RENEW_CHANNEL_S
from sfu.rtc.net.stun import Address
from tests.helpers.brokers import Mosquitto, free_port
from tests.helpers.coturn import coturn, shut, turn_settings
from tests.helpers.peers import PeerCamera, publishing, watching
from tests.helpers.serving import serving
from tests.helpers.transports import Endpoint, client_end, connect, exchange, ports, rtp, server_end
from tests.helpers.waiting import until


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("full", [False, True], ids=["lite", "full"])
async def test_a_relay_only_client_connects(tmp_path: Path, transport: str, full: bool) -> None:
    async with coturn(tmp_path, transport) as (turn, _), ports() as (server_port, client_port):
        server, client = server_end(server_port, full=full), client_end(client_port, turn=turn, relay_only=True)
        await connect(server, client)
        await exchange(server, client)
        assert all("typ relay" in candidate for candidate in client.agent.candidates())
        assert client.agent.path is None
        assert server.agent.path is not None
        await burst(server, client)
        await client.transport.close()
        await until(lambda: server.closed == ["dtls"])
        await server.transport.close()
        assert not client_port.listener_count


def _received_more(end: Endpoint, count: int) -> bool:
    return len(end.rtp) > count


async def burst(server: Endpoint, client: Endpoint) -> None:
    """More packets at once, each way, than may wait for a channel: a bound channel takes them all."""
    for end, other in ((server, client), (client, server)):
        before = len(other.rtp)
        for number in range(200):
            end.transport.send_rtp(bytes.fromhex("80600000") + number.to_bytes(4, "big") + b"\0\0\0\1" + b"x" * 500)
            if number % 50 == 49:
                await asyncio.sleep(0.005)
        await until(functools.partial(_received_more, other, before))


async def test_a_channel_that_is_due_for_renewal_still_takes_everything_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind = turn_client.TurnClientMixin.channel_bind
    bindings: list[int] = []

    async def counted(client: turn_client.TurnClientMixin, number: int, address: Address) -> None:
        await bind(client, number, address)
        bindings.append(number)

    monkeypatch.setattr(turn_client.TurnClientMixin, "channel_bind", counted)
    async with coturn(tmp_path) as (turn, _), ports() as (server_port, client_port):
        server, client = server_end(server_port), client_end(client_port, turn=turn, relay_only=True)
        await connect(server, client)
        await exchange(server, client)
        later = SimpleNamespace(time=lambda: time.time() + RENEW_CHANNEL_S + 1)
        monkeypatch.setattr(turn_client, "time", later)
        server.rtp.clear()
        sent = [rtp(sequence, size=500) for sequence in range(1000, 1200)]
        for packet in sent:
            client.transport.send_rtp(packet)
        await until(lambda: len(server.rtp) == len(sent))
        assert server.rtp == sent
        assert not client.agent.drops
        bound = len(bindings)
        await until(lambda: len(bindings) > bound)  # with the next check of consent
        await client.transport.close()
        await server.transport.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_server_behind_a_nat_is_reached_by_its_relay(tmp_path: Path, transport: str) -> None:
    async with coturn(tmp_path, transport) as (turn, _), ports() as (server_port, client_port):
        client = client_end(client_port)
        server = server_end(server_port, full=True, turn=turn, relay_only=True)
        await connect(server, client)
        await exchange(server, client)
        assert server.agent.path is None
        assert client.agent.path is not None
        await client.transport.close()
        await server.transport.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_what_a_whole_server_forwards_through_its_relay_all_arrives(
    tmp_path: Path, mosquitto: Callable[..., Mosquitto], transport: str
) -> None:
    """One camera and two viewers, each by an allocation of its own, and no way through the server's own port."""
    async with (
        coturn(tmp_path, transport) as (turn, _),
        serving(mosquitto().url, media__announce="127.0.0.9", **turn_settings(turn)) as service,
    ):
        shut(service)
        url = service.broker_url
        async with (
            publishing(url, "hall/pub/one", camera=PeerCamera(burst=4)) as camera,
            watching(url, "hall/view/a") as (screen, _),
            watching(url, "hall/view/b") as (other, _),
        ):
            for viewer in (screen, other):
                await viewer.receives(camera, ahead=200)
                await viewer.missed_nothing(camera, "v0", "a0")
            agents = [participant.transport.agent for participant in service.server.participants.values()]
            assert [(agent.connected, agent.path) for agent in agents] == [(True, None)] * 3


async def test_a_server_offers_all_it_has(tmp_path: Path) -> None:
    """Host, server-reflexive and relayed candidates; the best pair that works is used, and it is not the relay."""
    async with coturn(tmp_path) as (turn, _), ports() as (server_port, client_port):
        client = client_end(client_port)
        server = server_end(server_port, full=True, turn=turn, stun=(turn.host, turn.port))
        await connect(server, client)
        kinds = [candidate.split()[7] for candidate in server.agent.candidates()]
        assert kinds == ["host", "srflx", "relay"] or kinds == ["host", "relay", "srflx"]
        srflx = next(candidate for candidate in server.agent.candidates() if "srflx" in candidate)
        assert f" {server_port.port} typ srflx" in srflx  # no NAT here: the shared port itself
        assert server.agent.path is not None
        await exchange(server, client)
        await client.transport.close()
        await server.transport.close()


async def test_strangers_reach_nobody_through_the_relay(tmp_path: Path) -> None:
    async with coturn(tmp_path) as (turn, _), ports(3) as (server_port, client_port, other_port):
        client = client_end(client_port)
        server = server_end(server_port, full=True, turn=turn, relay_only=True)
        await connect(server, client)
        relayed = other_port.path(client.agent.path.address)
        for data in (b"\x16\xfe\xfd" + bytes(50), b"\x80" * 50, bytes(60), b""):
            other_port.send(data, relayed)
        await exchange(server, client)
        assert not server.transport.drops
        await client.transport.close()
        await server.transport.close()


async def test_dead_servers_delay_nothing_for_long(tmp_path: Path) -> None:
    """Gathering gives up after 2 s, where STUN's own retransmissions would go on for half a minute."""
    nobody = TurnServer("127.0.0.1", free_port(), "a", "b")
    loop = asyncio.get_running_loop()
    async with ports(1) as (port,):
        server = server_end(port, full=True, turn=nobody, stun=(nobody.host, nobody.port))
        begin = loop.time()
        await server.agent.gather()
        assert loop.time() - begin < 15
        assert len(server.agent.candidates()) == 1
        await server.transport.close()
        assert not port.awaited_responses


async def test_a_relay_that_dies_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with coturn(tmp_path) as (turn, process), ports() as (server_port, client_port):
        before = asyncio.all_tasks()
        server, client = server_end(server_port), client_end(client_port, turn=turn, relay_only=True)
        await connect(server, client)
        process.kill()
        process.wait()
        begin = asyncio.get_running_loop().time()
        await client.transport.close()
        assert asyncio.get_running_loop().time() - begin < 15
        await server.transport.close()
        await until(lambda: asyncio.all_tasks() <= before)


async def test_closing_while_gathering_gives_the_allocation_back(tmp_path: Path) -> None:
    async with coturn(tmp_path) as (turn, _), ports(1) as (port,):
        before = asyncio.all_tasks()
        server = server_end(port, full=True, turn=turn)
        gathering = asyncio.create_task(server.agent.gather())
        await asyncio.sleep(0)
        await server.transport.close()
        await gathering
        await until(lambda: asyncio.all_tasks() <= before)
        assert not any("relay" in candidate for candidate in server.agent.candidates())
