"""The fan-out: one pass over all consumers for each burst that came in.

Owns the order of work on the way out, how long packets wait for each other, and the arenas. A burst is what arrived in
one turn of the event loop, or, from a camera that sends its frames in one go, the frame: its packets are rewritten and
encrypted for one consumer after the other, and leave together. Never awaits, never raises.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from sfu.media.formats.rtp import Packet
from sfu.media.forward.audience import Audience
from sfu.media.forward.consumer import Consumer, Drop
from sfu.media.forward.group import Group
from sfu.media.forward.replay import Replays
from sfu.media.ingest.producer import Producer
from sfu.rtc.net.burst import MAX_BURST_PACKETS, Burst
from sfu.rtc.net.send import Egress

HOLD: Final = 0.001
"""Seconds that a packet waits at most for the rest of its frame, if its camera sends frames in one go."""


class Handle(Protocol):
    """Something that will be called later."""

    def cancel(self) -> None:
        """Not any more."""


class Scheduler(Protocol):
    """What the fan-out needs of an event loop."""

    def call_soon(self, callback: Callable[[], None], /) -> object:
        """Runs `callback` at the end of this turn."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Handle:
        """Runs `callback` in `delay` seconds."""


class Fanout:
    """All media on its way out of one process."""

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        clock: Callable[[], float],
        end_of_turn: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        """`end_of_turn` runs a callback when the packets that came together have all been pushed (`call_soon`)."""
        self.forwarded = 0
        """Packets handed to the kernel or to a relay."""
        self._scheduler = scheduler
        self._clock = clock
        self._end_of_turn = end_of_turn or scheduler.call_soon
        self._held: dict[Producer, list[Packet]] = {}
        self._due: dict[Producer, list[Packet]] = {}
        self._turn = False
        self._timer: Handle | None = None
        self._egresses: dict[socket.socket, Egress] = {}
        self._replays = Replays(scheduler, clock, self._send_own, self._settle)

    def start(self, consumer: Consumer) -> None:
        """Starts a consumer that waits for a key frame from its producer's latest packets, if these will do."""
        self._replays.start(consumer)

    def slide(self, consumer: Consumer) -> bool:
        """Shows a consumer of key frames the latest one; False if a newer one has to be asked for."""
        return self._replays.slide(consumer)

    def push(self, producer: Producer, packets: Sequence[Packet]) -> None:
        """Queues packets of `producer` for the pass at the end of this turn of the loop, or of their frame."""
        held = self._held.get(producer)
        if producer in self._due:
            self._due[producer] += packets
        elif packets[-1].marker or not producer.bursty or (held and len(held) >= MAX_BURST_PACKETS):
            self._due[producer] = [*self._held.pop(producer), *packets] if held else [*packets]
        elif held:
            held += packets
        else:
            self._held[producer] = [*packets]
        if not self._turn:
            self._turn = True
            self._end_of_turn(self._end_turn)

    def _end_turn(self) -> None:
        self._turn = False
        if self._due:
            self.flush()
        if self._held and self._timer is None:
            self._timer = self._scheduler.call_later(HOLD, self._release)
        elif self._timer is not None and not self._held:
            self._timer.cancel()  # a wake-up less
            self._timer = None

    def _release(self) -> None:
        """The end of a frame is late or lost: what is held goes now."""
        self._timer = None
        for producer, packets in self._held.items():
            self._due.setdefault(producer, []).extend(packets)
        self._held.clear()
        self.flush()

    def flush(self) -> None:
        """Sends everything that is due."""
        bursts, self._due = self._due, {}
        now = self._clock()
        for producer, packets in bursts.items():
            for burst in _bursts(packets):
                self._forward(producer, burst, now)
        self._flush_egresses()

    def _flush_egresses(self) -> None:
        for egress in self._egresses.values():
            egress.flush()

    def _settle(self, producer: Producer) -> None:
        """Who starts now must not wonder what of the history groups have had: all of it."""
        packets = [*self._held.pop(producer, ()), *self._due.pop(producer, ())]
        now = self._clock()
        for burst in _bursts(packets):
            self._forward(producer, burst, now)
        self._flush_egresses()

    def _forward(self, producer: Producer, packets: Sequence[Packet], now: float) -> None:
        waiting = tuple(producer.waiting)
        first, latest, octets = _bounds(packets)
        for group in tuple(producer.groups.values()):
            if first >= group.floor:
                self._send(group.audience, group.rewritten(packets, now))
            else:
                self._send_late(group, packets, now)
            group.sent(len(packets), octets, latest, now)
        for consumer in waiting:
            rest = consumer.begin(producer, packets, now)
            if rest:
                self._send_burst(consumer, rest, now)
                consumer.join()

    def _send_own(self, consumer: Consumer, packets: Sequence[Packet], now: float) -> None:
        """To one consumer in its own group, at once."""
        for burst in _bursts(packets):
            self._send_burst(consumer, burst, now)
        self._flush_egresses()

    def _send_burst(self, consumer: Consumer, packets: Sequence[Packet], now: float) -> None:
        group = consumer.group
        if group is not None:
            self._send(Audience((consumer,)), group.rewritten(packets, now))
            _, latest, octets = _bounds(packets)
            group.sent(len(packets), octets, latest, now)

    def _send_late(self, group: Group, packets: Sequence[Packet], now: float) -> None:
        """Something arrived after a key frame that it was sent before: it is not for those who began there."""
        for consumer in tuple(group.members):
            rest = [packet for packet in packets if packet.index >= consumer.start]
            self._send(Audience((consumer,)), consumer.rewritten(rest, now))
            consumer.missed([packet for packet in packets if packet.index < consumer.start], Drop.BEFORE_KEY_FRAME)

    def _send(self, audience: Audience, packets: Sequence[bytes]) -> None:
        """The same packets to all, to each under its own keys."""
        burst, total = Burst(packets), len(packets)
        for targets, consumers in audience.batches:
            egress = self._egresses.get(targets.socket) or self._open(targets.socket)
            refused = egress.write(targets, burst)
            if burst.refused or refused:
                for position, consumer in enumerate(consumers):
                    consumer.drops[Drop.REFUSED] += burst.refused + refused.get(position, 0)
                self.forwarded -= burst.refused * len(consumers) + sum(refused.values())
            self.forwarded += total * len(consumers)
        for consumer in audience.relayed:
            for packet in packets:
                consumer.transport.send_rtp(packet)
            self.forwarded += total
        for consumer in audience.unkeyed:
            consumer.drops[Drop.NOT_CONNECTED] += total

    def _open(self, sock: socket.socket) -> Egress:
        egress = self._egresses[sock] = Egress(sock)
        return egress

    def refused(self) -> dict[str, int]:
        """Packets that the kernel did not take, by errno name."""
        total: dict[str, int] = {}
        for egress in self._egresses.values():
            for name, count in egress.refused.items():
                total[name] = total.get(name, 0) + count
        return total


def _bounds(packets: Sequence[Packet]) -> tuple[int, Packet, int]:
    """The lowest index, the packet with the highest one (the last may be late), and the bytes of payload."""
    latest = packets[0]
    first, octets = latest.index, 0
    for packet in packets:
        index = packet.index
        if index > latest.index:
            latest = packet
        elif index < first:
            first = index
        octets += len(packet.payload)
    return first, latest, octets


def _bursts(packets: Sequence[Packet]) -> list[Sequence[Packet]]:
    """`packets` in parts that an egress can take: nearly always one."""
    if 0 < len(packets) <= MAX_BURST_PACKETS:
        return [packets]
    return [packets[at : at + MAX_BURST_PACKETS] for at in range(0, len(packets), MAX_BURST_PACKETS)]
