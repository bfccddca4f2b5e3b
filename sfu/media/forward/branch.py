"""A branch: the consumers that one producer feeds, and its packets on their way to them.

Owns the answer to "who gets this producer's packets, and from when": consumers, the waiting ones among them, groups,
and the packets that are held or due. Never rewrites and never sends a packet: the fan-out does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sfu.media.formats.rtp import Packet
from sfu.media.forward.consumer import Consumer
from sfu.media.forward.group import Group, Rewrite
from sfu.media.ingest.producer import Producer
from sfu.rtc.net.burst import MAX_BURST_PACKETS


class BranchQueue(Protocol):
    """The fan-out as its branches see it."""

    def hold(self, branch: Branch) -> None:
        """Lets the packets that a branch holds leave soon, even if the end of their frame does not come."""

    def make_due(self, branch: Branch) -> None:
        """Sends what is due in a branch at the end of this turn of the loop; it holds nothing any more."""


class Branch:
    """One producer on the way out; the `Output` of that producer and the `Source` of its consumers."""

    def __init__(self, producer: Producer, queue: BranchQueue) -> None:
        self.producer = producer
        self.consumers: list[Consumer] = []
        self.waiting: list[Consumer] = []
        """Consumers that need a key frame first."""
        self.groups: dict[Rewrite, Group] = {}
        """The groups of all other consumers, by their rewrite."""
        self.held: list[Packet] = []
        """Packets of a frame whose end has not come yet."""
        self.due: list[Packet] = []
        """Packets that leave at the end of this turn of the loop."""
        self._queue = queue

    # --- what the producer says

    @property
    def consumer_count(self) -> int:
        """See `Output`."""
        return len(self.consumers)

    def push(self, packets: Sequence[Packet]) -> None:
        """See `Output`: queues packets for the end of this turn of the loop, or for the end of their frame."""
        if self.due:
            self.due += packets
        elif packets[-1].marker or not self.producer.times.bursty or len(self.held) >= MAX_BURST_PACKETS:
            self.due, self.held = [*self.held, *packets], []
            self._queue.make_due(self)
        else:
            self.held += packets
            self._queue.hold(self)

    def restart(self) -> None:
        """See `Output`: all consumers start anew at the next key frame."""
        for consumer in self.consumers:
            if consumer.source is self:  # otherwise it still shows another layer, and waits here already
                consumer.restart()

    # --- membership

    def add(self, consumer: Consumer, now: float) -> None:
        """Adds a consumer, which waits for the next key frame; requests one unless the history has one to replay."""
        self.consumers.append(consumer)
        self.waiting.append(consumer)
        if not self.producer.replayable():
            self.producer.request_key_frame(now)

    def remove(self, consumer: Consumer) -> None:
        """Removes a consumer."""
        self.consumers.remove(consumer)
        self.stop_waiting(consumer)

    def wait(self, consumer: Consumer) -> None:
        """Makes one of the consumers wait for a key frame again."""
        if consumer not in self.waiting:
            self.waiting.append(consumer)

    def stop_waiting(self, consumer: Consumer) -> None:
        """Makes a consumer wait for no key frame."""
        if consumer in self.waiting:
            self.waiting.remove(consumer)

    def join_group(self, consumer: Consumer, rewrite: Rewrite) -> Group:
        """Puts a consumer that is up to date into the group of its rewrite, and returns that group."""
        self.stop_waiting(consumer)
        group = self.groups.get(rewrite)
        if group is None:
            group = self.groups[rewrite] = Group(rewrite)
        group.join(consumer)
        return group

    def leave_group(self, consumer: Consumer, group: Group) -> None:
        """Takes a consumer out of a group if it is a member; deletes the group if it is empty then."""
        if consumer in group.members:
            group.leave(consumer)
            if not group.members:
                del self.groups[group.rewrite]

    def end(self, now: float) -> None:
        """Detaches all consumers: nothing comes from this producer any more."""
        self.held, self.due = [], []
        for consumer in tuple(self.consumers):
            if consumer.following is self:
                consumer.follow(None, now)
            else:
                consumer.attach(None, now)

    def take_queued(self) -> list[Packet]:
        """Returns all packets on their way out, which the caller sends now."""
        packets = [*self.held, *self.due] if self.held else self.due
        self.held, self.due = [], []
        return packets
