"""The link to the broker: one MQTT connection that is restored whenever it is lost.

Owns reconnecting, subscriptions, the values that the broker must retain for us, and the order of sending. Never knows
the meaning of a topic or a payload. When the broker is lost, only this link stops: media goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence

from aiomqtt import MqttError, ProtocolVersion, Will

from sfu.signaling import tcp_options as tcp
from sfu.signaling.aiomqtt_client import (
    HungUpError,
    MqttClient,
    message_expiry,
    refused,
    signaling_options,
    state_options,
)
from sfu.signaling.backoff import Reconnect, refuses_version, taken_over
from sfu.signaling.broker_url import BrokerUrl, Tls
from sfu.signaling.intake import Incoming, Intake
from sfu.signaling.send_queue import Message, SendQueue
from sfu.signaling.state_guard import StateGuard
from sfu.signaling.unsaid import Unsaid

log = logging.getLogger(__name__)

KEEPALIVE_S = 20
ANSWER_TIMEOUT_S = 5.0
"""For CONNACK, SUBACK and PUBACK: a slower broker counts as lost."""
MAX_IN_FLIGHT = 20
"""Unacknowledged publishes at a time; Mosquitto's default for `max_inflight_messages`."""


class BrokerLink:
    """A client of one broker that reconnects until it is closed.

    Each connect uses MQTT 5, or 3.1.1 if the broker refuses 5, and sends the subscriptions, then all retained state,
    then the birth. `subscriptions` are for signalling: with MQTT 5 they bring no retained messages and no echo of our
    own. MQTT 3.1.1 has no such options and some brokers ignore them: receivers skip retained messages and messages
    with their own client id. `watch` are topics whose retained values are wanted. `own_state` are those on which only
    we should write: their retained values come too, without an echo of ours.

    `counters`: those of Reconnect, SendQueue and Unsaid, and `received`, `published`, `intake_full`,
    `handler_failed` and `foreign_state`.
    """

    def __init__(
        self,
        url: BrokerUrl,
        *,
        client_id: str,
        subscriptions: Sequence[str],
        on_message: Callable[[Incoming], None],
        on_refused: Callable[[Incoming], None] = lambda _: None,
        watch: Sequence[str] = (),
        own_state: Sequence[str] = (),
        tls: Tls | None = None,
        will: tuple[str, bytes] | None = None,
        will_retain: bool = True,
        birth: tuple[str, bytes] | None = None,
        max_payload: int = 64 * 1024,
        backoff: tuple[float, float] = (1.0, 60.0),
        clock: Callable[[], float] = time.monotonic,
        fresh: Callable[[], BrokerUrl] | None = None,
    ) -> None:
        """`will`, `birth`: topic and payload; the birth is retained. `on_refused` gets what comes while too much waits.

        `backoff`: ceiling of the first wait and of any wait, in seconds. `fresh` returns `url` with its login of now,
        for each connection. Raises OSError if a file of `tls` cannot be used.
        """
        self.url = url
        self._fresh = fresh or (lambda: url)
        self.client_id = client_id
        self.protocol = ProtocolVersion.V5
        self.counters: Counter[str] = Counter()
        self._subscriptions, self._watch, self._own_state = tuple(subscriptions), tuple(watch), tuple(own_state)
        self._on_message = on_message
        self._on_refused = on_refused
        # Files of TLS may be renewed: they are read for each connection, and once before, to say at once what is wrong.
        self._tls_context = (tls or Tls()).context if url.tls else lambda: None
        self._tls_context()
        self._will = None if will is None else Will(will[0], will[1], qos=1, retain=will_retain)
        self._birth = birth
        self._farewell: tuple[str, bytes] | None = None
        self._max_payload = max_payload
        self._reconnect = Reconnect(url, client_id, self.counters, backoff)
        self._clock = clock
        self._queue = SendQueue(self.counters)
        self._intake = Intake(self._handle, clock)
        self._guard = StateGuard()
        self._unsaid = Unsaid(url, self.counters)
        self._in_flight: set[asyncio.Task[None]] = set()
        self._work = asyncio.Event()
        self._connected = asyncio.Event()
        self._closing = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """True if the broker has the subscriptions, the state and the birth of the present connection."""
        return self._connected.is_set()

    async def wait_connected(self, timeout: float) -> None:
        """Waits until connected. Raises TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            await self._connected.wait()

    def publish(self, topic: str, payload: bytes, *, expiry_s: int = 30) -> bool:
        """Queues a message (QoS 1, not retained, in order). Returns False if it is too large or the queue is full.

        Never blocks. A message that could not be sent within 10 s is dropped. With MQTT 5 the broker discards it after
        `expiry_s`.
        """
        if len(payload) > self._max_payload:
            return self._unsaid.unsent("too_large", topic, payload)
        if not self._queue.put(topic, payload, expiry_s, self._clock()):
            return self._unsaid.unsent("queue_full", topic, payload)
        self._work.set()
        return True

    def set_state(self, topic: str, payload: bytes | None) -> None:
        """Makes the broker retain `payload` on `topic` (QoS 1), now and after each reconnect; None clears it."""
        if payload is not None and len(payload) > self._max_payload:
            self._unsaid.unsent("too_large", topic, payload)
            return
        if self._queue.set_state(topic, payload):
            self._work.set()

    def heard_state(self, topic: str, payload: bytes) -> None:
        """Learns the value that somebody has set on a topic of `own_state`; sets ours again soon if it is another."""
        wait_s = self._guard.heard(topic, payload, self._own(topic), self._clock())
        if wait_s is not None:
            asyncio.get_running_loop().call_later(wait_s, self._correct, topic)

    def _own(self, topic: str) -> bytes:
        """Returns the value that the broker should retain; empty for none."""
        if self._birth is not None and topic == self._birth[0]:
            return self._birth[1]
        return self._queue.state(topic) or b""

    def _correct(self, topic: str) -> None:
        if self._closing.is_set():
            return
        if self.connected and self._guard.due(topic, self._own(topic), self._clock()):
            self.counters["foreign_state"] += 1
            log.debug("another client has written on %s: setting our value again", topic)
            self._queue.say_again(topic, self._own(topic))
            self._work.set()
        elif self._guard.waiting(topic):
            asyncio.get_running_loop().call_later(1.0, self._correct, topic)

    async def run(self) -> None:
        """Connects, sends and receives until `close()`. Run it once, as a task."""
        handling = asyncio.create_task(self._intake.run(), name=f"broker link {self.client_id}: handle")
        self._worker = asyncio.create_task(self._keep_connected(), name=f"broker link {self.client_id}")
        try:
            await self._worker
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._closing.is_set() or (task is not None and task.cancelling()):
                raise
        finally:
            handling.cancel()

    async def close(self, *, farewell: tuple[str, bytes] | None = None, timeout: float = 2.0) -> None:
        """Sends the queued messages, then `farewell` (retained), then DISCONNECT, which cancels the will.

        After `timeout` seconds the connection is dropped at once. Idempotent.
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
        """Returns True if the last attempt has only shown that the broker speaks MQTT 3.1.1, not 5."""
        return (was, self.protocol) == (ProtocolVersion.V5, ProtocolVersion.V311)

    def _choose_protocol(self, error: MqttError) -> None:
        """Changes to the other version if this one is refused. Brokers of 2014 hang up on versions they do not know."""
        if refuses_version(error) or (isinstance(error, HungUpError) and not self.counters["connects"]):
            older = self.protocol == ProtocolVersion.V5
            self.protocol = ProtocolVersion.V311 if older else ProtocolVersion.V5

    async def _pause(self, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await self._closing.wait()
        except TimeoutError:
            return

    async def _session(self) -> None:
        """Serves one connection from CONNECT to its end. Raises MqttError if it is lost, returns when closing."""
        try:
            connection = self._client()
        except OSError as error:  # a file of TLS that is being renewed
            raise MqttError(str(error)) from error
        async with connection as client:
            try:
                await self._subscribe(client)
                await self._serve(client)
            finally:
                self._connected.clear()
                self._queue.restart()
                self._guard.restart()
                self._in_flight.clear()

    def _client(self) -> MqttClient:
        """Makes a new client for each attempt: a used one ignores a refused login and re-sends old messages."""
        url = self._fresh()
        return MqttClient(
            url.host,
            url.port,
            identifier=self.client_id,
            username=url.username,
            password=url.password,
            protocol=self.protocol,
            transport="websockets" if url.websocket else "tcp",
            websocket_path=url.path if url.websocket else None,
            tls_context=self._tls_context(),
            will=self._will,
            keepalive=KEEPALIVE_S,
            timeout=ANSWER_TIMEOUT_S,
            max_inflight_messages=MAX_IN_FLIGHT,
            socket_options=tcp.OPTIONS,
            on_incoming=self._take,
        )

    async def _subscribe(self, client: MqttClient) -> None:
        topics = (*self._subscriptions, *self._watch, *self._own_state)
        if not topics:
            return
        if self.protocol == ProtocolVersion.V5:
            wanted = [(topic, signaling_options()) for topic in self._subscriptions]
            wanted += [(topic, state_options()) for topic in self._watch]
            wanted += [(topic, state_options(own=True)) for topic in self._own_state]
            codes = await client.subscribe(wanted)
        else:
            codes = await client.subscribe([(topic, 1) for topic in topics])
        for topic, code in zip(topics, codes, strict=True):
            if refused(code):
                self._unsaid.subscription(topic, code)

    async def _serve(self, client: MqttClient) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(client.until_lost(), name="broker link: watch")
                await self._send(client, tasks)
                watching.cancel()
        except ExceptionGroup as group:
            lost, bugs = group.split(MqttError)
            if bugs is not None or lost is None:
                raise
            error = max(lost.exceptions, key=taken_over)
            raise error from error.__cause__

    def _take(self, message: Incoming) -> None:
        self.counters["received"] += 1
        if not self._intake.put(message):
            self.counters["intake_full"] += 1
            self._handle(message, self._on_refused)

    def _handle(self, message: Incoming, handler: Callable[[Incoming], None] | None = None) -> None:
        try:
            (handler or self._on_message)(message)
        except Exception:
            # A bug in the handler does not end the link: the next message may be for another part.
            self.counters["handler_failed"] += 1
            log.exception("internal error on a message on %s", message.topic)

    async def _send(self, client: MqttClient, tasks: asyncio.TaskGroup) -> None:
        """Sends all retained state, the birth, then new messages. Returns when closing and nothing is left to send."""
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

    async def _send_pending(self, client: MqttClient, tasks: asyncio.TaskGroup, *, messages: bool = False) -> None:
        """Sends state, and `messages` if asked, with at most MAX_IN_FLIGHT unacknowledged.

        MQTT keeps the order within a topic (MQTT 5 section 4.6).
        """
        while True:
            if len(self._in_flight) >= MAX_IN_FLIGHT:
                await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
            if (item := self._queue.next(self._clock(), messages=messages)) is None:
                break
            sending = self._send_message(client, item) if isinstance(item, Message) else self._send_state(client, *item)
            task = tasks.create_task(sending, name="broker link: publish")
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)
        if not messages or self._closing.is_set():
            while self._in_flight:
                await asyncio.wait(self._in_flight)

    async def _send_state(self, client: MqttClient, topic: str, payload: bytes | None) -> None:
        await self._acknowledged(client, topic, payload or b"", retain=True)
        self._queue.state_acknowledged(topic, payload)

    async def _send_message(self, client: MqttClient, message: Message) -> None:
        await self._acknowledged(client, message.topic, message.payload, expiry_s=message.expiry_s)
        self._queue.acknowledged(message)

    async def _acknowledged(
        self, client: MqttClient, topic: str, payload: bytes, *, retain: bool = False, expiry_s: int | None = None
    ) -> None:
        properties = None
        if expiry_s is not None and self.protocol == ProtocolVersion.V5:
            properties = message_expiry(expiry_s)
        if (reason := await client.deliver(topic, payload, retain=retain, properties=properties)) is None:
            self.counters["published"] += 1
        else:
            self._unsaid.publish(topic, reason)
