"""The embedded broker: iotcore (rumqttd in a wheel) as a child process on this machine. The only file that knows it.

Owns its configuration, ports and life, and restarts it when it stops taking clients. Whoever has something to say
uses `url` like that of any other broker.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import tempfile
import threading
from pathlib import Path

from iotcore import Broker

from sfu.signaling.broker_url import BrokerUrl

log = logging.getLogger(__name__)

MAX_PAYLOAD = 256 * 1024  # signalling has at most 64 KiB; snapshots may be larger
PROBE_INTERVAL_S = 5.0
PROBE_TIMEOUT_S = 3.0
START_TIMEOUT_S = 30.0  # the child is a Python of its own, and a small machine at its start has much else to do
_CHOICES = 3  # between finding a free port and using it, another program may take it

_ROUTER = """\
id = 0
[router]
id = 0
max_connections = 10000
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 10
"""
_LISTENER = """\
[{protocol}.1]
name = "{protocol}"
listen = "{address}"
next_connection_delay_ms = 1
[{protocol}.1.connections]
connection_timeout_ms = 10000
max_payload_size = {max_payload}
max_inflight_count = 100
dynamic_filters = true
"""

# MQTT 3.1.1 section 3.1: clean session, keep-alive 5 s; and its acceptance, section 3.2.
_CLIENT_ID = b"embedded-broker-probe"
_CONNECT = b"\0\4MQTT\4\2\0\5" + len(_CLIENT_ID).to_bytes(2) + _CLIENT_ID
_CONNECT = b"\x10" + len(_CONNECT).to_bytes() + _CONNECT
_ACCEPTED = b"\x20\2\0\0"
_DISCONNECT = b"\xe0\0"
# RFC 6455 section 4.1, with the key of its example; then a binary frame masked by zeros, section 5.2.
_UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class BrokerError(OSError):
    """The embedded broker did not start."""


class EmbeddedBroker:
    """A broker without access control, so on loopback unless told otherwise.

    MQTT 3.1.1 alone, on `port` and, in a WebSocket, on `websocket_port`. rumqttd has MQTT 5 on a further listener, and
    we leave it off: one publish with properties from there to a 3.1.1 subscriber kills rumqttd 0.20's 3.1.1 listener.
    0 means any free port; the real ones are known after `start()`.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, websocket_port: int = 0) -> None:
        self.host = host
        self.port = port
        self.websocket_port = websocket_port
        self._broker: Broker | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.restarts = 0
        # A cancelled start goes on in its thread: whoever stops waits for it, and no child is left behind.
        self._lock = threading.RLock()

    @property
    def url(self) -> BrokerUrl:
        """The TCP listener."""
        return BrokerUrl("mqtt", self.host, self.port)

    @property
    def websocket_url(self) -> str:
        """The WebSocket listener, for browsers on this machine."""
        return f"ws://{self.host}:{self.websocket_port}/mqtt"

    @property
    def running(self) -> bool:
        """Whether the child process lives."""
        return self._broker is not None and self._broker.is_running

    async def start(self) -> None:
        """Returns once all listeners take connections; BrokerError when they do not, for example on a taken port."""
        await asyncio.to_thread(self._start)
        self._watcher = asyncio.create_task(self._watch(), name="embedded broker")

    async def stop(self) -> None:
        """Ends the child process. Idempotent."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
        await asyncio.to_thread(self._stop)

    async def _watch(self) -> None:
        """Two clients in a row with an id that rumqttd 0.20 dislikes leave a listener that takes nobody any more."""
        while True:
            await asyncio.sleep(PROBE_INTERVAL_S)
            if await self._takes_clients():
                continue
            log.error("the embedded broker takes no clients any more: starting it again")
            self.restarts += 1
            await asyncio.to_thread(self._stop)
            try:
                await asyncio.to_thread(self._start)
            except BrokerError as error:
                log.error("%s", error)

    async def _takes_clients(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                return await _probe(self.host, self.port) and await _probe_websocket(self.host, self.websocket_port)
        except (OSError, EOFError, asyncio.LimitOverrunError):
            return False

    def _start(self) -> None:
        fixed = self.port, self.websocket_port
        for choice in range(_CHOICES):
            ports = _choose(self.host, fixed)
            try:
                self._launch(ports)
            except (OSError, RuntimeError, ValueError) as error:
                self._stop()
                if all(fixed) or choice == _CHOICES - 1:
                    raise BrokerError(f"the embedded broker did not start on {self.host}: {error}") from error
            else:
                self.port, self.websocket_port = ports
                return

    def _launch(self, ports: tuple[int, int]) -> None:
        with self._lock:
            self._directory = tempfile.TemporaryDirectory(prefix="sfu-broker-")
            path = Path(self._directory.name, "rumqttd.toml")
            path.write_text(_ROUTER + "".join(map(self._listener, ("v4", "ws"), ports)), encoding="utf-8")
            self._broker = Broker(config_path=str(path))
            self._broker.start(timeout=START_TIMEOUT_S)

    def _listener(self, protocol: str, port: int) -> str:
        return _LISTENER.format(protocol=protocol, address=f"{self.host}:{port}", max_payload=MAX_PAYLOAD)

    def _stop(self) -> None:
        with self._lock:
            if self._broker is not None:
                self._broker.stop()
            if self._directory is not None:
                self._directory.cleanup()
            self._broker = self._directory = None


def _choose(host: str, fixed: tuple[int, int]) -> tuple[int, int]:
    """The fixed ports, and free ones for the zeros: both held at once, so that they differ."""
    with socket.create_server((host, 0)) as one, socket.create_server((host, 0)) as other:
        return fixed[0] or one.getsockname()[1], fixed[1] or other.getsockname()[1]


async def _probe(host: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_CONNECT)
        accepted = await reader.readexactly(len(_ACCEPTED)) == _ACCEPTED
        writer.write(_DISCONNECT)
        return accepted
    finally:
        writer.close()


async def _probe_websocket(host: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_masked(_CONNECT))
        accepted = await reader.readexactly(2 + len(_ACCEPTED)) == b"\x82\4" + _ACCEPTED
        writer.write(_masked(_DISCONNECT))
        return accepted
    finally:
        writer.close()


def _masked(payload: bytes) -> bytes:
    return bytes((0x82, 0x80 | len(payload))) + bytes(4) + payload
