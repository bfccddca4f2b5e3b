"""One client of the door: its packets in, and a queue of packets out.

Owns the client's subscriptions, its keep-alive and its share of messages. Never opens or closes the door, and never
waits for another client: one that does not read is closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, Protocol

from aiohttp import WSCloseCode, web

from sfu.access.audit import Audit
from sfu.access.caller import Caller
from sfu.access.rights import Claims
from sfu.http.door import packets
from sfu.http.door.board import Board
from sfu.http.door.rules import DoorRules, ForbiddenError
from sfu.signaling.topics import Topics

_log = logging.getLogger(__name__)

Said = Callable[[str, bytes, Caller], None]
"""Takes what a client has said: topic, payload and sender."""

LOG_IN_AGAIN: Final = 4401
"""The WebSocket close code for claims that hold no more (RFC 6455 section 7.4.2: 4000 to 4999 are for applications)."""
_MAX_QUEUE_BYTES: Final = 2 * 1024 * 1024
"""For what waits to be sent: the states of a thousand rooms, some times over."""
_OVERHEAD_BYTES: Final = 128
_MAX_WRITE_BYTES: Final = 64 * 1024
"""For packets that go into one WebSocket message."""
_MAX_SUBSCRIPTIONS: Final = 256
_RATE_PER_S: Final = 10.0
_BURST: Final = 200
"""A page with a wall of cameras offers for each of them when it opens."""
_PIECE_COST_SHARE: Final = 0.1
"""For a WebSocket message in which no packet ends."""
_GRACE_FACTOR: Final = 1.5
"""Keep-alive times that a client may be silent (MQTT 3.1.1 section 3.1.2.10)."""


class Desk(Protocol):
    """All that the clients of one door share."""

    topics: Topics
    board: Board
    said: Said
    audit: Audit
    counters: Counter[str]


class DoorConnection:
    """One client whose CONNECT was accepted."""

    def __init__(
        self, socket: web.WebSocketResponse, desk: Desk, claims: Claims, *, keep_alive_s: int, address: str
    ) -> None:
        self.claims = claims
        self._socket = socket
        self._desk = desk
        self._rules = DoorRules(desk.topics, claims)
        self._address = address
        self._silence_s = keep_alive_s * _GRACE_FACTOR
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._tokens, self._filled_at = float(_BURST), self._heard_at
        self._subscriptions: dict[str, int] = {}
        self._packet_id = 0
        self._unacknowledged = 0
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._writes_since: float | None = None
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.ending: tuple[int, str] | None = None
        """WebSocket close code and reason, once the connection is to end."""
        self.ended = asyncio.Event()
        """Set as soon as `ending` is there."""

    def knows(self, room: str) -> bool:
        """See `BoardReader`."""
        return self.claims.knows(room)

    def deliver(self, topic: str, payload: bytes, qos: int, *, retained: bool) -> None:
        """See `BoardReader`."""
        packet_id = 0
        if qos:
            self._packet_id = packet_id = self._packet_id % 0xFFFF + 1
            self._unacknowledged += 1
        self.send(packets.publish(topic, payload, packet_id, retain=retained))

    def send(self, data: bytes) -> None:
        """Queues packets. Ends the connection if too much waits already."""
        if self.ending is not None:
            return
        self._queued_bytes += len(data) + _OVERHEAD_BYTES
        if self._queued_bytes > _MAX_QUEUE_BYTES:
            self.end("slow", WSCloseCode.TRY_AGAIN_LATER, "this client reads too slowly")
            return
        self._queue.append(data)
        self._idle.clear()
        self._work.set()

    def end(self, kind: str, code: int, reason: str) -> None:
        """Ends the connection, counted as `kind`. What is queued and was not sent is lost. Idempotent."""
        if self.ending is None:
            self.ending = (code, reason)
            self.ended.set()
            if kind:
                self._desk.counters[kind] += 1

    def check(self, fault: str | None, stall_timeout_s: float) -> None:
        """Ends the connection if its claims hold no more, if it is silent for too long, or if it takes nothing."""
        now = self._loop.time()
        if fault is not None:
            self._desk.audit("refused", self.claims, reason=fault, door="mqtt", address=self._address)
            self.end("claims_ended", LOG_IN_AGAIN, "log in again")
        elif self._silence_s and now - self._heard_at > self._silence_s:
            self.end("keep_alive", WSCloseCode.GOING_AWAY, "nothing was heard within the keep-alive time")
        elif self._writes_since is not None and now - self._writes_since > stall_timeout_s:
            self.end("stalled", WSCloseCode.TRY_AGAIN_LATER, "this client takes nothing")

    async def write(self) -> None:
        """Sends what is queued, until cancelled. Raises OSError if the client has gone."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._queue:
                self._writes_since = self._loop.time()
                await self._socket.send_bytes(self._next_write())
            self._writes_since = None
            self._idle.set()

    def _next_write(self) -> bytes:
        first = self._queue.popleft()
        self._queued_bytes -= len(first) + _OVERHEAD_BYTES
        if not self._queue:
            return first
        size, parts = len(first), [first]
        while self._queue and size + len(self._queue[0]) <= _MAX_WRITE_BYTES:
            parts.append(self._queue.popleft())
            size += len(parts[-1])
            self._queued_bytes -= len(parts[-1]) + _OVERHEAD_BYTES
        return b"".join(parts)

    async def flushed(self) -> None:
        """Returns once nothing is queued."""
        await self._idle.wait()

    async def take(self, read: list[packets.Packet]) -> None:
        """Obeys packets, one after another; waits if they come faster than the client's share."""
        self._heard_at = self._loop.time()
        if not read:
            await self._pay(_PIECE_COST_SHARE)
        for packet in read:
            await self._pay(self._cost(packet))
            if self.ending is not None:
                return
            try:
                self._obey(packet)
            except ForbiddenError as error:
                self._desk.audit("refused", self.claims, reason=error.kind, topic=error.topic, address=self._address)
                self.end(error.kind, WSCloseCode.POLICY_VIOLATION, f"not allowed: {error.kind}")

    def _cost(self, packet: packets.Packet) -> float:
        match packet:
            case packets.SubscribePacket() | packets.UnsubscribePacket():
                return len(packet.filters)
            case packets.PubackPacket() if self._unacknowledged:
                self._unacknowledged -= 1
                return 0
            case _:
                return 1

    async def _pay(self, cost: float) -> None:
        """Takes tokens; waits until they are there. Meanwhile the client's bytes wait in its own connection."""
        now = self._loop.time()
        self._tokens = min(_BURST, self._tokens + (now - self._filled_at) * _RATE_PER_S) - cost
        self._filled_at = now
        if self._tokens < 0:
            self._desk.counters["slowed"] += 1
            await asyncio.sleep(-self._tokens / _RATE_PER_S)
            self._heard_at = self._loop.time()

    def _obey(self, packet: packets.Packet) -> None:
        match packet:
            case packets.PublishPacket():
                self._said(packet)
            case packets.SubscribePacket():
                self._subscribe(packet)
            case packets.UnsubscribePacket():
                for wanted in packet.filters:
                    self._subscriptions.pop(wanted, None)
                    self._desk.board.unsubscribe(self, wanted)
                self.send(packets.unsuback(packet.packet_id))
            case packets.PingPacket():
                self.send(packets.PINGRESP)
            case packets.DisconnectPacket():
                self.end("", WSCloseCode.OK, "")

    def _subscribe(self, packet: packets.SubscribePacket) -> None:
        """Answers before the retained values: some clients take nothing before SUBACK."""
        codes = bytearray()
        granted: list[tuple[str, int]] = []
        for wanted, qos in packet.filters:
            full = len(self._subscriptions) >= _MAX_SUBSCRIPTIONS and wanted not in self._subscriptions
            if self._rules.may_read(wanted) and not full:
                self._subscriptions[wanted] = qos
                granted.append((wanted, qos))
                codes.append(qos)
            else:
                self._desk.counters["filter_refused"] += 1
                codes.append(packets.REFUSED)
        self.send(packets.suback(packet.packet_id, bytes(codes)))
        for wanted, qos in granted:
            self._desk.board.subscribe(self, wanted, qos)

    def _said(self, packet: packets.PublishPacket) -> None:
        self._rules.check_said(packet)
        topic, board = packet.topic, self._desk.board

        def reply(payload: bytes) -> None:
            """Goes to all of the door who read this leaf: a page that has lost its connection has a new one."""
            board.say(topic, payload)

        try:
            self._desk.said(topic, packet.payload, Caller(reply, self.claims))
        except Exception:  # noqa: BLE001
            # A bug in the handler does not end the connection: the next message may be for another part.
            self._desk.counters["handler_failed"] += 1
            _log.exception("internal error on a message on %s", topic)
        if packet.qos:
            self.send(packets.puback(packet.packet_id))

    def leave(self) -> None:
        """Ends all subscriptions. Idempotent."""
        for wanted in self._subscriptions:
            self._desk.board.unsubscribe(self, wanted)
        self._subscriptions.clear()
