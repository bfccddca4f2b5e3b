"""All synthetic viewers, in one process: who joins when, and one reader for all their sockets.

Owns the population and the sweep over the sockets. What one viewer makes of its packets is `viewer`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

from sfu.clients.attempt import Host
from sfu.clients.histogram import Spread
from sfu.clients.outgoing import abs_send_time
from sfu.loadtest.measure.counts import StreamCounts
from sfu.loadtest.measure.status import ViewerCounts, ViewersStatus
from sfu.loadtest.setup.worker_messages import Poll, ReadMarks, Reply, Request, SetMarks, SetViewerCount, WorkerSetup
from sfu.loadtest.synthetic.broker_connections import BrokerConnections
from sfu.loadtest.synthetic.datagram_batch import DatagramBatch
from sfu.loadtest.synthetic.session import AT_ONCE, SessionError
from sfu.loadtest.synthetic.viewer import SyntheticViewer, ViewerTotals
from sfu.signaling.topics import Role

_TICK = 0.005
_SLICES = 6
"""Each socket is read every sixth tick, about once a frame. The kernel notes when packets come: no figure suffers."""
_REPORT_INTERVAL = 1.0
_LEAVING_AT_ONCE = 50
"""So that neither the broker's nor the server's queues overflow with their last words."""


class ViewerWorker:
    """The party of the viewers' process."""

    def __init__(self, setup: WorkerSetup) -> None:
        plan = setup.plan
        self._plan = plan
        self._signalling = BrokerConnections(
            setup.broker, setup.base, Role.VIEW, plan.room, token=setup.token, each=setup.mqtt_each
        )
        self._host = Host.new()
        self._findings = ViewerTotals(None if setup.footage is None else setup.footage.check_sums())
        self._intake = DatagramBatch()
        self._wanted = 0
        self._changed = asyncio.Event()
        self._joining = asyncio.Semaphore(AT_ONCE)
        self._viewers: dict[int, SyntheticViewer] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._failed: dict[int, str] = {}
        self._gone = StreamCounts()
        self._ended: list[ViewerCounts] = []
        self._fault: str | None = None

    async def run(self) -> None:
        """See `Party`."""
        helpers = [asyncio.create_task(work, name="load: viewers") for work in (self._sweep(), self._report())]
        try:
            await self._signalling.open()
            await self._populate()
        except TimeoutError:
            self._fault = "no connection to the broker"
            await asyncio.Event().wait()
        finally:
            await _dismiss(list(self._tasks.values()))
            await _dismiss(helpers)
            await self._signalling.close()

    def answer(self, order: Request) -> Reply:
        """See `Party`."""
        match order:
            case SetViewerCount(viewers):
                self._wanted = viewers
                self._findings.join, self._findings.first_packet = Spread(), Spread()
                self._changed.set()
            case SetMarks(marks):
                self._set_marks(marks)
            case ReadMarks():
                return self._read_marks()
            case Poll():
                return self._status()
            case _:
                pass
        return None

    def _set_marks(self, marks: Mapping[int, float]) -> None:
        """Somebody else's camera has told of no mark: what comes from now on is behind it."""
        now = time.time()
        for viewer in self._viewers.values():
            at = now if viewer.camera is None else marks.get(viewer.camera)
            if viewer.up and at is not None:
                viewer.marks.set(abs_send_time(at))

    def _read_marks(self) -> tuple[ViewerCounts, ...]:
        """Of all who were here at both marks, and of those who were thrown out in between.

        What waits in the sockets has arrived, however late this process is to read it.
        """
        self._read(self._viewers.values())
        ended, self._ended = self._ended, []
        marks = [(viewer.camera, viewer.marks.take(viewer.counts())) for viewer in self._viewers.values()]
        return (*ended, *(ViewerCounts(camera, pair[1] - pair[0]) for camera, pair in marks if len(pair) == 2))

    def _status(self) -> ViewersStatus:
        findings = self._findings
        return ViewersStatus(
            wanted=self._wanted,
            up=sum(viewer.up for viewer in self._viewers.values()),
            failed=Counter(self._failed.values()),
            counts=sum((viewer.counts() for viewer in self._viewers.values()), self._gone),
            latency=findings.latency.take(),
            join=findings.join,
            first_packet=findings.first_packet,
            checked=findings.checked,
            corrupt=findings.corrupt + sum(viewer.undecrypted for viewer in self._viewers.values()),
            dropped=findings.dropped + sum(viewer.dropped for viewer in self._viewers.values()),
            cpu_seconds=time.process_time(),
            fault=self._fault,
        )

    async def _populate(self) -> None:
        """Lets viewers in at the ramp's pace, and out as fast as they can be."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await _dismiss([task for number, task in self._tasks.items() if number >= self._wanted])
            self._failed.clear()  # who was turned away before may try again: each step of a search stands alone
            await self._let_in()

    async def _let_in(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        for number in range(self._wanted):
            if self._changed.is_set():
                return
            if number not in self._tasks and number not in self._failed:
                self._tasks[number] = asyncio.create_task(self._view(number), name=f"viewer {number}")
                due = max(due + 1 / self._plan.ramp, loop.time())
                await asyncio.sleep(due - loop.time())

    async def _view(self, number: int) -> None:
        """One viewer's whole life."""
        try:
            viewer = await SyntheticViewer.open(
                self._plan.viewer(number),
                number=number,
                camera=self._plan.watched(number),
                choice=self._choice(number),
                findings=self._findings,
                host=self._host,
                signalling=self._signalling,
                turn=self._joining,
            )
            self._viewers[number] = viewer
            await viewer.run()
        except (SessionError, OSError) as error:
            self._failed[number] = str(error)
        finally:
            del self._tasks[number]
            if (left := self._viewers.pop(number, None)) is not None:
                self._remember(left)

    def _remember(self, left: SyntheticViewer) -> None:
        """What a viewer who is gone had found out."""
        counts = left.counts()
        self._gone += counts
        self._findings.corrupt += left.undecrypted
        self._findings.dropped += left.dropped
        if marks := left.marks.take(counts):
            self._ended.append(ViewerCounts(left.camera, counts - marks[0]))

    def _choice(self, number: int) -> str | None:
        """The camera's id, where the room has several and the server could not know which one is meant."""
        plan, camera = self._plan, self._plan.watched(number)
        return plan.camera(camera).peer if camera is not None and plan.publishers > plan.rooms else None

    async def _sweep(self) -> None:
        """Reads a part of all sockets each tick, so that the work is even."""
        for part in cycle(range(_SLICES)):
            await asyncio.sleep(_TICK)
            self._read(list(self._viewers.values())[part::_SLICES])

    def _read(self, viewers: Iterable[SyntheticViewer]) -> None:
        for viewer in viewers:
            if viewer.lazy:
                viewer.read(self._intake)

    async def _report(self) -> None:
        """Receiver reports, each viewer's once a second, spread over the second."""
        parts = 20
        for part in cycle(range(parts)):
            await asyncio.sleep(_REPORT_INTERVAL / parts)
            for viewer in list(self._viewers.values())[part::parts]:
                viewer.report()


async def _dismiss(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancels all and waits for them, some at a time."""
    for start in range(0, len(tasks), _LEAVING_AT_ONCE):
        some = tasks[start : start + _LEAVING_AT_ONCE]
        for task in some:
            task.cancel()
        await asyncio.gather(*some, return_exceptions=True)
