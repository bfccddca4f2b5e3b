"""Nobody gets media who did not ask for it: a participant forges the source of its checks by raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator

import pytest

from sfu.rtc.ice.agent import AgentTimeouts
from sfu.rtc.ice.question import AMPLIFICATION
from sfu.rtc.net import stun
from tests.helpers.transports import (
    CLIENT_HELLO,
    Endpoint,
    association,
    check,
    client_end,
    connect,
    credentials,
    ports,
    rtp,
    server_end,
)
from tests.helpers.waiting import until

VICTIM = "127.0.0.9"
forging = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0, reason="forging a source address needs root on Linux"
)


@contextlib.contextmanager
def victim() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((VICTIM, 0))
        sock.setblocking(False)
        yield sock


def received_bytes(sock: socket.socket) -> int:
    total = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            total += len(sock.recv(65536))
    return total


def forge(data: bytes, source: tuple[str, int], port: int) -> None:
    """Sends one datagram to 127.0.0.1 that looks as if it came from `source`."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        udp = struct.pack("!HHHH", source[1], port, 8 + len(data), 0) + data
        hosts = socket.inet_aton(source[0]) + socket.inet_aton("127.0.0.1")
        sock.sendto(struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + hosts + udp, ("127.0.0.1", 0))


def nomination(server: Endpoint, remote_ufrag: str) -> bytes:
    return bytes(check(f"{server.agent.ufrag}:{remote_ufrag}", server.agent.pwd))


@forging
@pytest.mark.parametrize("full", [False, True], ids=["lite", "full"])
async def test_media_stays_away_from_an_address_that_never_answered(full: bool) -> None:
    async with association(full=full) as (server, client):
        with victim() as sock:
            forged = nomination(server, client.agent.ufrag)
            port, path = server.port, server.agent.path
            before = port.received
            forge(forged, sock.getsockname(), port.port)
            await until(lambda: port.received > before and received_bytes(sock) > 0)
            deadline = time.monotonic() + 1.2  # longer than the checks of ours are repeated
            sent = 0
            while time.monotonic() < deadline:
                server.transport.send_rtp(rtp(sent))
                sent += 1
                await asyncio.sleep(0.01)
            assert server.agent.path is path
            await until(lambda: len(client.rtp) == sent)


@forging
async def test_an_address_that_never_answers_gets_less_than_three_times_what_came_from_it() -> None:
    """A stream of forged nominations and a forged ClientHello, after connecting and before."""
    async with association() as (server, client), ports(1) as (port,):
        fresh = server_end(port, limits=AgentTimeouts(half_open=5.0))
        fresh.transport.start(ufrag="abcd", pwd=credentials()[1], lite=False, fingerprints=[("sha-256", "00")])
        with victim() as sock, victim() as other:
            for end, target, ufrag in ((server, sock, client.agent.ufrag), (fresh, other, "abcd")):
                sent = 0
                for data in [nomination(end, ufrag), CLIENT_HELLO, CLIENT_HELLO, nomination(end, ufrag)] * 3:
                    before = end.port.received
                    forge(data, target.getsockname(), end.port.port)
                    await until(lambda end=end, before=before: end.port.received > before)
                    sent += len(data)
                for _ in range(100):
                    end.agent.send(bytes(1000))
                await asyncio.sleep(1.2)
                assert 0 < received_bytes(target) < AMPLIFICATION * sent
        await fresh.transport.close()


async def test_only_the_peers_answer_from_the_address_itself_counts() -> None:
    async with association() as (server, client):
        with victim() as sock, victim() as elsewhere:
            pwd, path = client.agent.pwd, server.agent.path
            to = ("127.0.0.1", server.port.port)
            sock.sendto(nomination(server, client.agent.ufrag), to)
            requests: list[stun.Message] = []

            def asked() -> bool:
                with contextlib.suppress(BlockingIOError):
                    message = stun.parse(sock.recv(2048))
                    if message is not None and stun.is_check(message):
                        requests.append(message)
                return bool(requests)

            await until(asked)
            wrong = stun.success(requests[0], to, credentials()[1])
            right = stun.success(requests[0], to, pwd)
            for sender, data in ((sock, wrong), (elsewhere, right)):
                before = server.port.received
                sender.sendto(data, to)
                await until(lambda before=before: server.port.received > before)
                assert server.agent.path is path
            sock.sendto(right, to)
            await until(lambda: server.agent.path.address == sock.getsockname())
            assert not server.port.awaited_responses


async def test_a_client_whose_port_changed_gets_media_within_a_tenth_of_a_second() -> None:
    async with association() as (server, client), ports(1) as (second_port,):
        moved = client_end(second_port, ufrag=client.agent.ufrag, pwd=client.agent.pwd)
        await moved.agent.gather()
        client.port.close()
        moved.agent.start(ufrag=server.agent.ufrag, pwd=server.agent.pwd, lite=True)
        nominated = asyncio.get_running_loop().time()
        for candidate in server.agent.candidates():
            moved.agent.add_candidate(candidate)
        await until(lambda: server.agent.path.address[1] == second_port.port)
        assert asyncio.get_running_loop().time() - nominated < 0.1
        await moved.transport.close()


async def test_a_lost_check_of_ours_is_repeated() -> None:
    async with ports() as (server_port, client_port):
        server, client = server_end(server_port), client_end(client_port)
        lost = 0
        send = server_port.send

        def lose_the_first(data: bytes, path: object) -> bool:
            nonlocal lost
            if lost == 0:
                lost += 1
                return True
            return send(data, path)  # type: ignore[arg-type]

        server_port.send = lose_the_first  # type: ignore[method-assign]
        await server.agent.gather()
        await connect(server, client)
        assert lost == 1
        await until(lambda: not server_port.awaited_responses)
        await client.transport.close()
        await server.transport.close()


async def test_a_peer_that_answers_no_checks_connects_by_its_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ports() as (server_port, client_port):
        server, client = server_end(server_port), client_end(client_port)
        monkeypatch.setattr(client.agent, "on_request", lambda *_: None)
        await connect(server, client)
        assert not server_port.awaited_responses
        await client.transport.close()
        await server.transport.close()
