"""Transports over 127.0.0.1: connect, carry media, move, end."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace
from pathlib import Path

import aioice
import pytest
import uvloop
from aiortc import rtcdtlstransport as dtls

from sfu.rtc import dtls as own_dtls
from sfu.rtc.dtls import Certificate
from sfu.rtc.ice.agent import AgentTimeouts
from sfu.rtc.transport import TransportState
from tests.helpers.transports import (
    association,
    client_end,
    connect,
    credentials,
    exchange,
    introduce,
    ports,
    rtcp,
    rtp,
    server_end,
)
from tests.helpers.waiting import until

PROFILES = [
    dtls.SRTP_AEAD_AES_128_GCM,
    dtls.SRTP_AEAD_AES_256_GCM,
    dtls.SRTP_AES128_CM_SHA1_80,
]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("full", [False, True], ids=["lite", "full"])
async def test_media_arrives_as_it_was_sent(full: bool, host: str) -> None:
    async with association(full=full, host=host) as (server, client):
        await exchange(server, client)
        assert server.connected == client.connected == 1
        assert server.agent.path.address == (host, client.port.port)


async def test_aes_128_gcm_is_preferred() -> None:
    async with association() as (server, client):
        assert server.transport.profile == client.transport.profile == "SRTP_AEAD_AES_128_GCM"


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.openssl_profile.decode())
async def test_each_srtp_profile_carries_media(
    profile: dtls.SRTPProtectionProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ports() as (server_port, client_port):
        server = server_end(server_port)
        monkeypatch.setattr(own_dtls, "SRTP_PROFILES", [profile])
        client = client_end(client_port)
        await connect(server, client)
        assert server.transport.profile == profile.openssl_profile.decode()
        await exchange(server, client)
        await client.transport.close()
        await server.transport.close()


async def test_dtls_without_an_srtp_profile_of_ours_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handshake itself succeeds, but yields no keys for media."""
    async with ports() as (server_port, client_port):
        server = server_end(server_port)
        other = replace(PROFILES[2], openssl_profile=b"SRTP_AES128_CM_SHA1_32")
        monkeypatch.setattr(own_dtls, "SRTP_PROFILES", [other])
        monkeypatch.setattr(own_dtls, "PREFERENCE", [other.openssl_profile])
        client = client_end(client_port)
        await introduce(server, client)
        await until(lambda: server.closed and client.closed)
        assert (server.closed, client.closed) == (["srtp"], ["srtp"])
        assert server.transport.sender is client.transport.sender is None
        await client.transport.close()
        await server.transport.close()


async def test_many_peers_share_one_port() -> None:
    async with ports() as (server_port, client_port):
        pairs = [(server_end(server_port), client_end(client_port)) for _ in range(5)]
        # All clients have one address here, so they take turns: the next is proven once the one before is gone.
        for server, client in pairs:
            await connect(server, client)
            await exchange(server, client)
            await client.transport.close()
            await server.transport.close()
        assert not server_port.drops["unknown_ufrag"]


async def test_a_wrong_fingerprint_closes_the_association() -> None:
    async with ports() as (server_port, client_port):
        server, client = server_end(server_port), client_end(client_port)
        await introduce(server, client, server_fingerprint=Certificate.generate().fingerprint)
        await until(lambda: client.closed)
        assert client.closed == ["fingerprint"]
        assert client.transport.sender is None
        await until(lambda: server.closed == ["dtls"])
        await client.transport.close()
        await server.transport.close()


async def test_close_notifies_the_peer_once_and_its_caller_never() -> None:
    async with association() as (server, client):
        await client.transport.close()
        await client.transport.close()
        await until(lambda: server.closed)
        await server.transport.close()
        assert server.closed == ["dtls"]
        assert client.closed == []
        assert server.transport.state == client.transport.state == TransportState.CLOSED


