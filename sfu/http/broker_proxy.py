"""The WebSocket proxy to the broker: copies an MQTT connection between a WebSocket and the broker's TCP port.

With it a phone needs only the HTTP port, and a page can use a broker that has no WebSocket listener. Owns both ends of
each connection. Never reads MQTT: the broker alone decides about rights.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import WSCloseCode, WSMsgType, web

from sfu.signaling import tcp_options as tcp
from sfu.signaling.broker_url import BrokerUrl, Tls

Connector = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Opens a byte stream to the broker, with TLS if needed. Raises OSError (ssl.SSLError is one) if it cannot."""

_log = logging.getLogger(__name__)

_CHUNK_BYTES = 64 * 1024
_MAX_MESSAGE_BYTES = 256 * 1024
"""A client may put any number of MQTT packets into one message (MQTT 5 section 6); the broker limits the packets."""
_CLOSE_TIMEOUT_S = 1.0
"""For each side to take the last bytes and to answer a close."""


def broker_connector(url: BrokerUrl, *, ca: Path | None = None) -> Connector:
    """Returns a connector to the broker's TCP listener, with TLS if its URL says so; `ca`: CA certificates to trust.

    It shows no client certificate: a broker that knows accounts by it would take every browser for the server.
    """

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = Tls(ca=ca).context() if url.tls else None
        return await asyncio.open_connection(url.host, url.port, ssl=context)

    return connect


class BrokerProxy:
    """The proxy of up to `limit` connections. When one side of a connection ends, the other is closed."""

    def __init__(
        self,
        connect: Connector,
        *,
        limit: int = 1000,
        connect_timeout: float = 5.0,
        stall_timeout: float = 30.0,
    ) -> None:
        """`connect_timeout`: seconds to reach the broker. `stall_timeout`: seconds for a side to take data."""
        self._connect = connect
        self.limit = limit
        self.connect_timeout = connect_timeout
        self.stall_timeout = stall_timeout
        self._sockets: set[web.WebSocketResponse] = set()
        self._open = 0
        self.counters: Counter[str] = Counter()

    @property
    def connections(self) -> int:
        """Number of connections that are open or being opened."""
        return self._open

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serves one upgrade request. Answers 400 (not MQTT), 502 (broker unreachable), 503 (full), 504 (slow)."""
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
        self._open += 1
        try:
            reader, writer = await self._reach_broker()
            await self._copy(request, socket, reader, writer)
        finally:
            self._open -= 1
        return socket

    async def close(self) -> None:
        """Closes every WebSocket with code 1001 (going away); the handlers then end by themselves."""
        await asyncio.gather(
            *(socket.close(code=WSCloseCode.GOING_AWAY) for socket in tuple(self._sockets)), return_exceptions=True
        )

    async def _reach_broker(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(self.connect_timeout):
                return await self._connect()
        except TimeoutError:
            self.counters["broker_timeout"] += 1
            raise web.HTTPGatewayTimeout(text="the broker does not answer\n") from None
        except OSError as error:
            self.counters["broker_unreachable"] += 1
            _log.debug("cannot connect a page to the broker: %s", error)
            raise web.HTTPBadGateway(text="the broker cannot be reached\n") from None

    async def _copy(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        try:
            await socket.prepare(request)
            self._sockets.add(socket)
            broker = writer.get_extra_info("socket")
            await self._until_first_ends(self._to_broker(socket, writer), self._to_client(reader, broker, socket))
        finally:
            self._sockets.discard(socket)
            await asyncio.gather(_close_stream(writer), _close_socket(request, socket))

    async def _until_first_ends(self, *directions: Awaitable[None]) -> None:
        """Runs both directions until the first of them ends, with or without an error, and cancels the other."""
        tasks = [asyncio.ensure_future(direction) for direction in directions]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, TimeoutError):
                self.counters["stalled"] += 1
            elif isinstance(outcome, Exception) and not isinstance(outcome, OSError):
                raise outcome

    async def _to_broker(self, socket: web.WebSocketResponse, writer: asyncio.StreamWriter) -> None:
        async for message in socket:
            if message.type is not WSMsgType.BINARY:
                # MQTT 5 section 6: control packets are in binary messages; any other message closes the connection.
                self.counters["not_binary"] += 1
                await socket.close(code=WSCloseCode.UNSUPPORTED_DATA)
                return
            writer.write(message.data)
            async with asyncio.timeout(self.stall_timeout):
                await writer.drain()

    async def _to_client(self, reader: asyncio.StreamReader, broker: object, socket: web.WebSocketResponse) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            tcp.acknowledge(broker)  # a page sends little data, which would carry the acknowledgement
            async with asyncio.timeout(self.stall_timeout):
                await socket.send_bytes(data)


async def _close_stream(writer: asyncio.StreamWriter) -> None:
    """Sends the last bytes, then closes. After _CLOSE_TIMEOUT_S it aborts: they are lost, the socket is freed."""
    writer.close()
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()
    except OSError:
        return


async def _close_socket(request: web.Request, socket: web.WebSocketResponse) -> None:
    with contextlib.suppress(OSError):
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await socket.close()
        except TimeoutError:
            if request.transport:
                request.transport.abort()
