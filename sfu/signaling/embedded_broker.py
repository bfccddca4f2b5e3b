"""The embedded broker: iotcore (rumqttd in a wheel) as a child process. The only file that knows iotcore.

Owns the broker's configuration, port and process, and restarts it when it has ended or refuses clients. Never
publishes anything: its `url` is used like that of any other broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import subprocess
import tempfile
import threading
from enum import Enum
from pathlib import Path

from aiomqtt import MqttError, ProtocolVersion
from iotcore import Broker

from sfu.signaling.aiomqtt_client import MqttClient
from sfu.signaling.broker_url import BrokerUrl
from sfu.signaling.embedded_login import USERNAME, new_password

log = logging.getLogger(__name__)

MAX_PAYLOAD_BYTES = 256 * 1024
"""Signalling has at most 64 KiB; snapshots may be larger."""
PROBE_INTERVAL_S = 5.0
PROBE_RETRY_S = 1.0
"""Seconds from a refused probe to the next one."""
PROBE_TIMEOUT_S = 10.0
MAX_REFUSALS = 3
"""After so many refused probes in a row, the broker is started again."""
MAX_SLOW_PROBES = 20
"""After so many probes in a row without an answer, 3 to 5 minutes, the broker is started again.

A loaded machine answers late, and a restart would cost every client its session.
"""
START_TIMEOUT_S = 30.0
"""The child process is a Python interpreter, which starts slowly while a small machine boots."""
_END_TIMEOUT_S = 2.0
_PORT_CHOICES = 3
"""Attempts: another program may take a free port before the broker does."""

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
[v4.1]
name = "v4"
listen = "{address}"
next_connection_delay_ms = 1
[v4.1.connections]
connection_timeout_ms = 10000
max_payload_size = {max_payload}
max_inflight_count = 100
dynamic_filters = true
[v4.1.connections.auth]
{username} = "{password}"
"""


class BrokerError(OSError):
    """The embedded broker did not start."""


class ProbeResult(Enum):
    """The answer of the broker to a client of ours that connects."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """The connection is refused, or closed without an acceptance."""
    SLOW = "slow"
    """No answer within PROBE_TIMEOUT_S."""


class BrokerHealth:
    """The judgement about a broker whose process lives, by its probes.

    Two clients in a row with an id that rumqttd 0.20 dislikes leave a listener that hangs up on every client.
    """

    def __init__(self) -> None:
        self.refusals = 0
        """Refused probes in a row."""
        self.slow = 0
        """Probes in a row without an answer."""

    def fault(self, result: ProbeResult) -> str | None:
        """Counts the result of a probe. Returns the reason to start the broker again, None if there is none."""
        self.refusals = self.refusals + 1 if result is ProbeResult.REFUSED else 0
        self.slow = self.slow + 1 if result is ProbeResult.SLOW else 0
        if self.refusals >= MAX_REFUSALS:
            return "refuses clients"
        if self.slow >= MAX_SLOW_PROBES:
            return "has not answered for minutes"
        return None


class EmbeddedBroker:
    """A broker with one account, by default on loopback only.

    It speaks MQTT 3.1.1 over TCP, and nothing else: any page in a browser could open a WebSocket to a port of this
    machine. Our own pages come through the HTTP server. rumqttd's MQTT 5 listener stays off: one publish with
    properties from there to a 3.1.1 subscriber kills rumqttd 0.20's 3.1.1 listener. Port 0 means any free port; the
    real one is known after `start()`.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, password: str | None = None) -> None:
        """`password`: of the account; random by default."""
        self.host = host
        self.port = port
        self._password = password or new_password()
        self._broker: Broker | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.restarts = 0
        # A cancelled start goes on in its thread: `stop` waits for it, so that no child process is left.
        self._lock = threading.RLock()

    @property
    def url(self) -> BrokerUrl:
        """URL of the listener, with the login."""
        return BrokerUrl("mqtt", self.host, self.port, username=USERNAME, password=self._password)

    @property
    def running(self) -> bool:
        """True if the child process lives."""
        return self._broker is not None and self._broker.is_running

    async def start(self) -> None:
        """Returns when the broker accepts connections. Raises BrokerError if it cannot, e.g. on a used port."""
        await asyncio.to_thread(self._start)
        self._watcher = asyncio.create_task(self._watch(), name="embedded broker")

    async def stop(self) -> None:
        """Ends the child process. Idempotent."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
        await asyncio.to_thread(self._stop)

    async def _watch(self) -> None:
        health = BrokerHealth()
        while True:
            await asyncio.sleep(PROBE_RETRY_S if health.refusals else PROBE_INTERVAL_S)
            fault = health.fault(await self._probe()) if self.running else "has ended"
            if health.slow == 1:
                log.warning("the embedded broker answers slowly; this machine may be overloaded")
            if fault is None:
                continue
            log.error("the embedded broker %s: starting it again", fault)
            self.restarts += 1
            health = BrokerHealth()
            await asyncio.to_thread(self._stop)
            try:
                await asyncio.to_thread(self._start)
            except BrokerError as error:
                log.error("%s", error)

    async def _probe(self) -> ProbeResult:
        """Connects a client, and returns what became of it."""
        client = MqttClient(
            self.host,
            self.port,
            identifier="embedded-broker-probe",
            username=USERNAME,
            password=self._password,
            protocol=ProtocolVersion.V311,
            timeout=PROBE_TIMEOUT_S,
        )
        try:
            async with client:
                return ProbeResult.ACCEPTED
        except MqttError as error:  # of a time-out, aiomqtt leaves nothing but the context
            return ProbeResult.SLOW if isinstance(error.__context__, TimeoutError) else ProbeResult.REFUSED

    def _start(self) -> None:
        fixed = self.port
        for choice in range(_PORT_CHOICES):
            port = fixed or _free_port(self.host)
            try:
                self._launch(port)
            except (OSError, RuntimeError, ValueError) as error:
                self._stop()
                if fixed or choice == _PORT_CHOICES - 1:
                    raise BrokerError(f"the embedded broker did not start on {self.host}: {error}") from error
            else:
                self.port = port
                return

    def _launch(self, port: int) -> None:
        listener = _LISTENER.format(
            address=f"{self.host}:{port}",
            max_payload=MAX_PAYLOAD_BYTES,
            username=USERNAME,
            password=self._password,
        )
        with self._lock:
            self._directory = tempfile.TemporaryDirectory(prefix="sfu-broker-")  # for this user alone
            path = Path(self._directory.name, "rumqttd.toml")
            path.touch(mode=0o600)
            path.write_text(_ROUTER + listener, encoding="utf-8")
            self._broker = Broker(config_path=str(path))
            # Ctrl-C and systemd signal the child too, which would end before its clients. It ends with its pipe.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
            try:
                self._broker.start(timeout=START_TIMEOUT_S)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _stop(self) -> None:
        with self._lock:
            if self._broker is not None:
                _close_pipe(self._broker)
                self._broker.stop()
            if self._directory is not None:
                self._directory.cleanup()
            self._broker = self._directory = None


def _close_pipe(broker: Broker) -> None:
    """Ends the child process, which hears no signals, and waits for that; `stop` kills one that does not end."""
    process = broker._process  # noqa: SLF001  # iotcore has no other way to end it without a signal
    if process is not None and process.stdin is not None:
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_TIMEOUT_S)


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as found:
        return int(found.getsockname()[1])
