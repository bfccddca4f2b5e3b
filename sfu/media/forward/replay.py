"""Instant start: consumers on their way from the latest key frame to live.

Owns the pace: the key frame at once, what followed it several times faster than it came, and no more in one step than
leaves time for everybody else. Never rewrites and never sends a packet itself: it is given the callable that does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from sfu.media.formats.rtp import Packet
from sfu.media.forward.consumer import Consumer
from sfu.media.ingest.producer import Producer

STEP: Final = 0.005
"""Seconds between two steps."""
_BYTES_PER_S: Final = 4_000_000.0
_SLOWEST: Final = 0.4  # seconds that a replay takes at most: a second later the picture must be as live as others'
_BACKLOG: Final = 0.5  # seconds that a replay may take on a link whose pace is known: else a key frame comes sooner
_AT_ONCE: Final = 48  # packets of a key frame that leave in one go: a socket's usual buffer holds three times as many
_STEP_PACKETS: Final = 600  # of all replays together: about 2 ms of work
_TAIL: Final = 16  # packets that leave at once at the end: left to the next step, they would have successors by then


class Scheduler(Protocol):
    """What a replay needs of an event loop."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> object:
        """Runs `callback` in `delay` seconds."""


class _Replay:
    """One consumer's way."""

    __slots__ = (
        "_sent",
        "consumer",
        "credit",
        "end",
        "group",
        "packets",
        "position",
        "producer",
        "rate",
        "slide",
        "stepped_at",
    )

    def __init__(
        self, consumer: Consumer, producer: Producer, packets: Sequence[Packet], now: float, *, slide: bool
    ) -> None:
        size = _size(packets)
        self.consumer = consumer
        self.producer = producer
        self.slide = slide
        """Whether it ends with its key frame."""
        self.packets = packets
        self.position = 0
        fast = max(_BYTES_PER_S, size / _SLOWEST)
        self.rate = fast if consumer.pace is None else min(fast, consumer.pace)
        self.end = 0
        """Index after the last packet that it sent."""
        self._sent: set[int] = set()
        self.credit = 0.0
        self.stepped_at = now
        self.group = consumer.begin_replay(packets, now, size / self.rate)

    @property
    def alive(self) -> bool:
        """Whether the consumer has not begun anew, elsewhere or not at all, since."""
        return self.group is not None and self.consumer.group is self.group

    def first(self) -> Sequence[Packet]:
        """The key frame, or its beginning; nothing yet of a slide, whose link takes no burst."""
        if self.slide:
            return ()
        key = self.packets[0].media_time
        size = next((n for n, packet in enumerate(self.packets) if packet.media_time != key), len(self.packets))
        return self._next(min(size, _AT_ONCE))

    def due(self, now: float, most: int) -> Sequence[Packet]:
        """What may leave now, `most` packets at most."""
        self.credit += (now - self.stepped_at) * self.rate
        self.stepped_at = now
        count = 0
        for packet in self.packets[self.position : self.position + most]:
            if self.credit <= 0:
                break
            self.credit -= len(packet.payload)
            count += 1
        return self._next(count)

    def rest(self) -> Sequence[Packet]:
        """All that it has, at once."""
        return self._next(len(self.packets) - self.position)

    def left(self) -> Sequence[Packet]:
        """What came since the packets were taken from the history: later ones, and late ones."""
        history = self.producer.history
        later = history.since(self.end)
        sent = self._sent
        return later or [packet for packet in history.since(self.consumer.start) if packet.index not in sent]

    def _next(self, count: int) -> Sequence[Packet]:
        start, self.position = self.position, self.position + count
        packets = self.packets[start : self.position]
        indexes = [packet.index for packet in packets]
        self._sent.update(indexes)
        self.end = max([self.end, *[index + 1 for index in indexes[-1:]]])
        return packets


def _size(packets: Sequence[Packet]) -> int:
    return sum([len(packet.payload) for packet in packets])


class Replays:
    """All consumers that are on their way."""

    def __init__(
        self,
        scheduler: Scheduler,
        clock: Callable[[], float],
        send: Callable[[Consumer, Sequence[Packet], float], None],
        settle: Callable[[Producer], None],
    ) -> None:
        """`send` sends to one consumer in its own group; `settle` sends to groups at once what waits for them."""
        self._scheduler = scheduler
        self._clock = clock
        self._send = send
        self._settle = settle
        self._running: list[_Replay] = []
        self._stepping = False

    def start(self, consumer: Consumer) -> None:
        """Starts a consumer that waits for a key frame from its producer's latest one, if that is kept and near.

        Not on a link known to be too thin for that.
        """
        producer = consumer.producer
        if producer is None or consumer.group is not None or consumer.sparse:
            return
        packets = producer.replayable()
        if packets and (consumer.pace is None or _size(packets) <= consumer.pace * _BACKLOG):
            self._begin(consumer, producer, packets, slide=False)
        else:
            producer.request_key_frame(self._clock())

    def slide(self, consumer: Consumer) -> bool:
        """Shows a sparse consumer its producer's latest key frame; False if it has had it, or none is there.

        True, too, while the one before is still on its way.
        """
        producer = consumer.producer
        if producer is None or any(replay.consumer is consumer for replay in self._running):
            return True
        packets = producer.history.key_frame()
        if not packets or packets[0].index <= consumer.start:
            return False
        self._begin(consumer, producer, packets, slide=True)
        return True

    def _begin(self, consumer: Consumer, producer: Producer, packets: Sequence[Packet], *, slide: bool) -> None:
        now = self._clock()
        replay = _Replay(consumer, producer, packets, now, slide=slide)
        if replay.group is None:
            return
        if packets := replay.first():
            self._send(consumer, packets, now)
        self._running.append(replay)
        self._schedule()

    def _schedule(self) -> None:
        if self._running and not self._stepping:
            self._stepping = True
            self._scheduler.call_later(STEP, self._step)

    def _step(self) -> None:
        self._stepping = False
        now, left = self._clock(), _STEP_PACKETS
        running, self._running = self._running, []
        for number, replay in enumerate(running):
            if left <= 0:
                self._running = running[number:] + self._running  # they are first next time
                break
            if replay.alive:
                packets = replay.due(now, left)
                left -= len(packets)
                if packets:
                    self._send(replay.consumer, packets, now)
                if not self._caught_up(replay, now):
                    self._running.append(replay)
        self._schedule()

    def _caught_up(self, replay: _Replay, now: float) -> bool:
        """Whether nothing is left that groups will not get; the consumer is then one of a group, or shows its slide."""
        if replay.position < len(replay.packets):
            return False
        if replay.slide:
            return True
        self._settle(replay.producer)
        if not replay.alive:
            return True
        while left := replay.left():
            replay.packets, replay.position = left, 0
            if len(left) > _TAIL:
                return False
            self._send(replay.consumer, replay.rest(), now)
        replay.consumer.join(replay.end)
        return True
