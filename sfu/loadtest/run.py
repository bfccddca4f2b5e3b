"""`sfu load`: cameras connect, viewers join, measure, report.

Owns the order of events. Never handles media or signaling: the worker processes do.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sfu.clients.frames import SourceError
from sfu.clients.histogram import Histogram
from sfu.clients.proof.credential import Credential, TokenSourceError
from sfu.clients.proof.source import TokenSource
from sfu.loadtest.measure import requirements, results
from sfu.loadtest.measure.limit import LimitSearch, served_well
from sfu.loadtest.measure.results import Measured, Moment, Result, Sample
from sfu.loadtest.measure.status import ViewersStatus
from sfu.loadtest.measure.usage import usage
from sfu.loadtest.report.page import page
from sfu.loadtest.report.progress import Progress
from sfu.loadtest.report.table import print_result
from sfu.loadtest.setup.footage import Footage, footage_from_file, synthetic_footage
from sfu.loadtest.setup.plan import Plan
from sfu.loadtest.setup.presence import find_absence
from sfu.loadtest.setup.worker_messages import PlanMarks, Poll, ReadMarks, SetMarks, SetViewerCount, WorkerSetup
from sfu.loadtest.synthetic.cameras import CameraWorker
from sfu.loadtest.synthetic.viewers import ViewerWorker
from sfu.loadtest.synthetic.worker import WorkerError, WorkerProcess
from sfu.runner import in_daemon_thread, unless_stopped, wait_for_stop
from sfu.signaling.broker_url import BrokerUrl, Tls
from sfu.signaling.topics import Leaf, Role, TopicError, check_room

POLL_INTERVAL_S = 0.5
SETTLE_S = 1.5
"""Pause after the last viewer joined, so that joining does not disturb the measurement."""
_JOIN_S = 30.0
"""Time after the ramp in which the last peer must connect or fail."""
_MARK_S = 0.2
"""Time after which all planned marks have passed."""
_LATE_PACKETS_S = 0.5
_SHORTEST_WAIT_S = 0.01
_STEP_S = 5.0
"""Longest measurement of a step while the limit is searched."""


class LoadError(Exception):
    """The test cannot go on. The message is for users."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options of a load test besides its plan. `pid`: the server's process, if it runs on this machine."""

    source: str | None = None
    pid: int | None = None
    find_limit: bool = False
    requirements: tuple[requirements.Requirement, ...] = ()
    json_file: Path | None = None
    report_file: Path | None = None


async def load(
    plan: Plan,
    options: LoadOptions,
    *,
    broker: BrokerUrl,
    base: str = "sfu",
    token: TokenSource | None = None,
    tls: Tls | None = None,
    mqtt_each: bool = False,
    stop: asyncio.Event,
    report: Callable[[str], None],
) -> int:
    """Runs a load test, prints the result and writes the files of `options`.

    Returns the exit code: 0 done or stopped, 1 failed or a requirement not met, 2 wrong usage.
    """
    if faults := [*_faults(plan, options)]:
        report("; ".join(faults))
        return 2
    try:
        shown = None if token is None else token.current(Leaf(plan.room, Role.VIEW, "load"))
        broker = Credential.of(shown).login(broker)
        if missing := await unless_stopped(stop, find_absence(broker, base, tls)):
            report(missing)
        footage = await unless_stopped(stop, _footage(plan, options))
        if stop.is_set():
            raise LoadError("stopped")
        new_loop = type(asyncio.get_running_loop())
        setup = WorkerSetup(plan, footage, broker, base, shown, tls, mqtt_each, new_loop)
        result = await _run_test(setup, options, stop)
    except TopicError as error:
        report(str(error))
        return 2
    except (LoadError, SourceError, TokenSourceError, WorkerError, OSError) as error:
        report(str(error))
        return 0 if stop.is_set() else 1
    print_result(result)
    if not plan.publishers and not result.figures.received:
        report(f"nothing received: no camera in room {plan.room} sends H.264, VP8 or VP9")
    await asyncio.to_thread(_write, result, options)
    return 1 if result.missed or not result.figures.received else 0


