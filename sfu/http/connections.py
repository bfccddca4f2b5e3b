"""The TCP connections of the HTTP server: which are accepted, and when one that asks for nothing ends.

Owns the listening sockets and aiohttp's connections. The recorder needs descriptors too: a connection never gets one of
the highest numbers, so that these are left for recordings however many connect. Never knows what is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import resource
import socket
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import web

from sfu.http import headers
from sfu.http.answers import FRESH
from sfu.http.refusals import Refusals

_log = logging.getLogger(__name__)

RESERVED_DESCRIPTORS: Final = 64
"""Descriptors that are left for recordings: segments, their directories, and the child processes of clips."""
_BACKLOG: Final = 256
_PAUSE_S: Final = 0.2
"""After a failed accept: without descriptors, for example, the connection stays in the queue of the kernel."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections there may be, and how long one may take to ask for something."""

    total: int = 256
    """Connections with all addresses, without the WebSockets of MQTT clients: the door limits these."""
    per_address: int = 32
    """Connections with one address, WebSockets too; 0: no limit. Addresses of this machine have none."""
    head_s: float = 10.0
    """For the head of a request to arrive."""
    idle_s: float = 60.0
    """From the end of a response to the next request."""


class Connections:
    """The open connections, and the sockets that accept new ones."""

    def __init__(self, limits: ConnectionLimits, refusals: Refusals) -> None:
        self.limits = limits
        self._refusals = refusals
        self._open: dict[Connection, str | None] = {}
        self._addresses: Counter[str] = Counter()
        self._lasting = 0
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []

    def __len__(self) -> int:
        return len(self._open)

    @property
    def port(self) -> int | None:
        """The port of the listening sockets; None if there are none."""
        return int(self._sockets[0].getsockname()[1]) if self._sockets else None

    async def listen(self, host: str, port: int) -> None:
        """Opens the listening sockets; port 0 takes a free one. Raises OSError if one cannot listen."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                self._sockets.append(_listening(family, (address[0], self.port or address[1], *address[2:])))
        except OSError:
            self._close_sockets()
            raise

    def serve(self, server: web.Server) -> None:
        """Starts to accept connections, for this server of aiohttp."""
        for listening in self._sockets:
            task = asyncio.get_running_loop().create_task(self._accept(listening, server), name="http accept")
            self._tasks.append(task)

    async def stop_accepting(self) -> None:
        """Closes the listening sockets. Connections that are open stay. Idempotent."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks.clear()
        self._close_sockets()

    def abort(self) -> None:
        """Ends every connection at once."""
        for connection in tuple(self._open):
            if connection.transport is not None:
                connection.transport.abort()

    def remove(self, connection: Connection) -> None:
        """Forgets a connection that has ended. Idempotent."""
        if connection not in self._open:
            return
        address = self._open.pop(connection)
        self._lasting -= connection.lasting
        if address is not None:
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

    def keep(self, connection: object) -> None:
        """Takes a connection out of the total: it has become the WebSocket of an MQTT client."""
        if isinstance(connection, Connection) and connection in self._open and not connection.lasting:
            connection.lasting = True
            self._lasting += 1

    def _close_sockets(self) -> None:
        while self._sockets:
            self._sockets.pop().close()

    async def _accept(self, listening: socket.socket, server: web.Server) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listening)
            except OSError as error:
                self._refusals.each_minute("accept", "cannot accept HTTP connections: %s", error.strerror or error)
                await asyncio.sleep(_PAUSE_S)
                continue
            address = counted_address(peer[0])
            if self._refuses(accepted.fileno(), peer[0], address):
                accepted.close()
                continue
            await self._take(accepted, address, Connection(server, self, self._refusals))

    async def _take(self, accepted: socket.socket, address: str | None, connection: Connection) -> None:
        self._open[connection] = address
        if address is not None:
            self._addresses[address] += 1
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, accepted)
        except (OSError, RuntimeError, ValueError) as error:  # it has ended already
            _log.debug("an accepted connection cannot be used: %s", error)
            self.remove(connection)
            accepted.close()

    def _refuses(self, descriptor: int, peer: str, address: str | None) -> bool:
        limits = self.limits
        # A connection may need a second descriptor: a file to send, or the broker.
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        limited = most != resource.RLIM_INFINITY
        if limited and descriptor + len(self._open) >= most - RESERVED_DESCRIPTORS:
            self._refusals.each_minute(
                "descriptors",
                "refused an HTTP connection: only %d descriptors are left, which recordings may need. "
                "Give this process more than %d (ulimit -n, in systemd LimitNOFILE)",
                most - descriptor,
                most,
            )
        elif len(self._open) - self._lasting >= limits.total and not self._make_room():
            self._refusals.each_minute(
                "connections",
                "refused an HTTP connection of %s: %d are open. If they are all wanted, raise SFU_HTTP_CONNECTIONS",
                peer,
                limits.total,
            )
        elif (
            address is not None and 0 < limits.per_address <= self._addresses[address] and not self._make_room(address)
        ):
            self._refusals.each_minute(
                "connections_of_address",
                "refused an HTTP connection of %s: %d of it are open. If it is a proxy or many people behind one "
                "address, raise SFU_HTTP_PER_ADDRESS (0: no limit)",
                peer,
                limits.per_address,
            )
        else:
            return False
        return True

    def _make_room(self, address: str | None = None) -> bool:
        """Ends one idle connection, of `address` if given. Returns False if there is none.

        Browsers keep several open after each page: a few dozen visitors within a minute would keep all others out.
        """
        for connection, other in self._open.items():
            if connection.idle and address in {None, other}:
                connection.force_close()
                return True
        return False


