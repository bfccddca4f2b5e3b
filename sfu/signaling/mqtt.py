"""The link to the broker: one MQTT connection that is always being restored. The only file that knows aiomqtt.

Owns reconnecting, subscriptions, what the broker must retain for us, and the order of what is sent. Knows no topic's
meaning and no payload's. Losing the broker ends nothing but this link: media goes on.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from aiomqtt import Client, Message, MqttError, ProtocolVersion, Will
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

log = logging.getLogger(__name__)

KEEPALIVE_S = 20
ANSWER_TIMEOUT_S = 5.0  # for CONNACK, SUBACK, PUBACK: a broker slower than that is as good as gone
STALE_S = 10.0  # signalling that waited longer answers a question nobody asks any more
STABLE_S = 10.0  # a connection that lasted so long was a good one: back-off starts anew
MAX_QUEUED = 1000
WINDOW = 20  # unacknowledged publishes; Mosquitto's own max_inflight_messages

_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_UNSUPPORTED_PROTOCOL = frozenset((1, 132))  # MQTT 3.1.1 section 3.2.2.3, MQTT 5 section 3.2.2.2
_TAKEN_OVER = 142  # MQTT 5 section 3.14.2.1


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """Where the broker is and who we are there. Its text masks the password."""

    scheme: str
    host: str
    port: int
    path: str = ""
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> BrokerUrl:
        """From `mqtt|mqtts|ws|wss://[user[:password]@]host[:port][/path]`; ValueError (which never shows the text)."""
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
            host.encode("idna")
        except ValueError:
            raise ValueError("the broker's URL has an impossible host or port") from None
        if parts.scheme not in _DEFAULT_PORTS:
            raise ValueError("the broker's URL must begin with mqtt://, mqtts://, ws:// or wss://")
        websocket = parts.scheme.startswith("ws")
        if not host or parts.query or parts.fragment or (parts.path.strip("/") and not websocket):
            raise ValueError("the broker's URL is scheme://user:password@host:port, with a path for ws and wss alone")
        return cls(
            scheme=parts.scheme,
            host=host,
            port=_DEFAULT_PORTS[parts.scheme] if port is None else port,
            path=(parts.path if parts.path.strip("/") else "/mqtt") if websocket else "",
            username=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in ("mqtts", "wss")

    @property
    def websocket(self) -> bool:
        """Whether MQTT travels inside a WebSocket."""
        return self.scheme in ("ws", "wss")

    def __str__(self) -> str:
        user = "" if self.username is None else self.username + (":***@" if self.password else "@")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{user}{host}:{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: the CA to trust instead of the system's, and our certificate where the broker asks for one."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """OSError (ssl.SSLError is one) when a file cannot be used."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context


@dataclass(frozen=True, slots=True)
class Incoming:
    """One received publish. `retained`: a replay of something said before we came."""

    topic: str
    payload: bytes
    retained: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Outgoing:
    topic: str
    payload: bytes
    expiry_s: int
    queued_at: float


class _HungUpError(MqttError):
    """The broker took the connection and closed it without an answer to CONNECT."""


