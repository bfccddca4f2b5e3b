"""One producer's pipeline, from packets to files.

Owns the order of the steps (assembly, pre-roll, recording, segments) and the answer to a failure of the disk or FFmpeg:
the recording ends with the parts on the disk, and is tried again. Never runs in the event loop; one thread makes all
calls.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from recorder.capture.assembly import Assembly, KnownSets, Report
from recorder.capture.preroll import Preroll
from recorder.capture.reorder import Arrival
from recorder.depacketize.units import PlacedUnit
from recorder.rules import Rule
from recorder.segments.outputs import MuxError
from recorder.segments.recording import Action, AskKeyFrame, Close, Cut, Open, Recording, Write
from recorder.segments.writer import Disk, Finished, SegmentFiles
from sfu.rtc.sdp.codec import Kind

RETRY_S: Final = 2.0
"""Time until a failed recording is tried again; MediaMTX waits as long."""
_KEY_FRAME_REQUEST_S: Final = 0.5
"""Time between two key frame requests of the pre-roll."""
_DISK_FULL_ERRNOS: Final = (errno.ENOSPC, errno.EDQUOT)


class Fault(StrEnum):
    """The reason why a recording failed."""

    DISK_FULL = "disk_full"
    UNWRITABLE = "unwritable"
    """The directory is gone, read-only or broken."""
    DISK_HANGS = "disk_hangs"
    """The disk does not answer: nothing is written meanwhile. The pipeline itself cannot tell."""
    REFUSED = "refused"
    """No container can hold the tracks, or FFmpeg rejects a unit."""
    INTERNAL = "internal"
    """A bug; the log has its traceback."""


@dataclass(frozen=True, slots=True)
class Started:
    """The first part of a recording is on the disk. It begins at `start_us`, microseconds of UTC since 1970."""

    start_us: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """The recording has ended: "stopped", "gap" (no media came), "left", "failed" or "shutting_down"."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Recording is not possible for now. Sent once for each fault until a part is written again."""

    fault: Fault
    message: str


PipelineEvent = Started | Stopped | Failed | Finished | AskKeyFrame
"""A message from a pipeline to the event loop."""