def _faults(plan: Plan, options: LoadOptions) -> Iterator[str]:
    yield from plan.faults()
    try:
        check_room(plan.room_of(0))
    except TopicError as error:
        yield f"--room: {error}"
    if options.source is not None and not plan.publishers:
        yield "--source needs at least one publisher"


async def _footage(plan: Plan, options: LoadOptions) -> Footage | None:
    if not plan.publishers:
        return None
    if options.source is not None:
        return await footage_from_file(options.source)
    return await in_daemon_thread(lambda: synthetic_footage(plan.bitrate), "footage")


def _write(result: Result, options: LoadOptions) -> None:
    if options.json_file is not None:
        options.json_file.write_text(json.dumps(result.as_json(), indent=1) + "\n", encoding="utf-8")
    if options.report_file is not None:
        options.report_file.write_text(page(result), encoding="utf-8")


async def _run_test(setup: WorkerSetup, options: LoadOptions, stop: asyncio.Event) -> Result:
    async with _start(setup, options, stop) as test:
        await test.start_cameras()
        result = await (test.find_limit() if options.find_limit else test.measure_once())
    return replace(result, missed=requirements.missed(options.requirements, result.figures.by_requirement()))


@asynccontextmanager
async def _start(setup: WorkerSetup, options: LoadOptions, stop: asyncio.Event) -> AsyncIterator[LoadTest]:
    with Progress() as progress:
        async with WorkerProcess(CameraWorker, setup) as cameras, WorkerProcess(ViewerWorker, setup) as viewers:
            try:
                yield LoadTest(setup, options, cameras=cameras, viewers=viewers, progress=progress, stop=stop)
            finally:
                cameras.let_go()  # both end at the same time


