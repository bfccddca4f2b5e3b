"""Instant start: consumers on their way from the latest key frame to live.

Owns the pace: the key frame at once, the packets behind it several times faster than they came, and in one step no more
than leaves time for everybody else. Never rewrites and never sends a packet itself: it is given a callable for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from sfu.media.formats.rtp import Packet
from sfu.media.forward.consumer import Consumer, Source

STEP_S: Final = 0.005
"""Time between two steps."""
_BYTES_PER_S: Final = 4_000_000.0
"""Usual pace of a replay."""
_MAX_DURATION_S: Final = 0.4
"""Longest time that a replay takes: after one second the picture must be as live as that of other viewers."""
_MAX_BACKLOG_S: Final = 0.5
"""Longest time that a replay may take on a link of known pace: otherwise a fresh key frame comes sooner."""
_AT_ONCE_PACKETS: Final = 48
"""Packets of a key frame that leave in one go: a usual socket buffer holds three times as many."""
_STEP_PACKETS: Final = 600
"""Packets of all replays together in one step: about 2 ms of work."""
_CATCH_UP_FACTOR: Final = 1.5
"""A replay is at least this much faster than its source, or it would never end."""
_TAIL_PACKETS: Final = 16
"""Packets that leave at once at the end: by the next step new ones would have come behind them."""


class Handle(Protocol):
    """A call that is scheduled."""

    def cancel(self) -> None:
        """Cancels the call."""


class Scheduler(Protocol):
    """An event loop, as far as the way out needs it."""

    def call_soon(self, callback: Callable[[], None], /) -> object:
        """Runs `callback` at the end of this turn."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Handle:
        """Runs `callback` in `delay` seconds."""
        ...


