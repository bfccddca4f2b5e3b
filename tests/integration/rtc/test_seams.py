"""The private parts of aiortc 1.16, aioice 0.13 and pylibsrtp 1.0 that `sfu.rtc` relies on.

None of it is promised by those projects. A new release that changes it fails here, with its name.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from aioice import Candidate, Connection, ice, stun, turn
from aiortc import rtcdtlstransport as dtls
from OpenSSL import SSL

from sfu.rtc.ice.aioice_agent import Base, SharedConnection
from sfu.rtc.net import srtp
from sfu.rtc.net.stun import Address
from tests.helpers.transports import CLIENT, SERVER, ports, rtp, server_end
from tests.helpers.waiting import PATIENCE_S, until


class Pipe:
    """The part of an ICE transport that aiortc's DTLS uses."""

    def __init__(self) -> None:
        self.records: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent: list[bytes] = []
        self.other: Pipe | None = None

    async def _recv(self) -> bytes:
        return await self.records.get()

    async def _send(self, data: bytes) -> None:
        self.sent.append(data)
        assert self.other
        self.other.records.put_nowait(data)


Pair = tuple[Any, Any]
"""Two `RTCDtlsTransport`, (server, client), untyped: their private parts are what is looked at."""


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Two DTLS transports of aiortc after their handshake: (server, client)."""
    pipes = Pipe(), Pipe()
    pipes[0].other, pipes[1].other = pipes[1], pipes[0]
    server, client = (
        dtls.RTCDtlsTransport(cast("Any", p), [c.rtc]) for p, c in zip(pipes, (SERVER, CLIENT), strict=True)
    )
    server._set_role("server")
    client._set_role("client")
    server._srtp_profiles = [dtls.SRTP_AES128_CM_SHA1_80, dtls.SRTP_AEAD_AES_256_GCM]
    fingerprints = [dtls.RTCDtlsFingerprint("sha-256", c.fingerprint) for c in (CLIENT, SERVER)]
    await asyncio.gather(
        *(t.start(dtls.RTCDtlsParameters([f])) for t, f in zip((server, client), fingerprints, strict=True))
    )
    yield server, client
    await client.stop()
    await server.stop()


async def test_dtls_needs_no_more_than_recv_and_send(pair: Pair) -> None:
    assert [end.state for end in pair] == ["connected", "connected"]


async def test_the_servers_list_chooses_the_srtp_profile(pair: Pair) -> None:
    assert pair[0]._ssl.get_selected_srtp_profile() == b"SRTP_AES128_CM_SHA1_80"
    assert pair[1]._ssl.get_selected_srtp_profile() == b"SRTP_AES128_CM_SHA1_80"


async def test_our_srtp_contexts_agree_with_those_that_aiortc_would_have_set_up(pair: Pair) -> None:
    profile = next(profile for profile in srtp.PROFILES if profile.name == "SRTP_AES128_CM_SHA1_80")
    packet = b"\x80\x60" + bytes(10) + b"payload"
    for end, other in (pair, pair[::-1]):
        material = end._ssl.export_keying_material(b"EXTRACTOR-dtls_srtp", srtp.keying_length(profile))
        receiver, sender = srtp.contexts(profile, material, server=end._role == "server")
        assert receiver.unprotect(other._tx_srtp.protect(packet)) == packet
        assert other._rx_srtp.unprotect(sender.protect(packet)) == packet
        assert len(sender.protect(packet) or b"") == len(packet) + sender.overhead


async def test_dtls_handshakes_have_the_three_profiles() -> None:
    names = [profile.openssl_profile for profile in dtls.SRTP_PROFILES]
    assert sorted(names) == [b"SRTP_AEAD_AES_128_GCM", b"SRTP_AEAD_AES_256_GCM", b"SRTP_AES128_CM_SHA1_80"]


async def test_close_notify_ends_the_reading_task_and_says_so(pair: Pair) -> None:
    server, client = pair
    states = []
    server.on("statechange", lambda: states.append(server.state))
    task = server._task
    await client.stop()
    await asyncio.wait([task], timeout=PATIENCE_S)
    assert states == ["closed"]
    assert server._ssl.get_shutdown() & SSL.RECEIVED_SHUTDOWN


async def test_a_connection_error_while_reading_is_the_end(pair: Pair) -> None:
    """`_recv_next` may raise it for a fatal alert, which aiortc overlooks."""
    server, _ = pair

    async def fail() -> None:
        raise ConnectionError

    server._recv_next = fail
    server._transport.records.put_nowait(b"\x17")
    await asyncio.wait([server._task], timeout=PATIENCE_S)
    assert server.state == "closed"


async def test_a_wrong_fingerprint_fails_after_the_encryption_is_up() -> None:
    assert inspect.getsource(dtls.RTCDtlsTransport.start).index("_do_handshake") < inspect.getsource(
        dtls.RTCDtlsTransport.start
    ).index("_validate_peer_identity")


async def test_a_stun_protocol_sends_by_its_transport_and_closes_by_connection_lost() -> None:
    sent: list[tuple[bytes, Address]] = []
    connection = Connection(ice_controlling=True)

    class Transport:
        def sendto(self, data: bytes, address: Address) -> None:
            sent.append((data, address))

        def close(self) -> None:
            protocol.connection_lost(None)

    protocol = ice.StunProtocol(connection)
    protocol.local_candidate = Candidate("1", 1, "udp", 1, "127.0.0.1", 9, "host")
    protocol.connection_made(cast("Any", Transport()))
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    waiting = asyncio.create_task(protocol.request(request, ("127.0.0.1", 9), b"key"))
    await asyncio.sleep(0)
    assert sent == [(bytes(request), ("127.0.0.1", 9))]
    answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
    answer.add_message_integrity(b"key")
    protocol.datagram_received(bytes(answer), ("127.0.0.1", 9))
    assert (await waiting)[1] == ("127.0.0.1", 9)
    await asyncio.wait_for(protocol.close(), PATIENCE_S)


async def test_a_connection_has_these_parts() -> None:
    connection: Any = Connection(ice_controlling=True, local_username="abcd", local_password="p" * 22)
    assert connection._protocols == connection._local_candidates == connection._remote_candidates == []
    assert not len(connection._early_checks)
    assert not connection._nominated
    assert not connection._closing
    assert not connection._local_candidates_start
    assert not connection._local_candidates_end
    connection._add_remote_candidate(Candidate("1", 1, "udp", 1, "::1", 9, "host"), "::1")
    assert connection._remote_candidates[0]._network_host == "::1"
    events: list[ice.ConnectionEvent] = []
    connection._emit_event = events.append
    await connection.close()
    await connection.close()
    assert [type(event) for event in events] == [ice.ConnectionClosed]


async def test_a_connection_waits_for_more_candidates_until_their_end() -> None:
    connection = Connection(ice_controlling=True)
    connection._local_candidates_end = True
    connection.remote_username, connection.remote_password = "abcd", "p" * 22
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await connection.connect()
    await connection.close()


class HeldBase(Base):
    """A base whose checks of an address are answered once the test opens its gate."""

    def __init__(self, receiver: SharedConnection) -> None:
        super().__init__(receiver)
        self.local_candidate = Candidate("1", 1, "udp", 1, "127.0.0.1", 9, "host")
        self.gates = {("127.0.0.1", port): asyncio.Event() for port in (1, 2)}

    async def request(
        self,
        request: stun.Message,
        addr: Address,
        integrity_key: bytes | None = None,
        retransmissions: int | None = None,
    ) -> tuple[stun.Message, Address]:
        await self.gates[addr].wait()
        return request, addr

    def prove(self, address: Address) -> bool:
        return True

    async def close(self) -> None:
        pass


class Selections:
    """The owner of a connection, with the addresses that it selected."""

    def __init__(self) -> None:
        self.addresses: list[Address] = []

    def on_selected(self, connection: SharedConnection) -> None:
        assert connection.selected
        self.addresses.append(connection.selected[1])

    def on_lost(self, connection: SharedConnection) -> None:
        pass


async def test_a_pair_nominated_while_the_first_one_completes_is_selected() -> None:
    """aioice cancels the checks in progress then, which would leave that pair unchecked for ever."""
    owner = Selections()
    connection = SharedConnection(
        cast("Any", owner),
        cast("Any", None),
        ufrag="abcd",
        pwd="p" * 22,
        controlling=False,
        stun_server=None,
        turn_server=None,
    )
    base = HeldBase(connection)
    connection._protocols.append(base)
    connection._local_candidates_end = True
    connection.remote_username, connection.remote_password = "efgh", "q" * 22
    connecting = asyncio.create_task(connection.connect())
    await asyncio.sleep(0)
    check = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    check.attributes.update({"PRIORITY": 1, "USE-CANDIDATE": None})
    first, second = base.gates
    connection.check_incoming(check, first, base)
    base.gates[first].set()
    await until(lambda: owner.addresses)
    connection.check_incoming(check, second, base)
    assert not connecting.done()
    await connecting
    base.gates[second].set()
    await until(lambda: owner.addresses == [first, second])
    await connection.close()


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (dtls.RTCDtlsTransport._setup_srtp, ["self"]),
        (ice.Connection.check_complete, ["self", "pair"]),
        (ice.Connection.request_received, ["self", "message", "addr", "protocol"]),
        (ice.StunProtocol.request, ["self", "request", "addr", "integrity_key", "retransmissions"]),
        (ice.server_reflexive_candidate, ["protocol", "stun_server"]),
        (
            ice.relayed_candidate,
            [
                "component",
                "hide_related_address",
                "protocol_factory",
                "turn_server",
                "turn_username",
                "turn_password",
                "turn_ssl",
                "turn_transport",
            ],
        ),
    ],
)
def test_what_is_overridden_or_called_has_this_shape(function: Callable[..., object], names: list[str]) -> None:
    assert list(inspect.signature(function).parameters) == names


async def test_a_turn_transport_has_these_parts() -> None:
    client = turn.TurnClientUdpProtocol(("127.0.0.1", 9), "user", "pass", lifetime=600, channel_refresh_time=500)
    transport: Any = turn.TurnTransport(client)
    assert transport._TurnTransport__inner_protocol is client
    assert transport._TurnTransport__send_tasks == set()
    assert transport._TurnTransport__close_task is None
    assert client.peer_to_channel == client.channel_refresh_at == {}
    assert client.channel_refresh_time == 500
    sent: list[bytes] = []
    client.transport = cast("Any", type("Transport", (), {"sendto": staticmethod(sent.append)}))
    client._send(b"x")
    assert sent == [b"x"]


async def test_aiortc_clients_connect() -> None:
    """Plain aioice and aiortc objects, as every aiortc program has them, on the other side."""
    async with ports(1) as (port,):
        server = server_end(port)
        remote = Connection(ice_controlling=True)
        remote.remote_username, remote.remote_password = server.agent.ufrag, server.agent.pwd
        remote.remote_is_lite = True
        _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: ice.StunProtocol(remote), local_addr=("127.0.0.1", 0)
        )
        name = protocol.transport.get_extra_info("sockname")
        protocol.local_candidate = Candidate("1", 1, "udp", 1, name[0], name[1], "host")
        remote._protocols.append(protocol)
        remote._local_candidates_end = True
        for candidate in server.agent.candidates():
            await remote.add_remote_candidate(Candidate.from_sdp(candidate))
        server.transport.start(
            ufrag=remote.local_username,
            pwd=remote.local_password,
            lite=False,
            fingerprints=[("sha-256", CLIENT.fingerprint)],
        )
        await remote.connect()

        class Ice:
            role, state = "controlling", "completed"
            _recv, _send = remote.recv, remote.send

        client = dtls.RTCDtlsTransport(cast("Any", Ice()), [CLIENT.rtc])
        client._set_role("client")
        await client.start(dtls.RTCDtlsParameters([dtls.RTCDtlsFingerprint("sha-256", SERVER.fingerprint)]))
        assert client.state == "connected"
        await until(lambda: server.up)
        await client._send_rtp(rtp())
        await until(lambda: server.rtp == [rtp()])
        await client.stop()
        await until(lambda: server.closed == ["dtls"])
        await remote.close()
        await server.transport.close()


async def test_early_checks_and_foreign_data_are_what_we_keep_from_aioice() -> None:
    """The defect: aioice hands up datagrams that are not STUN from any source, and aiortc indexes them."""
    connection = Connection(ice_controlling=True)
    protocol = ice.StunProtocol(connection)
    protocol.local_candidate = Candidate("1", 1, "udp", 1, "127.0.0.1", 9, "host")
    protocol.datagram_received(b"", ("192.0.2.1", 1))
    assert connection._queue.get_nowait() == (b"", 1)
