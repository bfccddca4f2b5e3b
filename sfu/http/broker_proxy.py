"""The broker's WebSocket door: bytes of one MQTT connection, carried between a WebSocket and the broker's TCP port.

With it a phone needs only the HTTP port, and a broker without a WebSocket listener serves pages all the same.
Owns both ends of each connection it carries; never reads MQTT, so the broker alone decides who may do what.
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
"""Opens a byte stream to the broker, with TLS where it wants that; OSError (ssl.SSLError is one) when it cannot."""

_log = logging.getLogger(__name__)

_CHUNK = 64 * 1024
# A client may put any number of MQTT packets in one message (MQTT 5 section 6); the broker bounds the packets.
_MAX_MESSAGE = 256 * 1024
# Seconds that a side gets to take the last bytes and to answer a close.
_FAREWELL = 1.0


def broker_connector(url: BrokerUrl, *, ca: Path | None = None) -> Connector:
    """Returns a connector to the broker's TCP listener, with TLS if its URL says so; `ca`: CA certificates to trust.

    It shows no client certificate: a broker that knows accounts by it would take every browser for the server.
    """

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = Tls(ca=ca).context() if url.tls else None
        return await asyncio.open_connection(url.host, url.port, ssl=context)

    return connect


class BrokerProxy:
    """Carries up to `limit` connections; each ends as a whole when either side ends."""

    def __init__(
        self,
        connect: Connector,
        *,
        limit: int = 1000,
        connect_timeout: float = 5.0,
        stall_timeout: float = 30.0,
    ) -> None:
        """`connect_timeout` bounds reaching the broker, `stall_timeout` a side that takes no bytes; both in seconds."""
        self._connect = connect
        self._limit = limit
        self._connect_timeout = connect_timeout
        self._stall_timeout = stall_timeout
        self._sockets: set[web.WebSocketResponse] = set()
        self._carried = 0
        self.counters: Counter[str] = Counter()

    @property
    def connections(self) -> int:
        """How many connections are carried or being opened now."""
        return self._carried

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serves one upgrade request: 400 no MQTT WebSocket, 502 broker unreachable, 503 full, 504 broker too slow."""
        socket = web.WebSocketResponse(
            protocols=("mqtt",), heartbeat=30.0, compress=False, max_msg_size=_MAX_MESSAGE, timeout=_FAREWELL
        )
        offer = socket.can_prepare(request)
        if not offer.ok or offer.protocol != "mqtt":
            raise web.HTTPBadRequest(text="this is the broker's door: a WebSocket with subprotocol mqtt\n")
        if self._carried >= self._limit:
            self.counters["full"] += 1
            raise web.HTTPServiceUnavailable(text="too many connections\n", headers={"Retry-After": "10"})
        self._carried += 1
        try:
            reader, writer = await self._reach_broker()
            await self._carry(request, socket, reader, writer)
        finally:
            self._carried -= 1
        return socket

    async def close(self) -> None:
        """Tells every client that the server goes away; their handlers then end by themselves."""
        await asyncio.gather(
            *(socket.close(code=WSCloseCode.GOING_AWAY) for socket in tuple(self._sockets)), return_exceptions=True
        )

    async def _reach_broker(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(self._connect_timeout):
                return await self._connect()
        except TimeoutError:
            self.counters["broker_timeout"] += 1
            raise web.HTTPGatewayTimeout(text="the broker does not answer\n") from None
        except OSError as error:
            self.counters["broker_unreachable"] += 1
            _log.debug("a page could not reach the broker: %s", error)
            raise web.HTTPBadGateway(text="the broker cannot be reached\n") from None

    async def _carry(
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

    async def _until_first_ends(self, *ways: Awaitable[None]) -> None:
        """Runs both ways; the first to end, by a fault of either remote or in peace, ends the other."""
        tasks = [asyncio.ensure_future(way) for way in ways]
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
                # MQTT 5 section 6: control packets travel in binary messages, anything else closes the connection.
                self.counters["not_binary"] += 1
                await socket.close(code=WSCloseCode.UNSUPPORTED_DATA)
                return
            writer.write(message.data)
            async with asyncio.timeout(self._stall_timeout):
                await writer.drain()

    async def _to_client(self, reader: asyncio.StreamReader, broker: object, socket: web.WebSocketResponse) -> None:
        while data := await reader.read(_CHUNK):
            tcp.acknowledge(broker)  # a page mostly listens: nothing of its own would carry the acknowledgement
            async with asyncio.timeout(self._stall_timeout):
                await socket.send_bytes(data)


async def _close_stream(writer: asyncio.StreamWriter) -> None:
    """Lets the last bytes out, then closes; a broker that does not take them loses them, not we the socket."""
    writer.close()
    try:
        async with asyncio.timeout(_FAREWELL):
            await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()
    except OSError:
        return


async def _close_socket(request: web.Request, socket: web.WebSocketResponse) -> None:
    with contextlib.suppress(OSError):
        try:
            async with asyncio.timeout(_FAREWELL):
                await socket.close()
        except TimeoutError:
            if request.transport:
                request.transport.abort()
