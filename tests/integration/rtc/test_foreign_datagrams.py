"""Datagrams of strangers change nothing (OWASP ASVS 17.2.4 to 17.2.6), before and after connecting.

aiortc 1.16 with aioice 0.13 by themselves fail here: one empty datagram from anywhere closes a connection, and one
forged alert or handshake record before ICE completes fails it.
"""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from aioice import stun as wire

from sfu.rtc.net.port import UdpPort
from sfu.rtc.net.stun import Address
from tests.helpers.transports import (
    CLIENT_HELLO,
    association,
    check,
    client_end,
    connect,
    credentials,
    exchange,
    introduce,
    ports,
    rtcp,
    rtp,
    server_end,
    stranger,
)
from tests.helpers.waiting import until

FATAL_ALERT = bytes.fromhex("15feff0000000000000000000202 28".replace(" ", ""))
CLOSE_NOTIFY = bytes.fromhex("15feff00000000000000010002 0100".replace(" ", ""))
HANDSHAKE_JUNK = b"\x16\xfe\xfd" + bytes(range(60))

EMPTY = {"empty": b""}
DTLS = {
    "fatal alert": FATAL_ALERT,
    "close notify": CLOSE_NOTIFY,
    "client hello": CLIENT_HELLO,
    "handshake junk": HANDSHAKE_JUNK,
}
MEDIA = {"rtp": rtp(), "rtcp": rtcp(), "one byte of rtp": b"\x80"}
OTHER = {"channel data": b"\x40\x00\x00\x04abcd", "high junk": b"\xff" * 40, "quic": b"\xc3" * 1200}


def nominates(data: bytes) -> bool:
    return "USE-CANDIDATE" in wire.parse_message(data).attributes


def stun_junk(ufrag: str) -> dict[str, bytes]:
    """Messages that look like STUN to one of our ufrags and prove nothing."""
    forged = bytes(check(f"{ufrag}:abcd", credentials()[1]))
    bare = wire.Message(wire.Method.BINDING, wire.Class.REQUEST)
    unsigned = wire.Message(wire.Method.BINDING, wire.Class.REQUEST, attributes={"USERNAME": f"{ufrag}:abcd"})
    lengths = bytearray(bytes(unsigned))
    lengths[22:24] = b"\xff\xff"
    response = wire.Message(wire.Method.BINDING, wire.Class.RESPONSE, attributes={"XOR-MAPPED-ADDRESS": ("1.2.3.4", 5)})
    indication = wire.Message(wire.Method.BINDING, wire.Class.INDICATION)
    return {
        "wrong integrity": forged,
        "twenty bytes of a check": forged[:20],
        "nineteen bytes of a check": forged[:19],
        "wrong fingerprint": forged[:-1] + bytes([forged[-1] ^ 1]),
        "no attributes": bytes(bare),
        "unsigned": bytes(unsigned),
        "attribute beyond the end": bytes(lengths),
        "unknown ufrag": bytes(check("nobody:abcd", credentials()[1])),
        "no such response": bytes(response),
        "indication": bytes(indication),
        "one byte": b"\x00",
        "zeros": bytes(200),
    }