async def test_a_peer_that_never_comes_is_given_up() -> None:
    async with ports() as (server_port, client_port):
        server, client = server_end(server_port, limits=AgentTimeouts(half_open=0.1)), client_end(client_port)
        server.transport.start(ufrag="none", pwd="none" * 6, lite=False, fingerprints=[("sha-256", "00")])
        await until(lambda: server.closed)
        assert server.closed == ["timeout"]
        await server.transport.close()
        await client.transport.close()


async def test_a_peer_that_connects_but_never_shakes_hands_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ports() as (server_port, client_port):
        server, client = server_end(server_port, limits=AgentTimeouts(half_open=1.5)), client_end(client_port)
        monkeypatch.setattr(client.transport, "on_ice_connected", lambda: None)
        await introduce(server, client)
        await until(lambda: server.agent.connected)
        await until(lambda: server.closed)
        assert server.closed == ["timeout"]
        await client.transport.close()
        await server.transport.close()


@pytest.mark.parametrize("full", [False, True], ids=["lite", "full"])
async def test_a_peer_that_falls_silent_is_given_up(full: bool) -> None:
    async with ports() as (server_port, client_port):
        server, client = server_end(server_port, full=full, limits=AgentTimeouts(silence=1.5)), client_end(client_port)
        await connect(server, client)
        client_port.close()  # as if its machine had lost power: no close_notify
        await until(lambda: server.closed)
        assert server.closed == ["silent"]
        await server.transport.close()
        await client.transport.close()


async def test_answered_checks_keep_a_peer_that_never_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full agent towards a lite one hears only the answers to its own consent checks (RFC 7675)."""
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.05)
    async with ports() as (server_port, client_port):
        server, client = server_end(server_port), client_end(client_port, limits=AgentTimeouts(silence=1.5))
        await connect(server, client)
        connected_at = client.agent.heard_at
        await until(lambda: client.agent.heard_at > connected_at + 2.0)
        assert not client.closed
        await client.transport.close()
        await server.transport.close()


@pytest.mark.parametrize("full", [False, True], ids=["lite", "full"])
async def test_ice_restart_keeps_keys_and_media(full: bool) -> None:
    async with association(full=full) as (server, client):
        await exchange(server, client)
        sender = server.transport.sender
        for end in (server, client):
            ufrag, pwd = credentials()
            end.agent.restart(ufrag=ufrag, pwd=pwd)
            await end.agent.gather()
        for end, other in ((server, client), (client, server)):
            end.transport.restart(ufrag=other.agent.ufrag, pwd=other.agent.pwd, lite=other.agent.lite)
            for candidate in other.agent.candidates():
                end.agent.add_candidate(candidate)
        await exchange(server, client)  # by the old pair, meanwhile
        await until(lambda: client.agent.valid_ufrags == (client.agent.ufrag,))
        await exchange(server, client)
        assert server.transport.sender is sender
        assert not server.closed + client.closed


async def test_only_the_peer_restarts() -> None:
    """The remote ufrag alone is new: what a browser sends whose application restarts ICE by a re-offer."""
    async with association() as (server, client):
        ufrag, pwd = credentials()
        client.agent.restart(ufrag=ufrag, pwd=pwd)
        await client.agent.gather()
        server.transport.restart(ufrag=ufrag, pwd=pwd, lite=False)
        client.transport.restart(ufrag=server.agent.ufrag, pwd=server.agent.pwd, lite=True)
        for candidate in server.agent.candidates():
            client.agent.add_candidate(candidate)
        await until(lambda: client.agent.valid_ufrags == (ufrag,))
        await exchange(server, client)


@pytest.mark.parametrize("full", [False, True], ids=["lite", "full"])
async def test_a_nomination_from_another_address_moves_the_path(full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A phone goes from Wi-Fi to mobile data: same credentials, another socket."""
    async with association(full=full) as (server, client), ports(1) as (second_port,):
        moved = client_end(second_port, ufrag=client.agent.ufrag, pwd=client.agent.pwd)
        await moved.agent.gather()
        client.port.close()  # no check from the old address moves the path back
        moved.agent.start(ufrag=server.agent.ufrag, pwd=server.agent.pwd, lite=server.agent.lite)
        for candidate in server.agent.candidates():
            moved.agent.add_candidate(candidate)
        await until(lambda: server.agent.path.address[1] == second_port.port)
        received: list[bytes] = []
        monkeypatch.setattr(moved.transport, "on_srtp", lambda datagrams, _: received.extend(datagrams.copies()))
        sent: list[bytes] = []

        def heard() -> list[bytes]:  # the first packets may overtake the check that makes their sender known
            sent.append(rtp(len(sent)))
            server.transport.send_rtp(sent[-1])
            return received

        await until(heard)
        assert client.transport.receiver is not None
        assert client.transport.receiver.unprotect(received[0]) in sent
        await moved.transport.close()


