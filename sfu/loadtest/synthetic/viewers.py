"""All synthetic viewers, in one process, with one reader for all their sockets.

Owns the number of viewers, the time at which each joins, and the loop over their sockets. Never counts packets
(`viewer` does).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

from sfu.clients.attempt import Host
from sfu.clients.histogram import Histogram
from sfu.clients.outgoing import abs_send_time
from sfu.loadtest.measure.counts import StreamCounts
from sfu.loadtest.measure.status import ViewerCounts, ViewersStatus
from sfu.loadtest.setup.worker_messages import Poll, ReadMarks, Reply, Request, SetMarks, SetViewerCount, WorkerSetup
from sfu.loadtest.synthetic.broker_connections import BrokerConnections
from sfu.loadtest.synthetic.datagram_batch import DatagramBatch
from sfu.loadtest.synthetic.detachable_port import DetachablePort
from sfu.loadtest.synthetic.session import MAX_JOINING, SessionError
from sfu.loadtest.synthetic.viewer import SharedByViewers, SyntheticViewer, ViewerTotals
from sfu.signaling.topics import Role

_TICK_S = 0.005
_SLICES = 6
"""Each socket is read every sixth tick, about once a frame. Figures stay exact: the kernel notes arrival times."""
_REPORT_INTERVAL_S = 1.0
_REPORT_SLICES = 20
_MAX_LEAVING = 50
"""Viewers that leave at a time, so that their messages overflow no queue of the broker or the server."""


class ViewerWorker:
    """The `Worker` that runs all viewers."""

    def __init__(self, setup: WorkerSetup) -> None:
        plan = setup.plan
        self._plan = plan
        self._connections = BrokerConnections(
            setup.broker, setup.base, Role.VIEW, plan.room, token=setup.token, tls=setup.tls, each=setup.mqtt_each
        )
        self._totals = ViewerTotals(None if setup.footage is None else setup.footage.check_sums())
        self._shared = SharedByViewers(Host.new(), self._connections, asyncio.Semaphore(MAX_JOINING), self._totals)
        self._batch = DatagramBatch()
        self._wanted = 0
        self._changed = asyncio.Event()
        self._viewers: dict[int, SyntheticViewer] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._failed: dict[int, str] = {}
        self._gone = StreamCounts()
        self._ended: list[ViewerCounts] = []
        self._fault: str | None = None

    async def run(self) -> None:
        """See `Worker`."""
        helpers = [asyncio.create_task(work, name="load: viewers") for work in (self._read_all(), self._report())]
        try:
            await self._connections.open()
            await self._follow_wanted()
        except TimeoutError:
            self._fault = "no connection to the broker"
            await asyncio.Event().wait()
        finally:
            await _cancel(list(self._tasks.values()))
            await _cancel(helpers)
            await self._connections.close()

    def reply(self, request: Request) -> Reply:
        """See `Worker`."""
        match request:
            case SetViewerCount(viewers):
                self._wanted = viewers
                self._totals.join, self._totals.first_packet = Histogram(), Histogram()
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
        """Sets a mark for each viewer. Cameras that are not part of the test plan no marks: theirs is now."""
        now = time.time()
        for viewer in self._viewers.values():
            at = now if viewer.camera is None else marks.get(viewer.camera)
            if viewer.up and at is not None:
                viewer.marks.set(abs_send_time(at))

    def _read_marks(self) -> tuple[ViewerCounts, ...]:
        """Returns the counts of the viewers that were up at both marks, and of those disconnected in between.

        Reads all sockets first: packets in them have arrived, even if this process is late to read them.
        """
        self._read(self._viewers.values())
        ended, self._ended = self._ended, []
        marks = [(viewer.camera, viewer.marks.take(viewer.counts())) for viewer in self._viewers.values()]
        return (*ended, *(ViewerCounts(camera, pair[1] - pair[0]) for camera, pair in marks if len(pair) == 2))

    def _status(self) -> ViewersStatus:
        totals = self._totals
        return ViewersStatus(
            wanted=self._wanted,
            up=sum(viewer.up for viewer in self._viewers.values()),
            failed=Counter(self._failed.values()),
            counts=sum((viewer.counts() for viewer in self._viewers.values()), self._gone),
            latency=totals.latency.take(),
            join=totals.join,
            first_packet=totals.first_packet,
            checked=totals.checked,
            corrupt=totals.corrupt + sum(viewer.undecrypted for viewer in self._viewers.values()),
            dropped=totals.dropped + sum(viewer.dropped for viewer in self._viewers.values()),
            cpu_seconds=time.process_time(),
            fault=self._fault,
        )

    async def _follow_wanted(self) -> None:
        """Follows the wanted number of viewers: adds them at the plan's ramp, removes them as fast as possible."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await _cancel([task for number, task in self._tasks.items() if number >= self._wanted])
            self._failed.clear()  # rejected viewers may try again: each step of a search is independent
            await self._add()

    async def _add(self) -> None:
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
        """Runs one viewer from joining to leaving."""
        try:
            viewer = SyntheticViewer(
                self._plan.viewer(number),
                number=number,
                camera=self._plan.watched(number),
                choice=self._choice(number),
                shared=self._shared,
                port=await DetachablePort.open(),
            )
            self._viewers[number] = viewer
            await viewer.run()
        except (SessionError, OSError) as error:
            self._failed[number] = str(error)
        finally:
            del self._tasks[number]
            if (left := self._viewers.pop(number, None)) is not None:
                self._keep_counts(left)

    def _keep_counts(self, left: SyntheticViewer) -> None:
        """Keeps the measurements of a viewer that has left."""
        counts = left.counts()
        self._gone += counts
        self._totals.corrupt += left.undecrypted
        self._totals.dropped += left.dropped
        if marks := left.marks.take(counts):
            self._ended.append(ViewerCounts(left.camera, counts - marks[0]))

    def _choice(self, number: int) -> str | None:
        """Returns the id of the camera to select; None if the room has a single camera or none of the test."""
        plan, camera = self._plan, self._plan.watched(number)
        return plan.camera(camera).peer if camera is not None and plan.publishers > plan.rooms else None

    async def _read_all(self) -> None:
        """Reads a part of all sockets at each tick, so that the CPU load is even."""
        for part in cycle(range(_SLICES)):
            await asyncio.sleep(_TICK_S)
            self._read(list(self._viewers.values())[part::_SLICES])

    def _read(self, viewers: Iterable[SyntheticViewer]) -> None:
        for viewer in viewers:
            if viewer.detached:
                viewer.read(self._batch)

    async def _report(self) -> None:
        """Sends each viewer's receiver report once a second, distributed over the second."""
        for part in cycle(range(_REPORT_SLICES)):
            await asyncio.sleep(_REPORT_INTERVAL_S / _REPORT_SLICES)
            for viewer in list(self._viewers.values())[part::_REPORT_SLICES]:
                viewer.report()


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancels all tasks and waits for them, a limited number at a time."""
    for start in range(0, len(tasks), _MAX_LEAVING):
        some = tasks[start : start + _MAX_LEAVING]
        for task in some:
            task.cancel()
        await asyncio.gather(*some, return_exceptions=True)
