"""The WebSocket proxy to the broker: copies an MQTT connection between a WebSocket and the broker's TCP port.

With it a phone needs only the HTTP port, and a page can use a broker that has no WebSocket listener. Owns both ends of
each connection. Reads no more of MQTT than where CONNECT ends: the broker alone decides about rights.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import WSCloseCode, WSMsgType, web

from sfu.http import mqtt_connect
from sfu.http.connections import counted_address
from sfu.http.newcomers import PER_ADDRESS, Newcomer, Newcomers
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

Login = tuple[str, str]
"""User name and password."""


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
        silence_timeout: float = 5.0,
        stall_timeout: float = 30.0,
        silent_per_address: int = PER_ADDRESS,
        login: Login | None = None,
        on_client: Callable[[web.Request], None] = lambda _: None,
    ) -> None:
        """`connect_timeout`: seconds to reach the broker. `stall_timeout`: seconds for a side to take data.

        `silence_timeout`: seconds for a client to send its CONNECT. `silent_per_address`: number of clients of one
        address that have not. `login`: given to clients that show none, for a broker that serves us alone.
        `on_client`: called once a client has sent its CONNECT.
        """
        self._connect = connect
        self.limit = limit
        self.connect_timeout = connect_timeout
        self.silence_timeout = silence_timeout
        self.stall_timeout = stall_timeout
        self._login = login
        self._on_client = on_client
        self._newcomers = Newcomers(per_address=silent_per_address)
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
        newcomer = self._newcomers.admit(counted_address(request.remote or ""))
        if newcomer is None:
            self.counters["silent_address"] += 1
            raise web.HTTPServiceUnavailable(text="too many silent connections\n", headers={"Retry-After": "5"})
        self._open += 1
        try:
            reader, writer = await self._reach_broker()
            await self._copy(request, socket, reader, writer, newcomer)
        finally:
            self._newcomers.leave(newcomer)
            self._open -= 1
        return socket

    async def close(self) -> None:
        """Closes every WebSocket with code 1001 (going away); the handlers then end by themselves."""
        closing = [asyncio.ensure_future(socket.close(code=WSCloseCode.GOING_AWAY)) for socket in self._sockets]
        if closing:
            _, slow = await asyncio.wait(closing, timeout=_CLOSE_TIMEOUT_S)
            for task in slow:
                task.cancel()
            await asyncio.gather(*closing, return_exceptions=True)

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
        newcomer: Newcomer,
    ) -> None:
        connected = asyncio.Event()
        try:
            await socket.prepare(request)
            self._sockets.add(socket)
            broker = writer.get_extra_info("socket")
            await self._until_first_ends(
                self._to_broker(socket, writer, connected),
                self._to_client(reader, broker, socket),
                self._watch_newcomer(request, newcomer, connected),
            )
        finally:
            self._sockets.discard(socket)
            await asyncio.gather(_close_stream(writer), _close_socket(request, socket))

    async def _until_first_ends(self, *parts: Awaitable[None]) -> None:
        """Runs all parts until the first of them ends, with or without an error, and cancels the others."""
        tasks = [asyncio.ensure_future(part) for part in parts]
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

    async def _watch_newcomer(self, request: web.Request, newcomer: Newcomer, connected: asyncio.Event) -> None:
        """Returns if the client does not send its CONNECT in time, or another one needs its place."""
        first = [asyncio.ensure_future(event.wait()) for event in (connected, newcomer.turned_away)]
        try:
            await asyncio.wait(first, timeout=self.silence_timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in first:
                task.cancel()
        self._newcomers.leave(newcomer)
        if not connected.is_set():
            self.counters["silent"] += 1
            if request.transport:  # no polite end: while that lasts, it would keep somebody out
                request.transport.abort()
            return
        self._on_client(request)
        await asyncio.Event().wait()

    async def _to_broker(
        self, socket: web.WebSocketResponse, writer: asyncio.StreamWriter, connected: asyncio.Event
    ) -> None:
        opening: bytearray | None = bytearray()
        """What came before the end of CONNECT; None after it."""
        async for message in socket:
            if message.type is not WSMsgType.BINARY:
                # MQTT 5 section 6: control packets are in binary messages; any other message closes the connection.
                self.counters["not_binary"] += 1
                await socket.close(code=WSCloseCode.UNSUPPORTED_DATA)
                return
            data = message.data
            if opening is not None:
                opening += data
                try:
                    end = mqtt_connect.first_packet_bytes(bytes(opening[:5]))
                except ValueError:
                    self.counters["not_mqtt"] += 1
                    await socket.close(code=WSCloseCode.PROTOCOL_ERROR)
                    return
                if end is None or len(opening) < end:
                    continue
                data = self._with_login(bytes(opening[:end])) + opening[end:]
                opening = None
                connected.set()
            writer.write(data)
            async with asyncio.timeout(self.stall_timeout):
                await writer.drain()

    def _with_login(self, packet: bytes) -> bytes:
        return mqtt_connect.with_login(packet, *self._login) if self._login else packet

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
