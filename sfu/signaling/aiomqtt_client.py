"""The MQTT client under the broker link: aiomqtt's, with four corrections. The only file that knows paho.

Owns everything private of aiomqtt that we override, and the MQTT 5 properties we send. Never reconnects.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any, Self

from aiomqtt import Client, MqttError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from sfu.signaling import tcp_options as tcp


class HungUpError(MqttError):
    """The broker accepted the TCP connection and closed it without an answer to CONNECT."""


class MqttClient(Client):
    """aiomqtt's client, which notices a hang-up during CONNECT and leaves no connection behind when CONNECT fails.

    It also writes, and acknowledges TCP segments, without delay.
    """

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
            self._connected.set_exception(HungUpError("the broker hung up without an answer"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        tcp.acknowledge(client.socket())  # no data of ours follows that would carry the acknowledgement
        super()._on_publish(client, userdata, mid, reason_code, properties)

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


def state_options() -> SubscribeOptions:
    """Returns subscribe options for state: the retained values come at once."""
    return SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE)


def refused(code: Any) -> bool:
    """Returns True if a code of SUBACK is a refusal (MQTT 5 section 3.9.3). MQTT 3.1.1 brokers often give none."""
    return isinstance(code, ReasonCode) and code.is_failure