class Pipeline:
    """The pipeline of one producer, `source` (room, peer). `expected`: the kinds of tracks that were negotiated."""

    def __init__(
        self,
        source: tuple[str, str],
        expected: Collection[Kind],
        disk: Disk,
        rule: Rule,
        *,
        notify: Callable[[PipelineEvent], None],
    ) -> None:
        self.refusals: Counter[str] = Counter(dict.fromkeys(Fault, 0))
        """Number of failures by fault."""
        self._disk = disk
        self._rule = rule
        self._expected = tuple(expected)
        self._notify = notify
        self._assembly = Assembly(expected)
        self._preroll = Preroll(int(rule.preroll * 1e6)) if rule.preroll else None
        self._segments = SegmentFiles(disk, *source)
        self._recording: Recording | None = None
        self._wanted = False
        """True if the producer is to be recorded, though it may be impossible for now."""
        self._on = False
        """True from `Started` to `Stopped`."""
        self._fault: Fault | None = None
        self._retry_at = 0.0
        self._requested_at = 0.0
        self._drops: Counter[str] = Counter(paused=0)

    @property
    def octets(self) -> int:
        """Returns the bytes written to files."""
        return self._segments.octets

    def drops(self) -> Counter[str]:
        """Returns the packets and units that were not recorded, by reason."""
        total = Counter(self._drops)
        total.update(self._assembly.drops())
        recording = self._recording
        if recording is not None:
            total.update({reason.value: count for reason, count in recording.drops.items()})
        return total

    def record(self, on: bool, now: float, epoch_us: int) -> None:
        """Begins a recording, with the pre-roll before it; or ends it."""
        if on and not self._wanted:
            self._wanted = True
            self._begin()
            if self._preroll is not None:
                self._record_units(self._preroll.replay(), now)
        elif self._wanted and not on:
            self.close("stopped", now, epoch_us)

    def push(self, item: Arrival | Report | KnownSets, epoch_us: int) -> None:
        """Processes the next item. `epoch_us`: the wall time at which the monotonic clock stood at 0."""
        if isinstance(item, KnownSets):
            self._assembly.learn(item)
            return
        units = self._assembly.on_report(item) if isinstance(item, Report) else self._assembly.push(item, epoch_us)
        if units:
            self._record_units(units, item.now)

    def tick(self, now: float, epoch_us: int) -> None:
        """Handles missing packets, silence, syncing and retries. Call it several times a second."""
        self._record_units(self._assembly.expired(now, epoch_us), now)
        if self._recording is not None:
            self._do(self._recording.tick(now=now), now)
        elif self._wanted and now >= self._retry_at:
            self._retry_at = now + RETRY_S
            if self._worth_trying():
                self._begin()
                self._notify(AskKeyFrame())
        try:
            self._segments.sync_if_due(now)
        except OSError as error:
            self._fail(error, now)

    def close(self, reason: str, now: float, epoch_us: int) -> None:
        """Ends the recording for `reason`; units that still wait are written."""
        self._record_units(self._assembly.flush(epoch_us), now)
        self._wanted = False
        self._fault = None
        if self._recording is not None:
            self._do(self._recording.close(), now, reason)
        self._forget_recording()

    def abandon(self, message: str) -> None:
        """Ends the recording after a bug; the parts on the disk stay."""
        self._wanted = False
        self._give_up(Fault.INTERNAL, message)

    def _begin(self) -> None:
        self._recording = Recording(self._expected, segment_us=int(self._rule.segment * 1e6))

    def _worth_trying(self) -> bool:
        """True unless the disk is still full."""
        try:
            return self._fault is not Fault.DISK_FULL or self._disk.has_room()
        except OSError:  # the attempt will report the error
            return True

    def _record_units(self, units: Iterable[PlacedUnit], now: float) -> None:
        """Hands units to the recording, or to the pre-roll while there is none."""
        for placed in units:
            if self._recording is not None:
                actions = self._recording.push(placed.track, placed.unit, placed.wall_us, now=now)
                if actions:
                    self._do(actions, now)
            elif self._wanted:
                self._drops["paused"] += 1
            elif (
                self._preroll is not None
                and self._preroll.push(placed)
                and now - self._requested_at >= _KEY_FRAME_REQUEST_S
            ):
                self._requested_at = now
                self._notify(AskKeyFrame())

    def _do(self, actions: Iterable[Action], now: float, reason: str = "gap") -> None:
        """Carries out actions. `reason` is that of `Stopped`, sent if no segment is open after them."""
        try:
            for action in actions:
                self._carry_out(action, now)
        except (OSError, MuxError) as error:
            self._fail(error, now)
            return
        if self._segments.written:
            self._report_start()
        if self._on and self._segments.start_us is None:
            self._report_stop(reason)

    def _carry_out(self, action: Action, now: float) -> None:
        match action:
            case Write():
                self._segments.write(action, now)
            case Open():
                self._segments.open(action)
            case Cut() | Close():
                self._report_segment(self._segments.finish())
            case AskKeyFrame():
                self._notify(action)

    def _report_start(self) -> None:
        """Reports the start of the recording once its first part is on the disk."""
        start_us = self._segments.start_us
        if not self._on and start_us is not None:
            self._on, self._fault = True, None
            self._notify(Started(start_us))

    def _report_segment(self, finished: Finished | None) -> None:
        """Reports a finished segment, if it has any parts."""
        if finished is None:
            return
        if not self._on:  # the segment has one part only
            self._on, self._fault = True, None
            self._notify(Started(finished.segment.start_us))
        self._notify(finished)

    def _report_stop(self, reason: str) -> None:
        self._on = False
        self._notify(Stopped(reason))

    def _fail(self, error: OSError | MuxError, now: float) -> None:
        self._retry_at = now + RETRY_S
        fault = Fault.REFUSED
        if isinstance(error, OSError):
            fault = Fault.DISK_FULL if error.errno in _DISK_FULL_ERRNOS else Fault.UNWRITABLE
        self._give_up(fault, str(error))

    def _give_up(self, fault: Fault, message: str) -> None:
        """Ends the recording, keeps the parts on the disk, and reports the fault if it is a new one."""
        self.refusals[fault] += 1
        finished = self._segments.abandon()
        if finished is not None:
            self._report_segment(finished)
        self._forget_recording()
        if self._fault is not fault:
            self._fault = fault
            self._notify(Failed(fault, message))
        if self._on:
            self._report_stop("failed")

    def _forget_recording(self) -> None:
        """Ends the recording and adds its drops to the total."""
        recording, self._recording = self._recording, None
        if recording is not None:
            self._drops.update({reason.value: count for reason, count in recording.drops.items()})
