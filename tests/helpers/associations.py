"""Two of our transports on 127.0.0.1 that talk to each other, and somebody who should not be heard."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sfu.rtc.ice.agent import DEFAULT_LIMITS, AgentTimeouts, IceAgent
from sfu.rtc.ice.full import FullAgent
from sfu.rtc.ice.lite import LiteAgent
from sfu.rtc.net.port import UdpPort
from sfu.rtc.transport import Certificate, Transport, TransportState
from tests.helpers.waiting import until

_sequences = itertools.count(100)
SERVER, CLIENT = Certificate.generate(), Certificate.generate()


def credentials() -> tuple[str, str]:
    return secrets.token_hex(4), secrets.token_hex(12)


def rtp(sequence: int = 1, size: int = 1000, ssrc: int = 0x1234) -> bytes:
    return struct.pack("!BBHII", 0x80, 96, sequence, 3000 * sequence, ssrc) + bytes(range(250)) * (size // 250)


def rtcp(ssrc: int = 0x1234) -> bytes:
    return struct.pack("!BBHI", 0x80, 201, 1, ssrc)


@dataclass
class End:
    """A transport and all that it said."""

    transport: Transport
    connected: int = 0
    rtp: list[bytes] = field(default_factory=list)
    rtcp: list[bytes] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.transport.on_connected = self._count
        self.transport.on_rtp = lambda packets, _: self.rtp.extend(packets)
        self.transport.on_rtcp = self.rtcp.append
        self.transport.on_closed = self.closed.append

    def _count(self) -> None:
        self.connected += 1

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
) -> End:
    ufrag, pwd = credentials()
    kind: Callable[..., IceAgent] = FullAgent if full else LiteAgent
    agent = kind(port, ufrag=ufrag, pwd=pwd, announce=(host,), limits=limits, **options)
    return End(Transport(agent, SERVER, role="server"))


def client_end(port: UdpPort, *, host: str = "127.0.0.1", limits: AgentTimeouts = DEFAULT_LIMITS, **agent: Any) -> End:
    ufrag, pwd = credentials()
    full = FullAgent(port, ufrag=ufrag, pwd=pwd, announce=(host,), controlling=True, limits=limits, **agent)
    return End(Transport(full, CLIENT, role="client"))


async def introduce(server: End, client: End, *, server_fingerprint: str = SERVER.fingerprint) -> None:
    """What signalling does: each side hears of the other."""
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


async def connect(server: End, client: End) -> None:
    await introduce(server, client)
    await until(lambda: server.up and client.up)


async def exchange(server: End, client: End) -> None:
    """One RTP packet and one RTCP packet each way; returns when all four arrived as they were sent."""
    sequence = next(_sequences)
    for end, other in ((server, client), (client, server)):
        other.rtp.clear()
        other.rtcp.clear()
        end.transport.send_rtp(rtp(sequence))
        end.transport.send_rtcp(rtcp())
        await until(lambda other=other: other.rtp and other.rtcp)
        assert other.rtp == [rtp(sequence)]
        assert other.rtcp == [rtcp()]


@contextlib.asynccontextmanager
async def association(*, full: bool = False, host: str = "127.0.0.1", **client: Any) -> AsyncIterator[tuple[End, End]]:
    """A connected (server, client), each on its own port."""
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
    """A socket whose address nobody has proven."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        sock.setblocking(False)
        yield sock
