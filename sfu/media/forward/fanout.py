"""The fan-out: one pass over all consumers for each burst that came in.

Owns the branches, the order of work on the way out, how long packets wait for each other, and the arenas. A burst is
all that arrived in one turn of the event loop or, from a camera that sends its frames in one go, one frame: its packets
are rewritten and encrypted for one consumer after the other, and leave together. Never awaits, never raises.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Final

from sfu.media.formats.rtp import Packet
from sfu.media.forward.branch import Branch
from sfu.media.forward.consumer import Consumer, Source
from sfu.media.forward.group import Audience, Drop, Group
from sfu.media.forward.replay import Handle, Replays, Scheduler
from sfu.media.ingest.producer import Producer
from sfu.rtc.net.burst import MAX_BURST_PACKETS, Burst
from sfu.rtc.net.send import Egress

HOLD_S: Final = 0.001
"""Longest time that a packet waits for the rest of its frame, if its camera sends frames in one go."""


class Fanout:
    """All media on its way out of one process."""

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        clock: Callable[[], float],
        end_of_turn: Callable[[Callable[[], None]], object] | None = None,
        open_egress: Callable[[socket.socket], Egress] = Egress,
    ) -> None:
        """`end_of_turn` runs a callback when all packets that came together have been pushed (default: `call_soon`)."""
        self.forwarded = 0
        """Packets handed to the kernel or to a relay."""
        self._scheduler = scheduler
        self._clock = clock
        self._end_of_turn = end_of_turn or scheduler.call_soon
        self._branches: dict[Producer, Branch] = {}
        self._holding: dict[Branch, None] = {}
        self._due: list[Branch] = []
        self._turn = False
        self._timer: Handle | None = None
        self._open_egress = open_egress
        self._egresses: dict[socket.socket, Egress] = {}
        self.replays = Replays(scheduler, clock, self._send_own, self._settle)

    # --- branches

    def open(self, producer: Producer) -> Branch:
        """Makes the branch of a new producer, whose packets it takes from now on; `close` ends it."""
        branch = self._branches[producer] = Branch(producer, self)
        return branch

    def branch(self, producer: Producer) -> Branch:
        """Returns the branch of a producer; an empty one that nobody feeds if the producer has ended."""
        return self._branches.get(producer) or Branch(producer, self)

    def close(self, producer: Producer, now: float) -> None:
        """Detaches the consumers of a producer that has ended."""
        producer.history.clear()  # consumers may look back at it for a while
        branch = self._branches.pop(producer, None)
        if branch is not None:
            self._holding.pop(branch, None)
            branch.end(now)

    def start(self, consumer: Consumer) -> None:
        """Starts a consumer that waits for a key frame from its producer's latest packets, if these contain one."""
        self.replays.start(consumer)

    def start_waiting(self, producer: Producer) -> None:
        """Does the same for all consumers of a producer that wait for a key frame."""
        for consumer in tuple(self.branch(producer).waiting):
            self.replays.start(consumer)

    def slide(self, consumer: Consumer) -> bool:
        """Shows the latest key frame to a consumer of key frames only; False if a newer one has to be requested."""
        return self.replays.slide(consumer)

    # --- one burst

    def hold(self, branch: Branch) -> None:
        """See `BranchQueue`."""
        self._holding[branch] = None
        self._begin_turn()

    def make_due(self, branch: Branch) -> None:
        """See `BranchQueue`."""
        self._holding.pop(branch, None)
        self._due.append(branch)
        self._begin_turn()

    def _begin_turn(self) -> None:
        if not self._turn:
            self._turn = True
            self._end_of_turn(self._end_turn)

    def _end_turn(self) -> None:
        self._turn = False
        if self._due:
            self.flush()
        if self._holding and self._timer is None:
            self._timer = self._scheduler.call_later(HOLD_S, self._release)
        elif self._timer is not None and not self._holding:
            self._timer.cancel()  # saves one wake-up
            self._timer = None

    def _release(self) -> None:
        """Sends all held packets: the ends of their frames are late or lost."""
        self._timer = None
        self._due += self._holding
        self._holding.clear()
        self.flush()

    def flush(self) -> None:
        """Sends all packets that are due."""
        branches, self._due = self._due, []
        now = self._clock()
        for branch in branches:
            try:
                for burst in _bursts(branch.take_queued()):
                    self._forward(branch, burst, now)
            except Exception:  # noqa: BLE001  # the boundary of one camera's media: no viewer is to blame
                branch.producer.on_bug()
        self._flush_egresses()

    def _flush_egresses(self) -> None:
        for egress in self._egresses.values():
            egress.flush()

    def _settle(self, source: Source) -> None:
        """Sends the queued packets of a source to its groups now.

        A consumer that starts from the history may then assume that the groups have got all of it.
        """
        branch = self.branch(source.producer)
        self._holding.pop(branch, None)
        now = self._clock()
        for burst in _bursts(branch.take_queued()):
            self._forward(branch, burst, now)
        self._flush_egresses()

    def _forward(self, branch: Branch, packets: Sequence[Packet], now: float) -> None:
        waiting = tuple(branch.waiting)
        first, latest, octets = _bounds(packets)
        for group in tuple(branch.groups.values()):
            if first >= group.floor:
                self._send(group.audience, group.rewritten(packets, now))
            else:
                self._send_late(group, packets, now)
            group.sent(len(packets), octets, latest, now)
        for consumer in waiting:
            rest = consumer.begin(branch, packets, now)
            if rest:
                for burst in _bursts(rest):  # one with parameter sets of an earlier key frame may be too long
                    self._send_burst(consumer, burst, now)
                consumer.join()

    def _send_own(self, consumer: Consumer, packets: Sequence[Packet], now: float) -> None:
        """Sends packets to one consumer in its own group, at once."""
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
        """Sends a burst with packets older than some members' key frames: these members do not get them."""
        for member in tuple(group.members):
            rest = [packet for packet in packets if packet.index >= member.start]
            self._send(Audience((member,)), member.rewritten(rest, now))
            member.missed([packet for packet in packets if packet.index < member.start], Drop.BEFORE_KEY_FRAME)

    def _send(self, audience: Audience, packets: Sequence[bytes]) -> None:
        """Sends the same packets to all members, encrypted with the keys of each."""
        burst, total = Burst(packets), len(packets)
        for targets, members in audience.batches:
            egress = self._egresses.get(targets.socket) or self._egress(targets.socket)
            refused = egress.write(targets, burst)
            if burst.refused or refused:
                for position, member in enumerate(members):
                    member.drops[Drop.REFUSED] += burst.refused + refused.get(position, 0)
                self.forwarded -= burst.refused * len(members) + sum(refused.values())
            self.forwarded += total * len(members)
        for member in audience.relayed:
            for packet in packets:
                member.transport.send_rtp(packet)
            self.forwarded += total
        for member in audience.unkeyed:
            member.drops[Drop.NOT_CONNECTED] += total

    def _egress(self, sock: socket.socket) -> Egress:
        egress = self._egresses[sock] = self._open_egress(sock)
        return egress

    def refused(self) -> dict[str, int]:
        """Returns the number of packets that the kernel did not take, by errno name."""
        total: dict[str, int] = {}
        for egress in self._egresses.values():
            for name, count in egress.refused.items():
                total[name] = total.get(name, 0) + count
        return total


def _bounds(packets: Sequence[Packet]) -> tuple[int, Packet, int]:
    """Returns the lowest index, the packet with the highest one (the last may be late), and bytes of payload."""
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
    """Returns `packets` in parts that an egress can take: nearly always one."""
    if 0 < len(packets) <= MAX_BURST_PACKETS:
        return [packets]
    return [packets[at : at + MAX_BURST_PACKETS] for at in range(0, len(packets), MAX_BURST_PACKETS)]
