"""What tests of the HTTP server share: a door, raw requests, and packets of MQTT."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sfu.access.caller import Caller
from sfu.access.rights import Claims
from sfu.http.door.board import Board
from sfu.http.door.door import Door, Identity
from sfu.http.door.identity import DoorIdentity
from sfu.http.server import HttpServer
from sfu.signaling.topics import Topics
from tests.helpers.waiting import PATIENCE_S

CONNECT = bytes.fromhex("101000044d5154540402003c000474657374")
"""MQTT 3.1.1 CONNECT: clean session, keep alive 60 s, client id "test"."""
CONNACK = bytes.fromhex("20020000")
SUBSCRIBE_INFO = b"\x82\x14\0\1\0\x0fsfu/bridge/info\0"
"""SUBSCRIBE to `sfu/bridge/info` with QoS 0 and packet id 1."""
SUBACK = b"\x90\3\0\1\0"
PINGREQ, PINGRESP = bytes.fromhex("c000"), bytes.fromhex("d000")

Start = Callable[..., Awaitable[HttpServer]]


class DoorStage:
    """A door, all that was said to it, and what was written in its audit log."""

    def __init__(self, identity: Identity | None = None, base: str = "sfu") -> None:
        self.said: list[tuple[str, bytes]] = []
        self._unread: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.callers: list[Caller] = []
        self.audited: list[dict[str, object]] = []
        self.board = Board(base)
        self.door = Door(
            Topics(base), self.board, said=self._said, identity=identity or DoorIdentity(), audit=self._audit
        )

    async def next_said(self) -> tuple[str, bytes]:
        """Returns the next message that was said, with its topic."""
        return await self._unread.get()

    def _said(self, topic: str, payload: bytes, caller: Caller) -> None:
        self.said.append((topic, payload))
        self._unread.put_nowait((topic, payload))
        self.callers.append(caller)

    def _audit(self, event: str, claims: Claims | None = None, **fields: str | int | float | None) -> None:
        self.audited.append({"event": event, "sub": claims and claims.sub, **fields})


def silent_door() -> Door:
    """Returns a door behind which nobody listens."""
    return DoorStage().door


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


def _text(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def _packet(first: int, body: bytes) -> bytes:
    length = bytes((len(body),)) if len(body) < 128 else bytes((len(body) % 128 | 128, len(body) // 128))
    return bytes((first,)) + length + body


def connect_with(password: str | None) -> bytes:
    """Returns a CONNECT with the user name `token` and this password; None: without a login."""
    login = b"" if password is None else _text(b"token") + _text(password.encode())
    return _packet(0x10, _text(b"MQTT") + bytes((4, 0xC2 if login else 2, 0, 60)) + _text(b"test") + login)


def subscribe(wanted: str, qos: int = 1) -> bytes:
    """Returns a SUBSCRIBE with packet id 1."""
    return _packet(0x82, b"\0\1" + _text(wanted.encode()) + bytes((qos,)))


def framed(data: bytes) -> bytes:
    """Returns a WebSocket message of at most 125 bytes, as a client sends it."""
    return bytes((0x82, 0x80 | len(data), 0, 0, 0, 0)) + data


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
