"""The queue to the broker: signalling in order, and of retained state the latest value.

Owns which message comes next and when one is too old. Pure: never knows a connection, and outlives each of them.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

STALE_S = 10.0
"""Signalling that waited longer is useless: the client has given up."""
_STATE_EACH = 4
"""Of so many publishes one is state: a flood of either must not hold the other back until it is stale."""
MAX_MESSAGES = 10_000
MAX_BYTES = 32 << 20
"""Of all messages that wait."""


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One publish that is not retained. `queued_at`: seconds of the caller's clock."""

    topic: str
    payload: bytes
    expiry_s: int
    queued_at: float


class SendQueue:
    """A queue of messages, which leave it when acknowledged, and of state, which stays for the next connection.

    Counts messages dropped as stale as `expired`.
    """

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self._queue: deque[Message] = deque()
        self._bytes = 0
        self._unacknowledged: list[Message] = []
        self._state: dict[str, bytes | None] = {}
        self._unsent_state: dict[str, None] = {}
        self._again: dict[str, bytes] = {}
        self._turn = 0

    def put(self, topic: str, payload: bytes, expiry_s: int, now: float) -> bool:
        """Appends a message. Returns False if MAX_MESSAGES or MAX_BYTES wait already."""
        self._drop_stale(now)
        if len(self._queue) >= MAX_MESSAGES or self._bytes + len(payload) > MAX_BYTES:
            return False
        self._queue.append(Message(topic, payload, expiry_s, now))
        self._bytes += len(payload)
        return True

    def set_state(self, topic: str, payload: bytes | None) -> bool:
        """Sets the value to retain; None clears it. Returns False if that is the value already."""
        if topic in self._state and self._state[topic] == payload:
            return False
        self._state[topic] = payload
        self._unsent_state[topic] = None
        return True

    def state(self, topic: str) -> bytes | None:
        """Returns the value to retain on a topic; None if there is none."""
        return self._state.get(topic)

    def say_again(self, topic: str, payload: bytes) -> None:
        """Sends a retained value once more on this connection, because the broker has another one."""
        self._again[topic] = payload

    def next(self, now: float, *, messages: bool) -> Message | tuple[str, bytes | None] | None:
        """Takes out what should be sent next: a message, or a topic and its value. Returns None if nothing waits.

        `messages` False: state only.
        """
        self._turn = (self._turn + 1) % _STATE_EACH
        if messages and self._turn and (message := self._next_message(now)) is not None:
            return message
        return self._next_state() or (self._next_message(now) if messages else None)

    def _next_state(self) -> tuple[str, bytes | None] | None:
        """Takes out one topic whose value is unsent, with the value. Returns None if there is none."""
        if not self._unsent_state:
            return self._again.popitem() if self._again else None
        topic = next(iter(self._unsent_state))
        del self._unsent_state[topic]
        return topic, self._state[topic]

    def _next_message(self, now: float) -> Message | None:
        """Takes out the first message that is not stale; it stays unacknowledged until `acknowledged`."""
        self._drop_stale(now)
        if not self._queue:
            return None
        self._unacknowledged.append(message := self._queue.popleft())
        self._bytes -= len(message.payload)
        return message

    def acknowledged(self, message: Message) -> None:
        """Forgets a message: the broker has it."""
        self._unacknowledged.remove(message)

    def state_acknowledged(self, topic: str, payload: bytes | None) -> None:
        """Forgets a topic whose clearing the broker has acknowledged, unless it has been set again since."""
        if payload is None and self._state.get(topic, b"") is None:
            del self._state[topic]

    def restart(self) -> None:
        """Begins a new connection: all state is unsent, and unacknowledged messages come first, in their order."""
        self._queue.extendleft(reversed(self._unacknowledged))
        self._bytes += sum(len(message.payload) for message in self._unacknowledged)
        self._unacknowledged.clear()
        self._unsent_state = dict.fromkeys(self._state)
        self._again.clear()

    def _drop_stale(self, now: float) -> None:
        while self._queue and now - self._queue[0].queued_at > STALE_S:
            self._bytes -= len(self._queue.popleft().payload)
            self._counters["expired"] += 1
