"""The queue to the broker: signalling in order, and of retained state the latest value.

Owns which message comes next and when one is too old. Pure: never knows a connection, and outlives each of them.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

STALE_S = 10.0
"""Signalling that waited longer is useless: the client has given up."""
MAX_MESSAGES = 1000


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
        self._unacknowledged: list[Message] = []
        self._state: dict[str, bytes | None] = {}
        self._unsent_state: dict[str, None] = {}

    def put(self, topic: str, payload: bytes, expiry_s: int, now: float) -> bool:
        """Appends a message. Returns False if MAX_MESSAGES wait already."""
        self._drop_stale(now)
        if len(self._queue) >= MAX_MESSAGES:
            return False
        self._queue.append(Message(topic, payload, expiry_s, now))
        return True

    def set_state(self, topic: str, payload: bytes | None) -> bool:
        """Sets the value to retain; None clears it. Returns False if that is the value already."""
        if topic in self._state and self._state[topic] == payload:
            return False
        self._state[topic] = payload
        self._unsent_state[topic] = None
        return True

    def next_state(self) -> tuple[str, bytes | None] | None:
        """Takes out one topic whose value is unsent, with the value. Returns None if there is none."""
        if not self._unsent_state:
            return None
        topic = next(iter(self._unsent_state))
        del self._unsent_state[topic]
        return topic, self._state[topic]

    def next_message(self, now: float) -> Message | None:
        """Takes out the first message that is not stale; it stays unacknowledged until `acknowledged`."""
        self._drop_stale(now)
        if not self._queue:
            return None
        self._unacknowledged.append(self._queue.popleft())
        return self._unacknowledged[-1]

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
        self._unacknowledged.clear()
        self._unsent_state = dict.fromkeys(self._state)

    def _drop_stale(self, now: float) -> None:
        while self._queue and now - self._queue[0].queued_at > STALE_S:
            self._queue.popleft()
            self._counters["expired"] += 1
