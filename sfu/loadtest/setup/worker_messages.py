"""Requests that the parent process sends to its two workers, and the type of each reply.

Plain values that cross a pipe; no behaviour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sfu.loadtest.measure.status import CamerasStatus, SentCounts, ViewerCounts, ViewersStatus
from sfu.loadtest.setup.footage import Footage
from sfu.loadtest.setup.plan import Plan
from sfu.signaling.broker_url import BrokerUrl, Tls


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """Settings that a worker process starts with."""

    plan: Plan
    footage: Footage | None
    """The video that the cameras send; None if the test brings no cameras."""
    broker: BrokerUrl
    base: str
    token: str | None = field(repr=False)
    tls: Tls | None
    mqtt_each: bool
    """True: each peer has its own broker connection. False: all peers of a process share one."""
    new_loop: Callable[[], asyncio.AbstractEventLoop]
    """Creates an event loop of the parent's kind."""


@dataclass(frozen=True, slots=True)
class SetViewerCount:
    """Asks the viewers' worker to run `viewers` viewers. Reply: None."""

    viewers: int


@dataclass(frozen=True, slots=True)
class PlanMarks:
    """Asks the cameras' worker to choose each camera's next mark, a moment in a pause between two frames.

    Reply: the wall time of each mark by camera number, in seconds since 1970.
    """


@dataclass(frozen=True, slots=True)
class SetMarks:
    """Asks the viewers' worker to count separately what each camera sends before its mark. Reply: None.

    `at`: wall time by camera number, in seconds since 1970.
    """

    at: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Poll:
    """Asks a worker for its state. Reply: `CamerasStatus` or `ViewersStatus`."""


@dataclass(frozen=True, slots=True)
class ReadMarks:
    """Asks a worker for the counts between the two newest marks, and clears all marks.

    Reply: `SentCounts`, or one `ViewerCounts` for each viewer.
    """


Request = SetViewerCount | PlanMarks | SetMarks | Poll | ReadMarks
Reply = CamerasStatus | ViewersStatus | Mapping[int, float] | SentCounts | tuple[ViewerCounts, ...] | None
