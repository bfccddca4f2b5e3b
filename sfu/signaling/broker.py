"""The embedded broker: iotcore (rumqttd in a wheel) as a child process on this machine. The only file that knows it.

Owns its configuration, ports and life. Never talks MQTT: whoever wants to uses `url` like that of any other broker.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from pathlib import Path

from iotcore import Broker

from sfu.signaling.mqtt import BrokerUrl

MAX_PAYLOAD = 256 * 1024  # signalling has at most 64 KiB; snapshots may be larger
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


class BrokerError(Exception):
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

    async def stop(self) -> None:
        """Ends the child process. Idempotent."""
        await asyncio.to_thread(self._stop)

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
        self._directory = tempfile.TemporaryDirectory(prefix="sfu-broker-")
        path = Path(self._directory.name, "rumqttd.toml")
        path.write_text(_ROUTER + "".join(map(self._listener, ("v4", "ws"), ports)), encoding="utf-8")
        self._broker = Broker(config_path=str(path))
        self._broker.start()

    def _listener(self, protocol: str, port: int) -> str:
        return _LISTENER.format(protocol=protocol, address=f"{self.host}:{port}", max_payload=MAX_PAYLOAD)

    def _stop(self) -> None:
        if self._broker is not None:
            self._broker.stop()
        if self._directory is not None:
            self._directory.cleanup()
        self._broker = self._directory = None


def _choose(host: str, fixed: tuple[int, int]) -> tuple[int, int]:
    """The fixed ports, and free ones for the zeros: both held at once, so that they differ."""
    with socket.create_server((host, 0)) as one, socket.create_server((host, 0)) as other:
        return fixed[0] or one.getsockname()[1], fixed[1] or other.getsockname()[1]