class Connection(web.RequestHandler):
    """One connection, which aiohttp parses and answers."""

    __slots__ = ("_connections", "_head_timer", "_refusals", "lasting")

    def __init__(self, server: web.Server, connections: Connections, refusals: Refusals) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # None means no log
            keepalive_timeout=connections.limits.idle_s,
        )
        self.lasting = False
        """True for the WebSocket of an MQTT client."""
        self._connections = connections
        self._refusals = refusals
        self._head_timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """True if all that was asked is answered and sent, and nothing more has come."""
        waits = self._waiter is not None and not self._waiter.done() and self._head_timer is None
        return waits and self.transport is not None and not self.transport.get_write_buffer_size()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once, before any data."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called once, after all data."""
        self._end_timer()
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called with each piece of a request, or of a WebSocket."""
        requests = self._request_count
        super().data_received(data)
        if self._request_count != requests:
            self._end_timer()
        elif self._head_timer is None and self._waiter is not None and not self._waiter.done():
            self._await_head()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Returns the answer to what is no HTTP, or to a failed request. Only a bug leaves a traceback."""
        if isinstance(exc, ConnectionError):  # the client has gone: nobody is there to be answered
            raise exc
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            response = super().handle_error(request, status, exc, message)
        else:
            self._refusals.count("bad_request")
            response = web.Response(status=status, text=f"{HTTPStatus(status).phrase}\n", headers=FRESH)
            response.force_close()
        headers.seal(response.headers)
        return response

    def _await_head(self) -> None:
        self._head_timer = asyncio.get_running_loop().call_later(self._connections.limits.head_s, self._on_late_head)

    def _on_late_head(self) -> None:
        self._refusals.count("late_head")
        self.force_close()

    def _end_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def counted_address(peer: str) -> str | None:
    """Returns what stands for one client in the limits per address; None for this machine itself.

    A proxy on this machine brings everybody's connections, and programs here can use any loopback address. Of IPv6 it
    is the network of 64 bits: one client has all addresses of it.
    """
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback:
        return None
    return str(address if address.version == 4 else ipaddress.ip_network((address, 64), strict=False))


def _listening(family: int, address: tuple[object, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setblocking(False)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError:
        with contextlib.suppress(OSError):
            listening.close()
        raise
    return listening
