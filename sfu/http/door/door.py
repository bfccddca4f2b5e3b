"""The door for browsers at `/mqtt`: WebSockets that speak MQTT 3.1.1 with the server itself.

Owns the connections: how many there are, who is let in, and when one ends. What clients say goes to a callable; what
they read is on the board. The broker has no part in it: pages go on while it is away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from aiohttp import WSCloseCode, WSMsgType, web

from sfu.access.audit import Audit
from sfu.access.rights import Claims
from sfu.http.connections import counted_address
from sfu.http.door import packets
from sfu.http.door.board import Board
from sfu.http.door.connection import DoorConnection, Said
from sfu.http.door.newcomers import Newcomer, Newcomers
from sfu.signaling.topics import Topics

_MAX_MESSAGE_BYTES: Final = 256 * 1024
"""A client may put any number of packets into one message (MQTT 3.1.1 section 6)."""
_CLOSE_TIMEOUT_S: Final = 1.0
"""For a client to take the last bytes and to answer a close."""
_CHECK_S: Final = 1.0
"""Interval at which claims and keep-alive times are looked at."""


class Identity(Protocol):
    """The judge of those who come: who they are, and whether they still are."""

    def who(self, request: web.Request, /) -> Claims | None:
        """Returns the claims of a request (its cookie or headers); None if it shows none that hold."""
        ...

    async def judge(self, request: web.Request, username: str | None, password: str, /) -> Claims | None:
        """Returns the claims of the login in a CONNECT; None if it is wrong."""
        ...

    def fault(self, claims: Claims) -> str | None:
        """Returns why claims hold no more; None while they do."""
        ...


class Door:
    """The door of one server, for up to `limit` connections."""

    def __init__(
        self,
        topics: Topics,
        board: Board,
        *,
        said: Said,
        identity: Identity,
        audit: Audit,
        limit: int = 1000,
    ) -> None:
        self.topics = topics
        self.board = board
        self.said = said
        self.audit = audit
        self.limit = limit
        self.silence_timeout_s = 5.0
        """For a client to send its CONNECT."""
        self.stall_timeout_s = 30.0
        """For a client to take what was sent."""
        self.counters: Counter[str] = Counter()
        self._identity = identity
        self.newcomers = Newcomers()
        self._open = 0
        self._connections: set[DoorConnection] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """Number of connections that are open or being opened."""
        return self._open

    async def handle(
        self, request: web.Request, on_client: Callable[[web.Request], None] = lambda _: None
    ) -> web.StreamResponse:
        """Serves one upgrade request. Answers 400 (not MQTT) or 503 (full).

        `on_client`: called once the client has sent its CONNECT.
        """
        socket = web.WebSocketResponse(
            protocols=("mqtt",),
            heartbeat=30.0,
            compress=False,
            max_msg_size=_MAX_MESSAGE_BYTES,
            timeout=_CLOSE_TIMEOUT_S,
        )
        offer = socket.can_prepare(request)
        if not offer.ok or offer.protocol != "mqtt":
            raise web.HTTPBadRequest(text="only WebSockets with subprotocol mqtt are served here\n")
        if self._open >= self.limit:
            self.counters["full"] += 1
            raise web.HTTPServiceUnavailable(text="too many connections\n", headers={"Retry-After": "10"})
        newcomer = self.newcomers.admit(counted_address(request.remote or ""))
        if newcomer is None:
            self.counters["silent_address"] += 1
            raise web.HTTPServiceUnavailable(text="too many silent connections\n", headers={"Retry-After": "5"})
        self._open += 1
        try:
            await socket.prepare(request)
            await self._serve(_Visit(request, socket), newcomer, on_client)
        finally:
            self.newcomers.leave(newcomer)
            self._open -= 1
        return socket

    async def close(self) -> None:
        """Sends what is queued and closes every connection with code 1001 (going away); the handlers then end."""
        flushing = [asyncio.ensure_future(connection.flushed()) for connection in self._connections]
        if flushing:
            _, slow = await asyncio.wait(flushing, timeout=_CLOSE_TIMEOUT_S)
            for task in slow:
                task.cancel()
        for connection in self._connections:
            connection.end("", WSCloseCode.GOING_AWAY, "the server stops")

    async def _serve(self, visit: _Visit, newcomer: Newcomer, on_client: Callable[[web.Request], None]) -> None:
        try:
            connect = await self._first_packet(visit, newcomer)
            self.newcomers.leave(newcomer)
            if connect is None:
                return
            on_client(visit.request)
            claims = await self._let_in(visit, connect)
            if claims is not None:
                await self._talk(visit, claims, connect.keep_alive_s)
        except packets.PacketError as error:
            await self._refuse(visit, error)
        except ConnectionError:
            return
        finally:
            await visit.close(WSCloseCode.OK, "")

    async def _first_packet(self, visit: _Visit, newcomer: Newcomer) -> packets.ConnectPacket | None:
        """Returns the client's CONNECT; None if it does not come in time, or another client needs the place."""
        reading = asyncio.ensure_future(visit.read())
        turned_away = asyncio.ensure_future(newcomer.turned_away.wait())
        try:
            async with asyncio.timeout(self.silence_timeout_s):
                while True:
                    await asyncio.wait((reading, turned_away), return_when=asyncio.FIRST_COMPLETED)
                    if not reading.done():
                        break
                    if (read := reading.result()) is None:
                        return None
                    if read and isinstance(read[0], packets.ConnectPacket):
                        visit.waiting = read[1:]
                        return read[0]
                    reading = asyncio.ensure_future(visit.read())
        except TimeoutError:
            pass
        finally:
            for task in (reading, turned_away):
                task.cancel()
            await asyncio.gather(reading, turned_away, return_exceptions=True)
        self.counters["silent"] += 1
        visit.abort()  # no polite end: while that lasts, it would keep somebody out
        return None

    async def _let_in(self, visit: _Visit, connect: packets.ConnectPacket) -> Claims | None:
        claims = self._identity.who(visit.request)
        shown = connect.password is not None
        if claims is None and connect.password is not None:
            with contextlib.suppress(UnicodeDecodeError):
                claims = await self._identity.judge(visit.request, connect.username, connect.password.decode())
        if claims is None:
            kind = "bad_login" if shown else "no_login"
            self.counters[kind] += 1
            self.audit("refused", reason=kind, door="mqtt", address=visit.address)
            await visit.socket.send_bytes(packets.BAD_LOGIN if shown else packets.NOT_AUTHORIZED)
            await visit.close(WSCloseCode.POLICY_VIOLATION, "log in")
        return claims

    async def _talk(self, visit: _Visit, claims: Claims, keep_alive_s: int) -> None:
        connection = DoorConnection(visit.socket, self, claims, keep_alive_s=keep_alive_s, address=visit.address)
        connection.send(packets.ACCEPTED)
        self._connections.add(connection)
        self._watch()
        parts = [asyncio.ensure_future(part) for part in (connection.write(), self._listen(visit, connection))]
        ended = asyncio.ensure_future(connection.ended.wait())
        try:
            await asyncio.wait((*parts, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._connections.discard(connection)
            connection.leave()
            for task in (*parts, ended):
                task.cancel()
            outcomes = await asyncio.gather(*parts, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        if connection.ending is not None:
            await visit.close(*connection.ending)

    async def _listen(self, visit: _Visit, connection: DoorConnection) -> None:
        await connection.take(visit.waiting)
        while (read := await visit.read()) is not None:
            await connection.take(read)

    async def _refuse(self, visit: _Visit, error: packets.PacketError) -> None:
        self.counters[error.kind] += 1
        if error.answer:
            await visit.socket.send_bytes(error.answer)
        code = WSCloseCode.UNSUPPORTED_DATA if error.kind == "not_binary" else WSCloseCode.PROTOCOL_ERROR
        await visit.close(code, str(error))

    def _watch(self) -> None:
        """Looks at all connections from time to time, as long as there are any."""
        if self._timer is None and self._connections:
            self._timer = asyncio.get_running_loop().call_later(_CHECK_S, self._check)

    def _check(self) -> None:
        self._timer = None
        for connection in tuple(self._connections):
            connection.check(self._identity.fault(connection.claims), self.stall_timeout_s)
        self._watch()


class _Visit:
    """One WebSocket, from its upgrade to its end."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self.request = request
        self.socket = socket
        self.address = request.remote or ""
        self.waiting: list[packets.Packet] = []
        """Packets that came with CONNECT."""
        self._reader = packets.PacketReader()

    async def read(self) -> list[packets.Packet] | None:
        """Returns the packets that end in the next message; None if the client has gone. Raises PacketError."""
        message = await self.socket.receive()
        if message.type is WSMsgType.BINARY:
            return self._reader.feed(message.data)
        if message.type is WSMsgType.TEXT:
            # MQTT 3.1.1 section 6: packets are in binary messages; any other message closes the connection.
            raise packets.PacketError("not_binary", "MQTT is in binary messages")
        return None

    async def close(self, code: int, reason: str) -> None:
        """Closes the WebSocket politely, if the client takes part in it within a moment. Idempotent."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self.socket.close(code=code, message=reason.encode())
        except TimeoutError:
            self.abort()
        except OSError:
            return

    def abort(self) -> None:
        """Cuts the connection off."""
        if self.request.transport is not None:
            self.request.transport.abort()
