"""aioice's full ICE agent on the shared port: the only file that uses private names of aioice.

Owns the differences from aioice's own sockets: packets leave and arrive by the shared port, every request is
authenticated before aioice sees it, relayed data is taken from proven peers only, and every queue has a bound. Never
checks, nominates, asks for consent (RFC 7675) or speaks TURN (RFC 8656) itself: aioice does.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol, cast

from aioice import Candidate, ice, turn
from aioice.candidate import candidate_foundation, candidate_priority

from sfu.rtc.ice.agent import TurnServer
from sfu.rtc.net import stun
from sfu.rtc.net.paths import Path
from sfu.rtc.net.port import Listener, UdpPort
from sfu.rtc.net.stun import Address

_COMPONENT: Final = 1
_MAX_WAITING_SENDS: Final = 64
"""Datagrams that may wait for a TURN channel to be bound."""
_MAX_BUFFERED_BYTES: Final = 1 << 20
"""The most that may wait in a TCP connection to a TURN server."""
RENEW_CHANNEL_S: Final = 240
"""A channel lasts 10 minutes, but its permission 5 (RFC 8656 sections 9 and 12); aioice would renew after 500 s."""
_GATHER_S: Final = 2.0
"""How long STUN and TURN servers may take to answer. The peer's offer waits for the answer meanwhile."""
_RELEASE_S: Final = 1.0
"""How long a TURN server may take to release an allocation."""


class ConnectionOwner(Listener, Protocol):
    """The listener of a connection: the full agent."""

    def on_heard(self) -> None:
        """Called when the peer has answered an authenticated check."""

    def prove(self, address: Address) -> bool:
        """Called when a check to or from `address` has passed. Returns False if the address is another agent's."""

    def on_check(self, data: bytes, connection: SharedConnection, base: Base, address: Address) -> None:
        """Called with a STUN request that came through a relay."""

    def on_selected(self, connection: SharedConnection) -> None:
        """Called when a pair was nominated: `connection.selected`."""

    def on_lost(self, connection: SharedConnection) -> None:
        """Called when consent has expired or the connection was closed."""


class Base(ice.StunProtocol):
    """A base (RFC 8445 section 2.1) of one connection: a place from which its packets leave."""

    receiver: SharedConnection

    async def request(
        self,
        request: stun.Message,
        addr: Address,
        integrity_key: bytes | None = None,
        retransmissions: int | None = None,
    ) -> tuple[stun.Message, Address]:
        """Sends a STUN request and returns its answer. An authenticated answer counts as a sign of life."""
        answer = await super().request(request, addr, integrity_key, retransmissions)
        if integrity_key is not None:
            self.receiver.owner.on_heard()
        return answer

    def prove(self, address: Address) -> bool:
        """Lets datagrams from `address` through. Returns False if the address is another agent's."""
        raise NotImplementedError

    def send_now(self, data: bytes, address: Address) -> bool:
        """Sends without waiting. Returns False if it cannot."""
        raise NotImplementedError


class _SocketTransport:
    """The shared port as the datagram transport that aioice expects."""

    def __init__(self, base: SocketBase) -> None:
        self._base = base

    def sendto(self, data: bytes, address: Address) -> None:
        self._base.port.send_from(self._base.socket, data, address)

    def close(self) -> None:
        self._base.connection_lost(None)


class SocketBase(Base):
    """One socket of the shared port, as one connection's base."""

    def __init__(self, receiver: SharedConnection, port: UdpPort, sock: socket.socket, host: str) -> None:
        super().__init__(receiver)
        self.port = port
        self.socket = sock
        foundation = candidate_foundation("host", "udp", host)
        priority = candidate_priority(_COMPONENT, "host")
        self.local_candidate = Candidate(foundation, _COMPONENT, "udp", priority, host, port.port, "host")
        self.connection_made(cast("asyncio.BaseTransport", _SocketTransport(self)))

    async def request(
        self,
        request: stun.Message,
        addr: Address,
        integrity_key: bytes | None = None,
        retransmissions: int | None = None,
    ) -> tuple[stun.Message, Address]:
        """Sends a STUN request and returns its answer, which the port brings. Answers not from `addr` are ignored."""

        def on_response(data: bytes, address: Address) -> None:
            if address != addr:  # not symmetric (RFC 8445 section 7.2.5.2.1)
                return
            self.datagram_received(data, address)
            # aioice's task sees the answer in the next turn of the loop; media right behind it may come in this turn.
            if integrity_key is not None and stun.agrees(data, integrity_key):
                self.prove(address)

        self.port.expect(request.transaction_id, on_response)
        try:
            return await super().request(request, addr, integrity_key, retransmissions)
        finally:
            self.port.forget(request.transaction_id)

    def prove(self, address: Address) -> bool:
        """Lets datagrams from `address` through to the owner."""
        return self.receiver.owner.prove(address)

    def send_now(self, data: bytes, address: Address) -> bool:
        """Sends from the shared socket."""
        return self.port.send_from(self.socket, data, address)