class _Client(Client):
    """aiomqtt's client, except that it sees a broker hang up instead of waiting for its time-out."""

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        if not self._connected.done():
            self._connected.set_exception(_HungUpError("the broker hung up without an answer"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)


class BrokerLink:
    """One client of one broker, for ever.

    On each connect: MQTT 5, or 3.1.1 where 5 is refused; then the subscriptions, then all retained state, then the
    birth. `subscriptions` are for signalling: no replay of retained messages and, with MQTT 5, no echo of our own
    (3.1.1 cannot be told, nor do all brokers listen: receivers skip what is retained and their own client id).
    `watch` are topics whose retained value is wanted.

    `counters`: `connects`, `failures`, `losses`, `takeovers`, `subscribe_refused`, `received`, `handler_failed`,
    `published`, `too_large`, `queue_full`, `expired`.
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
        self._backoff = backoff
        self._clock = clock
        self._queue: deque[_Outgoing] = deque()
        self._unacknowledged: list[_Outgoing] = []
        self._state: dict[str, bytes | None] = {}
        self._unsent_state: dict[str, None] = {}
        self._in_flight: set[asyncio.Task[None]] = set()
        self._work = asyncio.Event()
        self._connected = asyncio.Event()
        self._closing = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._short_lived = 0
        self._said = ""

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
        now = self._clock()
        if len(payload) > self._max_payload:
            return self._refuse("too_large", topic, payload)
        self._drop_stale(now)
        if len(self._queue) >= MAX_QUEUED:
            return self._refuse("queue_full", topic, payload)
        self._queue.append(_Outgoing(topic, payload, expiry_s, now))
        self._work.set()
        return True

    def set_state(self, topic: str, payload: bytes | None) -> None:
        """Has the broker retain `payload` on `topic` (QoS 1), from now on and after each reconnect; None clears it."""
        if payload is not None and len(payload) > self._max_payload:
            self._refuse("too_large", topic, payload)
            return
        if topic in self._state and self._state[topic] == payload:
            return
        self._state[topic] = payload
        self._unsent_state[topic] = None
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
        attempt = 0
        while not self._closing.is_set():
            began = self._clock()
            was, established = self.protocol, self.counters["connects"]
            try:
                await self._session()
            except MqttError as error:
                if self._closing.is_set():
                    return
                if self.counters["connects"] > established:
                    lived = self._clock() - began
                    attempt = 0 if lived >= STABLE_S else attempt + 1
                    self._lost(error, lived)
                else:
                    self._failed(error)
                    attempt += 1
            if (was, self.protocol) != (ProtocolVersion.V5, ProtocolVersion.V311):
                await self._pause(attempt)

    async def _pause(self, attempt: int) -> None:
        """Full jitter: thousands of clients of a restarted broker must not come back together."""
        first, longest = self._backoff
        delay = random.uniform(0, min(longest, first * 2 ** min(attempt, 16)))
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
                # At-least-once: what the old connection did not acknowledge is sent again, in front and in order.
                self._queue.extendleft(reversed(self._unacknowledged))
                self._unacknowledged.clear()
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
            error = max(lost.exceptions, key=_taken_over)
            raise error from error.__cause__

    async def _receive(self, client: _Client) -> None:
        async for message in client.messages:
            self.counters["received"] += 1
            try:
                self._on_message(_incoming(message))
            except Exception:
                # The handler's bug is not the link's: the next message may be for somebody else.
                self.counters["handler_failed"] += 1
                log.exception("a message on %s could not be handled", message.topic)

    async def _send(self, client: _Client, tasks: asyncio.TaskGroup) -> None:
        """All retained state, the birth, then what comes up; returns when closing and nothing is left to send."""
        self._unsent_state = dict.fromkeys(self._state)
        await self._send_pending(client, tasks)
        if self._birth is not None:
            await self._acknowledged(client, *self._birth, retain=True)
        self._established()
        while not self._closing.is_set():
            self._work.clear()
            await self._send_pending(client, tasks, messages=True)
            await self._work.wait()
        await self._send_pending(client, tasks, messages=True)
        if self._farewell is not None:
            await self._acknowledged(client, *self._farewell, retain=True)

    async def _send_pending(self, client: _Client, tasks: asyncio.TaskGroup, *, messages: bool = False) -> None:
        """Pipelines what is due, at most WINDOW at a time; MQTT keeps the order of one topic (MQTT 5 section 4.6)."""
        while self._unsent_state or (messages and self._queue):
            if len(self._in_flight) >= WINDOW:
                await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
            if self._unsent_state:
                topic = next(iter(self._unsent_state))
                del self._unsent_state[topic]
                sending = self._send_state(client, topic, self._state[topic])
            else:
                self._drop_stale(self._clock())
                if not self._queue:
                    break
                message = self._queue.popleft()
                self._unacknowledged.append(message)
                sending = self._send_message(client, message)
            task = tasks.create_task(sending, name="broker link: publish")
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)
        if not messages or self._closing.is_set():
            while self._in_flight:
                await asyncio.wait(self._in_flight)

    async def _send_state(self, client: _Client, topic: str, payload: bytes | None) -> None:
        await self._acknowledged(client, topic, payload or b"", retain=True)
        if payload is None and self._state.get(topic, b"") is None:
            del self._state[topic]

    async def _send_message(self, client: _Client, message: _Outgoing) -> None:
        await self._acknowledged(client, message.topic, message.payload, expiry_s=message.expiry_s)
        self._unacknowledged.remove(message)

    async def _acknowledged(
        self, client: _Client, topic: str, payload: bytes, *, retain: bool = False, expiry_s: int | None = None
    ) -> None:
        properties = None
        if expiry_s is not None and self.protocol == ProtocolVersion.V5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = expiry_s
        await client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        self.counters["published"] += 1

    def _drop_stale(self, now: float) -> None:
        while self._queue and now - self._queue[0].queued_at > STALE_S:
            self._queue.popleft()
            self.counters["expired"] += 1

    def _refuse(self, reason: str, topic: str, payload: bytes) -> bool:
        self.counters[reason] += 1
        log.warning("not sent on %s (%d bytes): %s", topic, len(payload), reason.replace("_", " "))
        return False

    def _established(self) -> None:
        self.counters["connects"] += 1
        self._said = ""
        self._connected.set()
        version = {ProtocolVersion.V5: "5", ProtocolVersion.V311: "3.1.1"}[self.protocol]
        log.info("connected to broker %s with MQTT %s", self.url, version)

    def _lost(self, error: MqttError, lived: float) -> None:
        self.counters["losses"] += 1
        self._short_lived = self._short_lived + 1 if lived < STABLE_S else 0
        self._say(f"lost broker {self.url}: {_reason(error)}")
        if _taken_over(error) or self._short_lived == 3:
            self.counters["takeovers"] += 1
            log.error(
                "the broker drops us as soon as we come: does another client use the client id %s?", self.client_id
            )

    def _failed(self, error: MqttError) -> None:
        self.counters["failures"] += 1
        unanswered = isinstance(error, _HungUpError) and not self.counters["connects"]
        if not _UNSUPPORTED_PROTOCOL.isdisjoint(_codes(error)) or unanswered:
            older = self.protocol == ProtocolVersion.V5
            self.protocol = ProtocolVersion.V311 if older else ProtocolVersion.V5
        self._say(f"broker {self.url} not reached: {_reason(error)}")

    def _say(self, text: str) -> None:
        """Once: a broker that is away for a night must not fill the log."""
        log.log(logging.DEBUG if text == self._said else logging.WARNING, "%s", text)
        self._said = text


def _options(signalling: bool) -> SubscribeOptions:
    return SubscribeOptions(
        qos=1,
        noLocal=signalling,
        retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND if signalling else SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE,
    )


def _incoming(message: Message) -> Incoming:
    return Incoming(
        topic=str(message.topic),
        payload=message.payload if isinstance(message.payload, bytes) else b"",
        retained=message.retain,
        response_topic=getattr(message.properties, "ResponseTopic", None),
        correlation=getattr(message.properties, "CorrelationData", None),
    )


def _codes(error: BaseException | None) -> set[int]:
    """The MQTT reason codes behind an error: the broker's, and those that paho makes up."""
    codes = set()
    while error is not None:
        code = getattr(error, "rc", None)
        value = getattr(code, "value", code)
        if isinstance(value, int):
            codes.add(value)
        error = error.__cause__
    return codes


def _taken_over(error: BaseException) -> bool:
    return _TAKEN_OVER in _codes(error)


def _reason(error: BaseException) -> str:
    return str(error.__cause__ or error)