class LoadTest:
    """One running test."""

    def __init__(
        self,
        setup: WorkerSetup,
        options: LoadOptions,
        *,
        cameras: WorkerProcess,
        viewers: WorkerProcess,
        progress: Progress,
        stop: asyncio.Event,
    ) -> None:
        self._setup = setup
        self._options = options
        self._cameras = cameras
        self._viewers = viewers
        self._progress = progress
        self._stop = stop
        self._now = asyncio.get_running_loop().time
        self._started = self._now()
        self._last: Moment | None = None
        self._samples: list[Sample] = []

    async def start_cameras(self) -> None:
        """Waits until all cameras of the test are connected. Raises LoadError if one fails."""
        plan = self._setup.plan
        if not plan.publishers:
            return
        self._progress.stage(f"connecting {plan.publishers} cameras")
        deadline = self._now() + plan.publishers / plan.ramp + _JOIN_S
        while (moment := await self._poll()).cameras.up < plan.publishers:
            if moment.cameras.failed:
                raise LoadError(f"a camera failed: {', '.join(moment.cameras.failed)}")
            if self._now() > deadline:
                raise LoadError("the cameras did not connect in time")
            await self._wait(POLL_INTERVAL_S)

    async def measure_once(self) -> Result:
        """Runs the plan's single measurement."""
        measured = await self._step(self._setup.plan.viewers, self._setup.plan.seconds)
        return self._result([measured], [measured])

    async def _step(self, viewers: int, seconds: float) -> Measured:
        """Changes the number of viewers, waits until they are connected, and measures. Raises LoadError if stopped."""
        self._progress.stage(f"connecting {viewers} viewers")
        await self._viewers.ask(SetViewerCount(viewers))
        deadline = self._now() + viewers / self._setup.plan.ramp + _JOIN_S
        while not _settled((await self._poll()).viewers, viewers) and self._now() < deadline:
            await self._wait(POLL_INTERVAL_S)
        await self._wait(SETTLE_S)
        self._progress.stage(f"measuring {viewers} viewers for {seconds:g} s")
        return await self._measure(seconds)

    async def find_limit(self) -> Result:
        """Measures in steps until the most viewers that the machine serves well are known."""
        search = LimitSearch(start=self._setup.plan.viewers)
        steps: list[Measured] = []
        well: list[Measured] = []
        while (viewers := search.next) is not None:
            measured = await self._step(viewers, min(self._setup.plan.seconds, _STEP_S))
            figures = measured.figures
            timed = self._setup.plan.publishers > 0
            fine = served_well(figures.delivered, figures.latency_p99_ms, figures.failed, timed=timed)
            search.report(viewers, fine)
            steps.append(measured)
            if fine:
                well.append(measured)
        return replace(self._result(steps, well), limit=search.best)

    def _result(self, steps: Sequence[Measured], well: Sequence[Measured]) -> Result:
        """Returns the result without missed requirements. Its figures are those of the largest step that went well."""
        chosen = max(well or steps[-1:], key=lambda measured: measured.figures.viewers)
        join = Histogram()
        first_packet = Histogram()
        for measured in well or steps[-1:]:
            join.merge(measured.join)
            first_packet.merge(measured.first_packet)
        plan = self._setup.plan
        return Result(
            about={
                "cameras": _cameras(plan, self._setup.footage),
                "rooms": str(plan.rooms),
                "ramp": f"{plan.ramp:g} joins/s",
                "broker": str(self._setup.broker),
            },
            steps=[measured.figures for measured in steps],
            figures=results.with_joins(chosen.figures, join, first_packet),
            samples=tuple(self._samples),
            latency_curve=chosen.latency.curve_ms(),
            join_curve=join.curve_ms(),
        )

    async def _measure(self, seconds: float) -> Measured:
        for worker in (self._cameras, self._viewers):
            await worker.ask(ReadMarks())
        await self._mark()
        before = await self._poll()
        latency = Histogram()
        until = self._now() + seconds
        while (left := until - self._now()) > _SHORTEST_WAIT_S:
            await self._wait(min(POLL_INTERVAL_S, left))
            if left > POLL_INTERVAL_S:
                latency.merge((await self._poll()).latency)
        await self._mark()
        after = await self._poll()
        latency.merge(after.latency)
        await self._wait(_LATE_PACKETS_S)
        sent, received = await self._cameras.ask(ReadMarks()), await self._viewers.ask(ReadMarks())
        figures = results.figures(before, after, latency=latency, sent=sent, received=received)
        return Measured(figures, latency, after.viewers.join, after.viewers.first_packet)

    async def _mark(self) -> None:
        """Sets a mark at each camera and its viewers, and waits until all marks have passed."""
        await self._viewers.ask(SetMarks(await self._cameras.ask(PlanMarks())))
        await self._wait(_MARK_S)

    async def _poll(self) -> Moment:
        cameras, viewers = await asyncio.gather(self._cameras.ask(Poll()), self._viewers.ask(Poll()))
        if fault := cameras.fault or viewers.fault:
            raise LoadError(f"{fault}: {self._setup.broker}")
        server = None if self._options.pid is None else usage(self._options.pid)
        moment = Moment(self._now() - self._started, cameras, viewers, server)
        if self._last is None:
            self._last = moment
        elif moment.at - self._last.at >= POLL_INTERVAL_S / 2:  # shorter intervals give no useful rates
            self._samples.append(results.sample(self._last, moment))
            self._progress.show(moment, self._samples[-1])
            self._last = moment
        return moment

    async def _wait(self, seconds: float) -> None:
        """Waits for `seconds`. Raises LoadError if the user stops the test."""
        if await wait_for_stop(self._stop, seconds):
            raise LoadError("stopped")


def _cameras(plan: Plan, footage: Footage | None) -> str:
    if footage is None:
        return f"the cameras in room {plan.room}"
    rates = f"{footage.bitrate / 1e6:.2f} Mbit/s, {footage.packets_per_second:.0f} packets/s"
    return f"{plan.publishers} x {rates} ({footage.about})"


def _settled(status: ViewersStatus, viewers: int) -> bool:
    return status.wanted == viewers and status.settled