async def test_media_sent_at_the_moment_of_connection_arrives() -> None:
    """The server has its keys a flight before the client, and may send in the same instant."""
    async with ports() as (server_port, client_port):
        server, client = server_end(server_port), client_end(client_port)
        packets = [rtp(number) for number in range(1, 21)]

        def send_all() -> None:
            for packet in packets:
                server.transport.send_rtp(packet)

        server.when_connected = send_all
        await connect(server, client)
        await until(lambda: len(client.rtp) == 20)
        assert client.rtp == packets
        assert client.connected == 1
        await client.transport.close()
        await server.transport.close()


async def test_media_before_keys_is_bounded_and_the_rest_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ports() as (server_port, client_port):
        server, client = server_end(server_port), client_end(client_port)
        monkeypatch.setattr(client.transport, "on_ice_connected", lambda: None)  # no ClientHello
        await introduce(server, client)
        await until(lambda: server.agent.connected and client.agent.connected)
        for number in range(100):
            client.agent.send(rtp(number, 250))
        await until(lambda: server.transport.drops["unkeyed"] == 36)
        await client.transport.close()
        await server.transport.close()


async def test_replayed_and_forged_srtp_is_a_counted_drop() -> None:
    async with association() as (server, client):
        assert client.transport.sender is not None
        data = client.transport.sender.protect(rtp(5))
        assert isinstance(data, bytes)
        for datagram in (data, data, data[:-1] + bytes([data[-1] ^ 1]), data[:11], b"\x80", b"\x80\xc8" + bytes(20)):
            client.agent.send(datagram)
        await until(lambda: server.transport.drops.total() == 5)
        assert server.rtp == [rtp(5)]
        await exchange(server, client)


async def test_sending_without_keys_or_too_much_is_a_counted_drop() -> None:
    async with ports(1) as (port,):
        end = server_end(port)
        end.transport.send_rtp(rtp())
        end.transport.send_rtcp(rtcp())
        assert end.transport.drops == {"unkeyed_out": 2}
        end.agent.send(b"x")
        assert end.agent.drops == {"no_path": 1}
        await end.transport.close()


async def test_closing_in_the_middle_leaves_nothing_behind() -> None:
    before = asyncio.all_tasks()
    async with ports() as (server_port, client_port):
        for turns in range(12):
            server, client = server_end(server_port), client_end(client_port)
            await introduce(server, client)
            for _ in range(turns):
                await asyncio.sleep(0)
            await client.transport.close()
            await server.transport.close()
            assert not server_port.listener_count
            assert not server_port.validated_addresses
            assert not client_port.awaited_responses
            assert server.closed in ([], ["dtls"])  # the client's close_notify may come first
    await until(lambda: asyncio.all_tasks() <= before)


async def test_fifty_associations_leave_no_task_and_no_file() -> None:
    async with ports() as (server_port, client_port):

        async def once() -> None:
            server, client = server_end(server_port), client_end(client_port)
            await connect(server, client)
            await client.transport.close()
            await server.transport.close()

        await once()
        tasks, files = asyncio.all_tasks(), open_files()
        for _ in range(50):
            await once()
        gc.collect()
        await until(lambda: asyncio.all_tasks() <= tasks)
        await until(lambda: open_files() <= files)
        assert not server_port.validated_addresses
        assert not client_port.listener_count


def test_uvloop_serves_too() -> None:
    async def run() -> None:
        async with association() as (server, client):
            await exchange(server, client)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