class _Replay:
    """One consumer on its way."""

    __slots__ = (
        "_came",
        "_sent",
        "consumer",
        "credit",
        "end",
        "group",
        "packets",
        "position",
        "rate",
        "slide",
        "source",
        "stepped_at",
    )

    def __init__(
        self, consumer: Consumer, source: Source, packets: Sequence[Packet], now: float, *, slide: bool
    ) -> None:
        size = _size(packets)
        self.consumer = consumer
        self.source = source
        self.slide = slide
        """True if it ends with its key frame."""
        self.packets = packets
        self.position = 0
        fast = max(_BYTES_PER_S, size / _MAX_DURATION_S)
        self.rate = fast if consumer.pace is None else min(fast, consumer.pace)
        self.end = 0
        """Index after the last packet that it sent."""
        self._sent: set[int] = set()
        self._came = source.producer.octets
        self.credit = 0.0
        self.stepped_at = now
        self.group = consumer.begin_replay(packets, now, size / self.rate)

    @property
    def alive(self) -> bool:
        """True until the consumer starts anew, shows another producer or ends."""
        return self.group is not None and self.consumer.group is self.group

    def first(self) -> Sequence[Packet]:
        """Returns the key frame or its beginning; nothing for a slide, whose link takes no burst."""
        if self.slide:
            return ()
        key = self.packets[0].media_time
        size = next((n for n, packet in enumerate(self.packets) if packet.media_time != key), len(self.packets))
        return self._next(min(size, _AT_ONCE_PACKETS))

    def due(self, now: float, most: int) -> Sequence[Packet]:
        """Returns the packets that may leave now, `most` of them at most."""
        octets = self.source.producer.octets
        came = 0 if self.slide else octets - self._came
        self.credit += max((now - self.stepped_at) * self.rate, came * _CATCH_UP_FACTOR)
        self.stepped_at, self._came = now, octets
        count = 0
        for packet in self.packets[self.position : self.position + most]:
            if self.credit <= 0:
                break
            self.credit -= len(packet.payload)
            count += 1
        return self._next(count)

    def rest(self) -> Sequence[Packet]:
        """Returns all packets that it still has."""
        return self._next(len(self.packets) - self.position)

    def cut_off(self) -> bool:
        """True if packets that it has not sent yet have left the history."""
        return self.source.producer.history.floor > self.end

    def left(self) -> Sequence[Packet]:
        """Returns packets that came after the history was read: later ones, or else late ones."""
        history = self.source.producer.history
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
        settle: Callable[[Source], None],
    ) -> None:
        """`send` sends to one consumer in its own group; `settle` sends all queued packets of a source."""
        self._scheduler = scheduler
        self._clock = clock
        self._send = send
        self._settle = settle
        self._running: list[_Replay] = []
        self._stepping = False

    def start(self, consumer: Consumer) -> None:
        """Starts a waiting consumer from its producer's latest key frame, if that is kept and recent enough.

        On a link that is known to be too thin for that, and for other producers, it requests a key frame.
        """
        source = consumer.source
        if source is None or consumer.group is not None or consumer.sparse:
            return
        packets = source.producer.replayable()
        if packets and (consumer.pace is None or _size(packets) <= consumer.pace * _MAX_BACKLOG_S):
            self._begin(consumer, source, packets, slide=False)
        else:
            source.producer.request_key_frame(self._clock())

    def slide(self, consumer: Consumer) -> bool:
        """Shows a sparse consumer its producer's latest key frame; False if it has had that one, or there is none.

        Returns True, too, while the one before is still on its way.
        """
        source = consumer.source
        if source is None or self.running(consumer):
            return True
        packets = source.producer.key_frame()
        if not packets or next(packet.index for packet in packets if packet.key) <= consumer.start:
            return False
        self._begin(consumer, source, packets, slide=True)
        return True

    def running(self, consumer: Consumer) -> bool:
        """True while a consumer is on its way."""
        return any(replay.consumer is consumer for replay in self._running)

    def _begin(self, consumer: Consumer, source: Source, packets: Sequence[Packet], *, slide: bool) -> None:
        now = self._clock()
        try:
            replay = _Replay(consumer, source, packets, now, slide=slide)
            if replay.group is None:
                return
            if packets := replay.first():
                self._send(consumer, packets, now)
        except Exception:  # noqa: BLE001  # the boundary of one camera's media: no viewer is to blame
            source.producer.on_bug()
            return
        self._running.append(replay)
        self._schedule()

    def _schedule(self) -> None:
        if self._running and not self._stepping:
            self._stepping = True
            self._scheduler.call_later(STEP_S, self._step)

    def _step(self) -> None:
        self._stepping = False
        now, left = self._clock(), _STEP_PACKETS
        running, self._running = self._running, []
        for number, replay in enumerate(running):
            if left <= 0:
                self._running = running[number:] + self._running  # these are first next time
                break
            if replay.alive:
                packets = replay.due(now, left)
                left -= len(packets)
                try:
                    ended = self._advance(replay, packets, now)
                except Exception:  # noqa: BLE001  # as in `_begin`
                    replay.source.producer.on_bug()
                    continue
                if not ended:
                    self._running.append(replay)
        self._schedule()

    def _advance(self, replay: _Replay, packets: Sequence[Packet], now: float) -> bool:
        """Sends packets of a replay; returns True if it has ended then."""
        if packets:
            self._send(replay.consumer, packets, now)
        return self._finish(replay, now)

    def _finish(self, replay: _Replay, now: float) -> bool:
        """Ends a replay whose packets are all sent: the consumer joins its group. False if there are more to send."""
        if replay.position < len(replay.packets):
            return False
        if replay.slide:
            return True
        self._settle(replay.source)
        if not replay.alive:
            return True
        if replay.cut_off():
            replay.consumer.restart()  # a hole would look like a loss
            replay.source.producer.request_key_frame(now)
            return True
        while left := replay.left():
            replay.packets, replay.position = left, 0
            if len(left) > _TAIL_PACKETS:
                return False
            self._send(replay.consumer, replay.rest(), now)
        replay.consumer.join(replay.end)
        return True