class RelayBase(Base):
    """An allocation on a TURN server."""

    def __init__(self, receiver: SharedConnection) -> None:
        super().__init__(receiver)
        self._proven: set[Address] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sets our interval of renewal on the new allocation."""
        super().connection_made(transport)
        self._client.channel_refresh_time = RENEW_CHANNEL_S

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        """Handles a datagram that the TURN server relayed from a peer at `addr`, trusted as little as on the port."""
        address: Address = (addr[0], addr[1])
        data = cast("bytes", data)
        if not data:
            return
        if data[0] >= 4:
            if address in self._proven:
                self.receiver.owner.on_data(data)
        elif stun.is_message(data):
            if stun.message_class(data) == stun.Class.REQUEST:
                self.receiver.owner.on_check(data, self.receiver, self, address)
            elif stun.parse(data) is not None:
                super().datagram_received(data, address)

    def prove(self, address: Address) -> bool:
        """Lets datagrams from `address` through to the owner."""
        self._proven.add(address)
        return True

    def send_now(self, data: bytes, address: Address) -> bool:
        """Sends as channel data; until the channel is bound, through aioice, with a bound on waiting datagrams.

        A channel due for renewal works for minutes more: the next consent check goes through aioice and renews it.
        """
        client = self._client
        if (channel := client.peer_to_channel.get(address)) is not None:
            tcp = client.transport if isinstance(client, turn.TurnClientTcpProtocol) else None
            if tcp is not None and tcp.get_write_buffer_size() > _MAX_BUFFERED_BYTES:
                return False
            client._send(struct.pack("!HH", channel, len(data)) + data)  # noqa: SLF001
            return True
        if len(self._relay("send_tasks")) >= _MAX_WAITING_SENDS:
            return False
        self.transport.sendto(data, address)
        return True

    def abort(self) -> None:
        """Ends an allocation whose server does not answer."""
        if (task := self._relay("close_task")) is not None:
            task.cancel()
        self._client.transport.close()

    @property
    def _client(self) -> turn.TurnClientProtocol:
        return cast("turn.TurnClientProtocol", self._relay("inner_protocol"))

    def _relay(self, name: str) -> Any:
        return getattr(self.transport, f"_TurnTransport__{name}")


class SharedConnection(ice.Connection):
    """One generation of ICE credentials: aioice's agent with the shared port as its host candidates."""

    def __init__(
        self,
        owner: ConnectionOwner,
        port: UdpPort,
        *,
        ufrag: str,
        pwd: str,
        controlling: bool,
        stun_server: Address | None,
        turn_server: TurnServer | None,
    ) -> None:
        super().__init__(controlling, stun_server=stun_server, local_username=ufrag, local_password=pwd)
        # Makes aioice nominate one pair; else it nominates each (RFC 5245 section 8.1.1.2) and the path would move.
        self.remote_is_lite = True
        self.owner = owner
        self.selected: tuple[Base, Address] | None = None
        self._port = port
        self._relay_server = turn_server

    async def gather(self, hosts: Sequence[str]) -> None:
        """Fills `local_candidates`: each socket with one of `hosts`, and those of STUN and TURN servers within 2 s."""
        self._local_candidates_start = True
        bases = [SocketBase(self, self._port, sock, host) for sock, host in _by_socket(self._port, hosts)]
        self._protocols += bases
        self._local_candidates += [base.local_candidate for base in bases]
        if tasks := [asyncio.create_task(query) for query in self._queries(bases)]:
            await self._collect(tasks)
        self._local_candidates_end = True
        if self._closing:  # closed while gathering: releases the allocations that came after that
            await self.release()

    async def connect(self) -> None:
        """Checks pairs until one is nominated. Raises ConnectionError if none works."""
        await super().connect()
        # aioice cancels the other checks and never repeats them, not even those of a pair the peer has nominated since.
        for pair in [pair for pair in self._check_list if pair.task is not None]:
            pair.task, pair.state = None, ice.CandidatePair.State.WAITING
            if pair.remote_nominated and not self._closing:
                self.check_start_task(pair)

    def base_of(self, sock: socket.socket) -> Base | None:
        """Returns the base on this socket of the port, or None."""
        return next((p for p in self._protocols if isinstance(p, SocketBase) and p.socket is sock), None)

    def path(self) -> Path | None:
        """Returns the selected pair as a path of the port; None if it leads through a relay or there is no pair."""
        if self.selected is None or not isinstance(self.selected[0], SocketBase):
            return None
        return Path(self.selected[0].socket, self.selected[1])

    @property
    def gathered(self) -> bool:
        """Returns True if `gather` has finished."""
        return self._local_candidates_end

    def send_selected(self, data: bytes) -> bool:
        """Sends by the selected pair. Returns False if there is no pair or its queue is full."""
        return self.selected is not None and self.selected[0].send_now(data, self.selected[1])

    def offer(self, candidate: Candidate, limit: int) -> bool:
        """Checks a remote candidate whose host is an address. Returns False if there are already `limit` of them."""
        if len(self._remote_candidates) >= limit:
            return False
        if not self._closing:
            self._add_remote_candidate(candidate, candidate.host)
        return True

    def may_learn(self, limit: int) -> bool:
        """Returns True if an unknown address may become a remote candidate (RFC 8445 section 7.3.1.3)."""
        return len(self._remote_candidates) + len(self._early_checks) < limit

    def knows(self, address: Address) -> bool:
        """Returns True if a remote candidate has this address."""
        return any((c._network_host, c.port) == address for c in self._remote_candidates)  # noqa: SLF001

    async def release(self) -> None:
        """Closes the connection within a second, even if a TURN server does not answer."""
        try:
            async with asyncio.timeout(_RELEASE_S):
                await self.close()
        except TimeoutError:
            for base in [base for base in self._protocols if isinstance(base, RelayBase)]:
                base.abort()

    def check_complete(self, pair: ice.CandidatePair) -> None:
        """Proves the address of a pair that works, and selects a nominated pair. Called by aioice after each check."""
        super().check_complete(pair)
        base = cast("Base", pair.protocol)
        if pair.state == ice.CandidatePair.State.SUCCEEDED:
            base.prove(pair.remote_addr)
        if self._nominated.get(_COMPONENT) is pair and self.selected != (base, pair.remote_addr):
            self.selected = (base, pair.remote_addr)
            self.owner.on_selected(self)

    def _emit_event(self, event: ice.ConnectionEvent) -> None:
        super()._emit_event(event)
        self.owner.on_lost(self)

    def _queries(self, bases: Sequence[SocketBase]) -> list[Any]:
        queries: list[Any] = []
        if self.stun_server:
            ipv4 = [base for base in bases if ":" not in base.local_candidate.host]
            queries += [ice.server_reflexive_candidate(base, self.stun_server) for base in ipv4]
        if server := self._relay_server:
            queries.append(self._allocate(server))
        return queries

    async def _allocate(self, server: TurnServer) -> tuple[Candidate, ice.StunProtocol | None]:
        return await ice.relayed_candidate(
            component=_COMPONENT,
            hide_related_address=True,
            protocol_factory=lambda: RelayBase(self),
            turn_server=(server.host, server.port),
            turn_username=server.username,
            turn_password=server.password,
            turn_ssl=server.tls,
            turn_transport=server.transport,
        )

    async def _collect(self, tasks: list[asyncio.Task[Any]]) -> None:
        done, late = await asyncio.wait(tasks, timeout=_GATHER_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        for task in done:
            if task.exception() is None:
                candidate, relay = task.result()
                self._local_candidates.append(candidate)
                if relay is not None:
                    self._protocols.append(relay)


def _by_socket(port: UdpPort, hosts: Sequence[str]) -> Iterator[tuple[socket.socket, str]]:
    """Yields each socket with the address to announce for it: its own, or for a wildcard the first of its family."""
    for sock in port.sockets:
        bound = ipaddress.ip_address(sock.getsockname()[0])
        for host in hosts:
            address = ipaddress.ip_address(host)
            if address.version == bound.version and (bound.is_unspecified or address == bound):
                yield sock, host
                break
