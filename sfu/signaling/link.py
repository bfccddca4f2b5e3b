"""The link to the broker: one MQTT connection that is always being restored. The only file that knows aiomqtt.

Owns reconnecting, subscriptions, what the broker must retain for us, and the order of what is sent. Knows no topic's
meaning and no payload's. Losing the broker ends nothing but this link: media goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from aiomqtt import Client, MqttError, ProtocolVersion, Will
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from sfu.signaling import tcp_options as tcp
from sfu.signaling.backoff import Reconnect, refuses_version, taken_over
from sfu.signaling.broker_url import BrokerUrl, Tls
from sfu.signaling.incoming import Incoming
from sfu.signaling.send_queue import MAX_QUEUED, Message, SendQueue

__all__ = ["BrokerLink", "BrokerUrl", "Incoming", "Tls"]

log = logging.getLogger(__name__)

KEEPALIVE_S = 20
ANSWER_TIMEOUT_S = 5.0  # for CONNACK, SUBACK, PUBACK: a broker slower than that is as good as gone
WINDOW = 20  # unacknowledged publishes; Mosquitto's own max_inflight_messages


class _HungUpError(MqttError):
    """The broker took the connection and closed it without an answer to CONNECT."""


class _Client(Client):
    """aiomqtt's client, except that it sees a broker hang up instead of waiting for its time-out, and is quick."""

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        if not self._connected.done():
            self._connected.set_exception(_HungUpError("the broker hung up without an answer"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        tcp.acknowledge(client.socket())  # nothing of ours follows that would carry the acknowledgement
        super()._on_publish(client, userdata, mid, reason_code, properties)

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:  # noqa: ARG002  # paho's
        self._loop.call_soon_threadsafe(self._write, client, sock)

    def _write(self, client: Any, sock: Any) -> None:
        """Writes without asking first whether it can, and waits for room only when there is none.

        aiomqtt waits by a number that the socket may have lost by then, to nobody or to the next connection.
        """
        try:
            client.loop_write()
        except Exception as error:  # noqa: BLE001  # as aiomqtt has it: whatever it is, the connection is gone
            if not self._disconnected.done():
                self._disconnected.set_exception(error)
        else:
            if client.want_write() and sock.fileno() >= 0:
                self._loop.add_writer(sock.fileno(), self._write, client, sock)


class BrokerLink:
    """One client of one broker, for ever.

    On each connect: MQTT 5, or 3.1.1 where 5 is refused; then the subscriptions, then all retained state, then the
    birth. `subscriptions` are for signalling: no replay of retained messages and, with MQTT 5, no echo of our own
    (3.1.1 cannot be told, nor do all brokers listen: receivers skip what is retained and their own client id).
    `watch` are topics whose retained value is wanted.

    `counters`: those of Reconnect and Outbox, and `subscribe_refused`, `received`, `handler_failed`, `published`,
    `too_large`, `queue_full`.
    """

    def __init__(
        self,
        url: BrokerUrl,
        *,
        client_id: str,
        subscriptions: Sequence[str],
        on_message: Callable[[Incoming], None],
        watch: Sequence[str] = (),
        tls: Tls | None = None,
        will: tuple[str, bytes] | None = None,
        will_retain: bool = True,
        birth: tuple[str, bytes] | None = None,
        max_payload: int = 64 * 1024,
        backoff: tuple[float, float] = (1.0, 60.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`will`, `birth`: topic and payload; the birth is retained. `backoff`: ceiling of the first and any wait, s.

        OSError when a file of `tls` cannot be used.
        """
        self.url = url
        self.client_id = client_id
        self.protocol = ProtocolVersion.V5
        self.counters: Counter[str] = Counter()
        self._subscriptions, self._watch = tuple(subscriptions), tuple(watch)
        self._on_message = on_message
        self._tls = (tls or Tls()).context() if url.tls else None
        self._will = None if will is None else Will(will[0], will[1], qos=1, retain=will_retain)
        self._birth = birth
        self._farewell: tuple[str, bytes] | None = None
        self._max_payload = max_payload
        self._reconnect = Reconnect(url, client_id, self.counters, backoff)
        self._clock = clock
        self._outbox = SendQueue(self.counters)
        self._in_flight: set[asyncio.Task[None]] = set()
        self._work = asyncio.Event()
        self._connected = asyncio.Event()
        self._closing = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether everything of the last connect (subscriptions, state, birth) is with the broker."""
        return self._connected.is_set()

    async def wait_connected(self, timeout: float) -> None:
        """TimeoutError when not connected within `timeout` seconds."""
        async with asyncio.timeout(timeout):
            await self._connected.wait()

    def publish(self, topic: str, payload: bytes, *, expiry_s: int = 30) -> bool:
        """Queues a message (QoS 1, not retained, in order); False when it is too large or the queue full.

        Never blocks. What could not be sent within 10 s is dropped; with MQTT 5 the broker forgets it after `expiry_s`.
        """
        if len(payload) > self._max_payload:
            return self._refuse("too_large", topic, payload)
        if not self._outbox.put(topic, payload, expiry_s, self._clock()):
            return self._refuse("queue_full", topic, payload)
        self._work.set()
        return True

    def set_state(self, topic: str, payload: bytes | None) -> None:
        """Has the broker retain `payload` on `topic` (QoS 1), from now on and after each reconnect; None clears it."""
        if payload is not None and len(payload) > self._max_payload:
            self._refuse("too_large", topic, payload)
            return
        if self._outbox.set_state(topic, payload):
            self._work.set()

    async def run(self) -> None:
        """Connects and serves until `close()`. To be run once, as a task."""
        self._worker = asyncio.create_task(self._keep_connected(), name=f"broker link {self.client_id}")
        try:
            await self._worker
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._closing.is_set() or (task is not None and task.cancelling()):
                raise

    async def close(self, *, farewell: tuple[str, bytes] | None = None, timeout: float = 2.0) -> None:
        """Sends what is queued, then `farewell` (retained), then DISCONNECT, which suppresses the will.

        After `timeout` seconds the connection is dropped as it stands. Idempotent.
        """
        if not self._closing.is_set():
            self._farewell = farewell
            self._closing.set()
            self._work.set()
        if self._worker is not None:
            _, late = await asyncio.wait({self._worker}, timeout=timeout)
            for worker in late:
                worker.cancel()
                await asyncio.wait({worker}, timeout=timeout)

    async def _keep_connected(self) -> None:
        while not self._closing.is_set():
            began, was, connects = self._clock(), self.protocol, self.counters["connects"]
            try:
                await self._session()
            except MqttError as error:
                if self._closing.is_set():
                    return
                if self.counters["connects"] > connects:
                    self._reconnect.lost(error, self._clock() - began)
                else:
                    self._choose_protocol(error)
                    self._reconnect.failed(error, expected=self._fell_back(was))
            if not self._fell_back(was):
                await self._pause(self._reconnect.delay())

    def _fell_back(self, was: ProtocolVersion) -> bool:
        """Whether the last attempt only told that this broker is one for MQTT 3.1.1."""
        return (was, self.protocol) == (ProtocolVersion.V5, ProtocolVersion.V311)

    def _choose_protocol(self, error: MqttError) -> None:
        """The other version, when this one is refused; brokers of 2014 just hang up on what they do not know."""
        if refuses_version(error) or (isinstance(error, _HungUpError) and not self.counters["connects"]):
            older = self.protocol == ProtocolVersion.V5
            self.protocol = ProtocolVersion.V311 if older else ProtocolVersion.V5

    async def _pause(self, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await self._closing.wait()
        except TimeoutError:
            return

    async def _session(self) -> None:
        """One connection from CONNECT to its end: MqttError when it was lost, returns when closing."""
        async with self._client() as client:
            try:
                await self._subscribe(client)
                await self._serve(client)
            finally:
                self._connected.clear()
                self._outbox.restart()
                self._in_flight.clear()

    def _client(self) -> _Client:
        """A fresh one for each attempt: a used one takes a refused login for success and re-sends stale messages."""
        client = _Client(
            self.url.host,
            self.url.port,
            identifier=self.client_id,
            username=self.url.username,
            password=self.url.password,
            protocol=self.protocol,
            transport="websockets" if self.url.websocket else "tcp",
            websocket_path=self.url.path if self.url.websocket else None,
            tls_context=self._tls,
            will=self._will,
            keepalive=KEEPALIVE_S,
            timeout=ANSWER_TIMEOUT_S,
            max_queued_incoming_messages=MAX_QUEUED,
            max_inflight_messages=WINDOW,
            socket_options=tcp.OPTIONS,
        )
        client.pending_calls_threshold = 2 * WINDOW
        return client

    async def _subscribe(self, client: _Client) -> None:
        wanted = [(topic, True) for topic in self._subscriptions] + [(topic, False) for topic in self._watch]
        if not wanted:
            return
        if self.protocol == ProtocolVersion.V5:
            codes = await client.subscribe([(topic, _options(signalling)) for topic, signalling in wanted])
        else:
            codes = await client.subscribe([(topic, 1) for topic, _ in wanted])
        for (topic, _), code in zip(wanted, codes, strict=True):
            if isinstance(code, ReasonCode) and code.is_failure:
                self.counters["subscribe_refused"] += 1
                log.error("broker %s refuses to let us subscribe %s: check its access rules", self.url, topic)

    async def _serve(self, client: _Client) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                receiving = tasks.create_task(self._receive(client), name="broker link: receive")
                await self._send(client, tasks)
                receiving.cancel()
        except ExceptionGroup as group:
            lost, bugs = group.split(MqttError)
            if bugs is not None or lost is None:
                raise
            error = max(lost.exceptions, key=taken_over)
            raise error from error.__cause__

    async def _receive(self, client: _Client) -> None:
        async for message in client.messages:
            self.counters["received"] += 1
            try:
                self._on_message(Incoming.of(message))
            except Exception:
                # The handler's bug is not the link's: the next message may be for somebody else.
                self.counters["handler_failed"] += 1
                log.exception("a message on %s could not be handled", message.topic)

    async def _send(self, client: _Client, tasks: asyncio.TaskGroup) -> None:
        """All retained state, the birth, then what comes up; returns when closing and nothing is left to send."""
        await self._send_pending(client, tasks)
        if self._birth is not None:
            await self._acknowledged(client, *self._birth, retain=True)
        self._reconnect.connected("5" if self.protocol == ProtocolVersion.V5 else "3.1.1")
        self._connected.set()
        while not self._closing.is_set():
            self._work.clear()
            await self._send_pending(client, tasks, messages=True)
            await self._work.wait()
        await self._send_pending(client, tasks, messages=True)
        if self._farewell is not None:
            await self._acknowledged(client, *self._farewell, retain=True)

    async def _send_pending(self, client: _Client, tasks: asyncio.TaskGroup, *, messages: bool = False) -> None:
        """Pipelines what is due, at most WINDOW at a time; MQTT keeps the order of one topic (MQTT 5 section 4.6)."""
        while True:
            if len(self._in_flight) >= WINDOW:
                await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
            if (state := self._outbox.next_state()) is not None:
                sending = self._send_state(client, *state)
            elif messages and (message := self._outbox.next_message(self._clock())) is not None:
                sending = self._send_message(client, message)
            else:
                break
            task = tasks.create_task(sending, name="broker link: publish")
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)
        if not messages or self._closing.is_set():
            while self._in_flight:
                await asyncio.wait(self._in_flight)

    async def _send_state(self, client: _Client, topic: str, payload: bytes | None) -> None:
        await self._acknowledged(client, topic, payload or b"", retain=True)
        self._outbox.state_acknowledged(topic, payload)

    async def _send_message(self, client: _Client, message: Message) -> None:
        await self._acknowledged(client, message.topic, message.payload, expiry_s=message.expiry_s)
        self._outbox.acknowledged(message)

    async def _acknowledged(
        self, client: _Client, topic: str, payload: bytes, *, retain: bool = False, expiry_s: int | None = None
    ) -> None:
        properties = None
        if expiry_s is not None and self.protocol == ProtocolVersion.V5:
            properties = _expiry(expiry_s)
        await client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        self.counters["published"] += 1

    def _refuse(self, reason: str, topic: str, payload: bytes) -> bool:
        self.counters[reason] += 1
        log.warning("not sent on %s (%d bytes): %s", topic, len(payload), reason.replace("_", " "))
        return False


@lru_cache(maxsize=16)  # a table of all there is in MQTT 5, which is slow to make
def _expiry(seconds: int) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = seconds
    return properties


def _options(signalling: bool) -> SubscribeOptions:
    return SubscribeOptions(
        qos=1,
        noLocal=signalling,
        retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND if signalling else SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE,
    )
