"""Two of our transports on 127.0.0.1 that talk to each other, and somebody who should not be heard."""

from __future__ import annotations

import contextlib
import functools
import itertools
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal

from aioice import stun as wire

from sfu.rtc.dtls import Certificate
from sfu.rtc.ice.agent import DEFAULT_LIMITS, AgentListener, AgentTimeouts, IceAgent
from sfu.rtc.ice.full import FullAgent
from sfu.rtc.ice.lite import LiteAgent
from sfu.rtc.net.port import UdpPort
from sfu.rtc.net.receive import Arrived
from sfu.rtc.transport import Transport, TransportState
from tests.helpers.waiting import until

_sequences = itertools.count(100)
CLIENT_HELLO = bytes.fromhex("16feff0000000000000000002c 010000200000000000000020fefd".replace(" ", "")) + bytes(32)
SERVER, CLIENT = Certificate.generate(), Certificate.generate()


def credentials() -> tuple[str, str]:
    return secrets.token_hex(4), secrets.token_hex(12)


def check(username: str, pwd: str, **attributes: object) -> wire.Message:
    """Returns a connectivity check that nominates, to the peer whose ufrag `username` begins with."""
    message = wire.Message(wire.Method.BINDING, wire.Class.REQUEST)
    message.attributes |= {"USERNAME": username, "PRIORITY": 1, "ICE-CONTROLLING": 1, "USE-CANDIDATE": None}
    message.attributes |= {name.replace("_", "-"): value for name, value in attributes.items()}
    message.add_message_integrity(pwd.encode())
    return message


def rtp(sequence: int = 1, size: int = 1000, ssrc: int = 0x1234) -> bytes:
    return struct.pack("!BBHII", 0x80, 96, sequence, 3000 * sequence, ssrc) + bytes(range(250)) * (size // 250)


def rtcp(ssrc: int = 0x1234) -> bytes:
    return struct.pack("!BBHI", 0x80, 201, 1, ssrc)


class Endpoint:
    """A transport with all packets and notices that it gave."""

    def __init__(
        self,
        port: UdpPort,
        make_agent: Callable[[AgentListener], IceAgent],
        certificate: Certificate,
        role: Literal["server", "client"],
    ) -> None:
        self.port = port
        self.transport = Transport(make_agent, certificate, role=role, listener=self, media=self)
        self.connected = 0
        self.bugs = 0
        self.rtp: list[bytes] = []
        self.rtcp: list[bytes] = []
        self.closed: list[str] = []
        self.when_connected: Callable[[], object] = lambda: None
        self.take_rtp: Callable[[bytes], object] = self.rtp.append
        self.take_rtcp: Callable[[bytes], object] = self.rtcp.append

    def receive(self, packets: Sequence[bytes], now: float, arrived: Arrived) -> None:
        for packet in packets:
            self.take_rtp(packet)

    def on_rtcp(self, data: bytes) -> None:
        self.take_rtcp(data)

    def on_connected(self) -> None:
        self.connected += 1
        self.when_connected()

    def on_route(self) -> None:
        """Batches nothing."""

    def on_moved(self) -> None:
        """Does not mind."""

    def on_closed(self, reason: str) -> None:
        self.closed.append(reason)

    def on_bug(self) -> None:
        self.bugs += 1

    @property
    def agent(self) -> Any:
        return self.transport.agent

    @property
    def up(self) -> bool:
        return self.transport.state == TransportState.CONNECTED


@contextlib.asynccontextmanager
async def ports(
    count: int = 2, *, bind: Sequence[str] = ("127.0.0.1",), sweep_interval: float = 0.02
) -> AsyncIterator[list[UdpPort]]:
    opened = [await UdpPort.open(bind=bind, sweep_interval=sweep_interval) for _ in range(count)]
    try:
        yield opened
    finally:
        for port in opened:
            port.close()


def server_end(
    port: UdpPort,
    *,
    full: bool = False,
    host: str = "127.0.0.1",
    limits: AgentTimeouts = DEFAULT_LIMITS,
    **options: Any,
) -> Endpoint:
    ufrag, pwd = credentials()
    kind: Callable[..., IceAgent] = FullAgent if full else LiteAgent
    make = functools.partial(kind, port, ufrag=ufrag, pwd=pwd, announce=lambda: (host,), limits=limits, **options)
    return Endpoint(port, make, SERVER, "server")


def client_end(
    port: UdpPort, *, host: str = "127.0.0.1", limits: AgentTimeouts = DEFAULT_LIMITS, **agent: Any
) -> Endpoint:
    ufrag, pwd = credentials()
    options = {"ufrag": ufrag, "pwd": pwd, "announce": lambda: (host,), "controlling": True, "limits": limits, **agent}
    return Endpoint(port, functools.partial(FullAgent, port, **options), CLIENT, "client")


async def introduce(server: Endpoint, client: Endpoint, *, server_fingerprint: str = SERVER.fingerprint) -> None:
    """Does the work of signalling: each side gets the parameters and candidates of the other."""
    await server.agent.gather()
    await client.agent.gather()
    for end, other, fingerprint in ((server, client, CLIENT.fingerprint), (client, server, server_fingerprint)):
        end.transport.start(
            ufrag=other.agent.ufrag,
            pwd=other.agent.pwd,
            lite=other.agent.lite,
            fingerprints=[("sha-256", fingerprint)],
        )
        for candidate in other.agent.candidates():
            end.agent.add_candidate(candidate)


async def connect(server: Endpoint, client: Endpoint) -> None:
    await introduce(server, client)
    await until(lambda: server.up and client.up)


def _got_both(end: Endpoint) -> bool:
    return bool(end.rtp and end.rtcp)


async def exchange(server: Endpoint, client: Endpoint) -> None:
    """Sends one RTP and one RTCP packet each way; returns when all four arrived as they were sent."""
    sequence = next(_sequences)
    for end, other in ((server, client), (client, server)):
        other.rtp.clear()
        other.rtcp.clear()
        end.transport.send_rtp(rtp(sequence))
        end.transport.send_rtcp(rtcp())
        await until(functools.partial(_got_both, other))
        assert other.rtp == [rtp(sequence)]
        assert other.rtcp == [rtcp()]


@contextlib.asynccontextmanager
async def association(
    *, full: bool = False, host: str = "127.0.0.1", **client: Any
) -> AsyncIterator[tuple[Endpoint, Endpoint]]:
    """Makes a connected (server, client), each on its own port."""
    async with ports(bind=(host,)) as (server_port, client_port):
        server = server_end(server_port, full=full, host=host)
        other = client_end(client_port, host=host, **client)
        try:
            await connect(server, other)
            yield server, other
        finally:
            await other.transport.close()
            await server.transport.close()


@contextlib.contextmanager
def stranger(host: str = "127.0.0.1") -> Any:
    """Opens a socket whose address nobody has proven."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        sock.setblocking(False)
        yield sock
