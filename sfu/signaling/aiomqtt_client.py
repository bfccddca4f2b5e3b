"""The MQTT client under the broker link: aiomqtt's, with six corrections. The only file that knows paho.

Owns everything private of aiomqtt that we override, and the MQTT 5 properties we send. Never reconnects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Self

from aiomqtt import Client, MqttCodeError, MqttError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from sfu.signaling import tcp_options as tcp
from sfu.signaling.intake import Incoming

_READ_AT_ONCE: Final = 200
"""Received messages after which the rest of the event loop has its turn."""


class HungUpError(MqttError):
    """The broker accepted the TCP connection and closed it without an answer to CONNECT."""


class MqttClient(Client):
    """aiomqtt's client, which notices a hang-up during CONNECT and leaves no connection behind when CONNECT fails.

    It also writes, and acknowledges TCP segments, without delay. It reads all messages that are there, gives them to
    `on_incoming` at once, and knows which publishes the broker refuses.
    """

    def __init__(self, *args: Any, on_incoming: Callable[[Incoming], None] = lambda _: None, **options: Any) -> None:
        """`options` are those of aiomqtt."""
        super().__init__(*args, **options)
        self._on_incoming = on_incoming
        self._received = 0
        self._acknowledgements: dict[int, asyncio.Future[str | None]] = {}

    async def __aenter__(self) -> Self:
        """Connects. Raises MqttError if the broker cannot be reached, refuses, or does not answer in time."""
        try:
            return await super().__aenter__()
        except (MqttError, asyncio.CancelledError):
            # aiomqtt leaves the connection open: a slow broker would accept it later, a client that nobody uses.
            if not self._disconnected.done():
                self._disconnected.set_result(None)
            self._client.disconnect()
            raise

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        if not self._connected.done() and not self._disconnected.done():  # aiomqtt would wait for its time-out
            text = "the broker hung up without an answer; the embedded broker does so if its login is missing"
            self._connected.set_exception(HungUpError(text))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    async def deliver(self, topic: str, payload: bytes, *, retain: bool, properties: Properties | None) -> str | None:
        """Publishes with QoS 1. Returns the broker's reason if it refuses the message (MQTT 5 section 3.4.2.1).

        Raises MqttError if the connection is lost, or the broker does not answer in time.
        """
        info = self._client.publish(topic, payload, 1, retain, properties)
        if info.rc != 0:
            lost = self._disconnected.exception() if self._disconnected.done() else None
            raise MqttCodeError(info.rc, "cannot publish") from lost
        answer = self._acknowledgements[info.mid] = self._loop.create_future()
        try:
            return await self._wait_for(answer, timeout=None)
        finally:
            self._acknowledgements.pop(info.mid, None)

    async def until_lost(self) -> None:
        """Waits for the end of the connection. Raises MqttError then."""
        await asyncio.wait({self._disconnected})
        raise MqttError("the connection has ended") from self._disconnected.exception()

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:  # noqa: ARG002  # paho's
        tcp.acknowledge(client.socket())  # no data of ours follows that would carry the acknowledgement
        answer = self._acknowledgements.get(mid)
        if answer is not None and not answer.done():
            answer.set_result(str(reason_code) if refused(reason_code) else None)

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:  # noqa: ARG002  # paho's
        self._received += 1
        self._on_incoming(
            Incoming(
                topic=message.topic,
                payload=message.payload if isinstance(message.payload, bytes) else b"",
                retained=message.retain,
                response_topic=getattr(message.properties, "ResponseTopic", None),
                correlation=getattr(message.properties, "CorrelationData", None),
            )
        )

    def _on_socket_open(self, client: Any, userdata: Any, sock: Any) -> None:
        super()._on_socket_open(client, userdata, sock)
        self._loop.call_soon_threadsafe(self._read_from, client, sock.fileno())

    def _read_from(self, client: Any, number: int) -> None:
        """Replaces aiomqtt's reader, which reads one message and lets the rest wait behind all work that is due."""
        if client.socket() is not None and client.socket().fileno() == number:
            self._loop.add_reader(number, self._read, client)

    def _read(self, client: Any) -> None:
        try:
            for _ in range(_READ_AT_ONCE):
                before = self._received
                client.loop_read()
                sock = client.socket()
                if self._received == before and not (hasattr(sock, "pending") and sock.pending()):
                    return
        except Exception as error:  # noqa: BLE001  # as in aiomqtt: after any error the connection is gone
            if not self._disconnected.done():
                self._disconnected.set_exception(error)

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:  # noqa: ARG002  # paho's
        self._loop.call_soon_threadsafe(self._write, client, sock)

    def _write(self, client: Any, sock: Any) -> None:
        """Writes what is queued, and waits for a writable socket only if data is left.

        aiomqtt always waits, by a file number that the socket may have lost meanwhile, or that now belongs to the
        next connection.
        """
        try:
            client.loop_write()
        except Exception as error:  # noqa: BLE001  # as in aiomqtt: after any error the connection is gone
            if not self._disconnected.done():
                self._disconnected.set_exception(error)
        else:
            if client.want_write() and sock.fileno() >= 0:
                self._loop.add_writer(sock.fileno(), self._write, client, sock)


@lru_cache(maxsize=16)  # paho builds a table of all MQTT 5 properties each time, which is slow
def message_expiry(seconds: int) -> Properties:
    """Returns PUBLISH properties by which the broker discards the message after `seconds` (MQTT 5 section 3.3.2.3)."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = seconds
    return properties


def signaling_options() -> SubscribeOptions:
    """Returns subscribe options for signalling: no echo of our own messages, no retained ones."""
    return SubscribeOptions(qos=1, noLocal=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)


def state_options(*, own: bool = False) -> SubscribeOptions:
    """Returns subscribe options for state: the retained values come at once. `own`: without an echo of our own."""
    return SubscribeOptions(qos=1, noLocal=own, retainHandling=SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE)


def refused(code: Any) -> bool:
    """Returns True if a code of SUBACK or PUBACK is a refusal (MQTT 5 section 2.4). MQTT 3.1.1 has none for PUBACK."""
    return isinstance(code, ReasonCode) and code.is_failure