@pytest.fixture(params=[False, True], ids=["lite", "full"])
def full(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def arrived(port: UdpPort, before: int, count: int) -> None:
    await until(lambda: port.received >= before + count)


async def test_strangers_change_nothing_after_connecting(full: bool) -> None:
    async with association(full=full) as (server, client):
        port = server.port
        with stranger() as sock:
            for payloads in (EMPTY, DTLS, MEDIA, OTHER, stun_junk(server.agent.ufrag)):
                for name, data in payloads.items():
                    before, drops = port.received, port.drops.total()
                    sock.sendto(data, ("127.0.0.1", port.port))
                    await arrived(port, before, 1)
                    assert port.drops.total() == drops + 1, f"{name} is not counted"
                    await exchange(server, client)
            with pytest.raises(BlockingIOError):
                sock.recv(2048)  # nobody was answered: no reflection, no oracle
        assert not server.transport.drops
        assert not server.closed + client.closed


async def test_strangers_change_nothing_before_connecting(full: bool) -> None:
    async with ports() as (server_port, client_port):
        server, client = server_end(server_port, full=full), client_end(client_port)
        with stranger() as sock:
            hostile = EMPTY | DTLS | MEDIA | OTHER | stun_junk(server.agent.ufrag) | stun_junk(client.agent.ufrag)
            for port in (server_port, client_port):
                for data in hostile.values():
                    sock.sendto(data, ("127.0.0.1", port.port))
                await arrived(port, 0, len(hostile))
            await connect(server, client)
            await exchange(server, client)
        assert not server.closed + client.closed
        await client.transport.close()
        await server.transport.close()


async def test_strangers_change_nothing_during_the_handshake(full: bool) -> None:
    """The ClientHello race: a stranger's records come first, all the time from the offer to the keys."""
    async with ports() as (server_port, client_port):
        server, client = server_end(server_port, full=full), client_end(client_port)
        await introduce(server, client)
        with stranger() as sock:
            while not (server.up and client.up):
                for data in (b"", *DTLS.values()):
                    sock.sendto(data, ("127.0.0.1", server_port.port))
                    sock.sendto(data, ("127.0.0.1", client_port.port))
                await asyncio.sleep(0)
        await exchange(server, client)
        await client.transport.close()
        await server.transport.close()


async def test_junk_from_the_peers_own_address_changes_nothing(full: bool) -> None:
    """A peer's address is no secret, and anybody on its network can forge it."""
    async with association(full=full) as (server, client):
        port, path = server.port, client.agent.path
        for data in (
            *EMPTY.values(),
            *stun_junk(server.agent.ufrag).values(),
            *OTHER.values(),
            *MEDIA.values(),
            *DTLS.values(),
        ):
            before = port.received
            client.port.send(data, path)
            await arrived(port, before, 1)
            await exchange(server, client)
        assert not server.closed + client.closed


async def test_a_replayed_response_changes_nothing(full: bool) -> None:
    async with association(full=full) as (server, client):
        port = client.port
        response = wire.Message(wire.Method.BINDING, wire.Class.RESPONSE)
        response.attributes["XOR-MAPPED-ADDRESS"] = ("127.0.0.1", 9)
        response.add_message_integrity(server.agent.pwd.encode())
        path = client.agent.path.address
        for _ in range(3):
            server.port.send(bytes(response), server.agent.path)
        await until(lambda: port.drops["unexpected_response"] == 3)
        assert client.agent.path.address == path
        await exchange(server, client)


async def test_an_answer_from_another_address_is_not_the_answer() -> None:
    """A response counts only from where the request went (RFC 8445 section 7.2.5.2.1)."""
    async with ports(1) as (port,):
        client = client_end(port)
        await client.agent.gather()
        pwd = credentials()[1]
        with stranger() as asked, stranger() as other:
            client.agent.start(ufrag="abcd", pwd=pwd, lite=True)
            client.agent.add_candidate(f"1 1 udp 1 127.0.0.1 {asked.getsockname()[1]} typ host")
            received: list[bytes] = []
            asyncio.get_running_loop().add_reader(asked, lambda: received.append(asked.recv(2048)))
            await until(lambda: received)
            request = wire.parse_message(received[0])
            answer = wire.Message(wire.Method.BINDING, wire.Class.RESPONSE, request.transaction_id)
            answer.attributes["XOR-MAPPED-ADDRESS"] = ("127.0.0.1", port.port)
            answer.add_message_integrity(pwd.encode())
            before = port.received
            other.sendto(bytes(answer), ("127.0.0.1", port.port))
            await arrived(port, before, 1)
            assert not any(nominates(data) for data in received)
            assert not port.validated_addresses
            asked.sendto(bytes(answer), ("127.0.0.1", port.port))
            await until(lambda: nominates(received[-1]))
            assert port.validated_addresses == (asked.getsockname(),)
            asyncio.get_running_loop().remove_reader(asked)
        await client.transport.close()


async def test_nobody_takes_over_an_address_that_is_heard(full: bool) -> None:
    """A second participant with valid credentials of its own claims the first one's address by forging its source."""
    async with association(full=full) as (server, client):
        port = server.port
        thief = server_end(port, full=full)
        await thief.agent.gather()
        thief.transport.start(ufrag="abcd", pwd=credentials()[1], lite=False, fingerprints=[("sha-256", "00")])
        forged = check(f"{thief.agent.ufrag}:abcd", thief.agent.pwd)
        client.port.send(bytes(forged), client.agent.path)
        await until(lambda: port.drops["address_taken"] == 1)
        await exchange(server, client)
        await thief.transport.close()
        await exchange(server, client)


async def test_a_lite_agent_answers_a_peer_in_the_wrong_role() -> None:
    """487 makes the peer controlling, as a lite agent is always controlled (RFC 8445 section 7.3.1.1)."""
    async with ports(1) as (port,):
        server = server_end(port)
        server.transport.start(ufrag="abcd", pwd="x" * 22, lite=False, fingerprints=[("sha-256", "00")])
        message = check(f"{server.agent.ufrag}:abcd", server.agent.pwd, ICE_CONTROLLED=1)
        del message.attributes["ICE-CONTROLLING"]
        message.add_message_integrity(server.agent.pwd.encode())
        with stranger() as sock:
            sock.sendto(bytes(message), ("127.0.0.1", port.port))
            await until(lambda: port.received)
            await asyncio.sleep(0)
            answer = wire.parse_message(sock.recv(2048))
        assert answer.error_code == 487
        assert answer.check_message_integrity(server.agent.pwd.encode())
        assert not port.validated_addresses
        await server.transport.close()


async def test_a_lite_agent_sends_nothing_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """An offer full of addresses makes it send not one packet (zero bytes before a check proves the address)."""
    async with ports(1) as (port,):
        server = server_end(port)
        sent: list[object] = []
        monkeypatch.setattr(port, "send_from", lambda *args: sent.append(args))
        server.transport.start(ufrag="abcd", pwd="x" * 22, lite=False, fingerprints=[("sha-256", "00")])
        with stranger() as target:
            for _ in range(100):
                server.agent.add_candidate(f"candidate:1 1 udp 1 127.0.0.1 {target.getsockname()[1]} typ host")
            await asyncio.sleep(0.05)
            with pytest.raises(BlockingIOError):
                target.recv(2048)
        assert not sent
        await server.transport.close()


async def test_five_hundred_candidates_cost_nothing(full: bool) -> None:
    async with ports(1) as (port,):
        server = server_end(port, full=full)
        await server.agent.gather()
        server.transport.start(ufrag="abcd", pwd="x" * 22, lite=False, fingerprints=[("sha-256", "00")])
        begin = time.process_time()
        for text in ("", "candidate:", "\0" * 70_000, "candidate:1 1 udp x y z typ host", None, "🎥" * 300) * 84:
            server.agent.add_candidate(text)
        assert time.process_time() - begin < 0.5
        assert not server.closed
        await server.transport.close()


async def test_a_full_agent_checks_sixteen_candidates_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ports(1) as (port,):
        checked: set[Address] = set()

        def send_from(_sock: socket.socket, _data: bytes, address: Address) -> bool:
            checked.add(address)
            return True

        monkeypatch.setattr(port, "send_from", send_from)
        server = server_end(port, full=True)
        await server.agent.gather()
        server.transport.start(ufrag="abcd", pwd="x" * 22, lite=False, fingerprints=[("sha-256", "00")])
        for number in range(500):
            server.agent.add_candidate(f"candidate:1 1 udp 1 127.0.0.1 {20000 + number} typ host")
        await until(lambda: len(checked) == 16)
        await asyncio.sleep(0.1)  # time for five more checks
        assert len(checked) == 16
        assert server.agent.drops["candidates_full"] == 484
        await server.transport.close()
