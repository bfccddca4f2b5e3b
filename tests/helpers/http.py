"""What tests of the HTTP server share: how it reaches its broker, raw requests, and packets of MQTT."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sfu.http.broker_proxy import Connector
from sfu.http.server import HttpServer
from tests.helpers.waiting import PATIENCE_S

CONNECT = bytes.fromhex("101000044d5154540402003c000474657374")
"""MQTT 3.1.1 CONNECT: clean session, keep alive 60 s, client id "test"."""
CONNACK = bytes.fromhex("20020000")
PINGREQ, PINGRESP = bytes.fromhex("c000"), bytes.fromhex("d000")

Start = Callable[..., Awaitable[HttpServer]]


def connector(port: int) -> Connector:
    """Reaches the broker at `port` of this machine."""

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port)

    return connect


async def unreachable() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    raise ConnectionRefusedError("nobody listens")


class Raw:
    """One TCP connection to a server, on which a test says what no client library would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int, text: str = "", *, source: str = "127.0.0.1") -> Raw:
        """Connects from the address `source`, and sends the text."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        raw = cls(reader, writer)
        raw.send(text)
        return raw

    def send(self, text: str) -> None:
        self._writer.write(text.encode())

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    async def head(self) -> str:
        """Returns the head of the next answer; what there was of it if the server hangs up."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return (await self.reader.readuntil(b"\r\n\r\n")).decode()
            except asyncio.IncompleteReadError as error:
                return error.partial.decode()
            except ConnectionError:
                return ""

    async def ended(self) -> None:
        """Returns once the server has closed the connection; what it sends until then is dropped."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                return

    @property
    def is_open(self) -> bool:
        """True while the server has not closed the connection."""
        return not self.reader.at_eof() and self.reader.exception() is None

    def close(self) -> None:
        self._writer.transport.abort()


def upgrade(port: int, *lines: str, host: str | None = None) -> str:
    """Returns a WebSocket handshake for `/mqtt`, with more header lines."""
    head = (
        "GET /mqtt HTTP/1.1",
        f"Host: {host or f'127.0.0.1:{port}'}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol: mqtt",
        *lines,
    )
    return "\r\n".join(head) + "\r\n\r\n"
