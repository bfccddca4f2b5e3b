"""What the parent asks its two child processes, and what they answer: plain values that cross a pipe. No behaviour."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sfu.loadtest.plan import Plan
from sfu.loadtest.report.spread import Spread
from sfu.loadtest.report.tally import Counts
from sfu.loadtest.synthetic.footage import Footage
from sfu.signaling.link import BrokerUrl


@dataclass(frozen=True, slots=True)
class Setup:
    """What a child is born with."""

    plan: Plan
    footage: Footage | None
    """What the cameras send; None where they are somebody else's."""
    broker: BrokerUrl
    base: str
    token: str | None
    mqtt_each: bool
    """One broker connection for each peer, not one for all of a process."""
    new_loop: Callable[[], asyncio.AbstractEventLoop]
    """The kind of event loop that the parent runs on."""


@dataclass(frozen=True, slots=True)
class Population:
    """To the viewers: be so many."""

    viewers: int


@dataclass(frozen=True, slots=True)
class PlanMarks:
    """To the cameras: choose a coming moment at which you pause, each its own."""


@dataclass(frozen=True, slots=True)
class SetMarks:
    """To the viewers: note what you got of what your camera, by number, sends until then (seconds since 1970)."""

    at: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Poll:
    """To both: how are you."""


@dataclass(frozen=True, slots=True)
class ReadMarks:
    """To both: what each of you had at its two newest marks, then forget all marks."""


Order = Population | PlanMarks | SetMarks | Poll | ReadMarks


@dataclass(frozen=True, slots=True)
class CamerasStatus:
    """How the cameras are. `fault`: why there will be none."""

    up: int
    failed: Mapping[str, int]
    sent: int
    key_frame_requests: int
    cpu_seconds: float
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class ViewersStatus:
    """How the viewers are; `latency` covers the time since the poll before, all else everything so far.

    But `join` and `first_packet` are those of who came since the last `Population`.
    """

    wanted: int
    up: int
    failed: Mapping[str, int]
    """Why viewers did not connect, or were thrown out, and how many."""
    counts: Counts
    latency: Spread
    join: Spread
    """Offer sent to connected."""
    first_packet: Spread
    """Offer sent to first packet."""
    checked: int
    corrupt: int
    dropped: int
    """Packets that the load test's own sockets lost: it was too slow itself."""
    cpu_seconds: float
    fault: str | None = None

    @property
    def settled(self) -> bool:
        """Whether nobody is on the way in or out."""
        return self.up + sum(self.failed.values()) >= self.wanted


@dataclass(frozen=True, slots=True)
class Received:
    """What one viewer of camera number `camera`, None for somebody else's, got between its two newest marks."""

    camera: int | None
    counts: Counts


@dataclass(frozen=True, slots=True)
class SentMarks:
    """Packets that each camera, by number, sent between its two newest marks."""

    packets: Mapping[int, int] = field(default_factory=dict)


Answer = CamerasStatus | ViewersStatus | Mapping[int, float] | SentMarks | tuple[Received, ...] | None
