"""One producer's way from packets to files, as the recorder's thread walks it.

Owns the order of the parts (assembly, pre-roll, recording, segments), and what happens when the disk or FFmpeg refuses:
that recording ends with what it has, and is tried again. Never runs in the event loop; all calls come from one thread.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from recorder.capture.assembly import Assembly, Report
from recorder.capture.preroll import Preroll
from recorder.capture.reorder import Arrival
from recorder.depacketize.units import PlacedUnit
from recorder.rules import Rule
from recorder.segments.muxer import MuxError
from recorder.segments.recording import Action, AskKeyFrame, Close, Cut, Open, Recording, Write
from recorder.segments.segment_files import Disk, Finished, SegmentFiles
from sfu.rtc.sdp.codec import Kind

RETRY: Final = 2.0
"""Seconds after which a recording that failed is tried again, as MediaMTX does."""
_ASK: Final = 0.5  # seconds between two key frames that the pre-roll asks for
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class Fault(StrEnum):
    """Why nothing is recorded though it should be."""

    DISK_FULL = "disk_full"
    UNWRITABLE = "unwritable"
    """The directory is gone, read-only or broken."""
    REFUSED = "refused"
    """No container takes the tracks, or FFmpeg a unit."""
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Started:
    """The first part of a recording is on the disk; it begins at `start_us`, us of UTC since 1970."""

    start_us: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """Nothing is written any more: "stopped", "gap" (no media came), "left", "failed" or "shutting_down"."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Recording is not possible for now; said once until it was possible again."""

    fault: Fault
    message: str


Told = Started | Stopped | Failed | Finished | AskKeyFrame
"""What a reel says to the event loop."""


class Pipeline:
    """One producer, `source` by room and peer. `expected`: the kinds of tracks that were negotiated."""

    def __init__(
        self,
        source: tuple[str, str],
        expected: Collection[Kind],
        disk: Disk,
        rule: Rule,
        *,
        tell: Callable[[Told], None],
    ) -> None:
        self.refusals: Counter[str] = Counter(dict.fromkeys(Fault, 0))
        """Failures by fault."""
        self._disk = disk
        self._rule = rule
        self._expected = tuple(expected)
        self._tell = tell
        self._assembly = Assembly(expected)
        self._preroll = Preroll(int(rule.preroll * 1e6)) if rule.preroll else None
        self._segments = SegmentFiles(disk, *source)
        self._recording: Recording | None = None
        self._wanted = False
        self._on = False
        self._fault: Fault | None = None
        self._retry_at = 0.0
        self._asked_at = 0.0
        self._drops: Counter[str] = Counter(paused=0)

    @property
    def octets(self) -> int:
        """Bytes that reached files."""
        return self._segments.octets

    def drops(self) -> Counter[str]:
        """Packets and units that did not become part of a recording, by reason."""
        total = Counter(self._drops)
        total.update(self._assembly.drops())
        recording = self._recording
        if recording is not None:
            total.update({reason.value: count for reason, count in recording.drops.items()})
        return total

    def record(self, on: bool, now: float, epoch_us: int) -> None:
        """From now on the producer is recorded, with what the pre-roll remembers; or not any more."""
        if on and not self._wanted:
            self._wanted = True
            self._begin()
            if self._preroll is not None:
                self._push(self._preroll.replay(), now)
        elif self._wanted and not on:
            self.close("stopped", now, epoch_us)

    def take(self, item: Arrival | Report, epoch_us: int) -> None:
        """What came next. `epoch_us`: the wall time at which the monotonic clock stood at 0."""
        moments = self._assembly.report(item) if isinstance(item, Report) else self._assembly.take(item, epoch_us)
        if moments:
            self._push(moments, item.now)

    def tick(self, now: float, epoch_us: int) -> None:
        """Called some times a second: packets that do not come, silence, durability, another try."""
        self._push(self._assembly.expired(now, epoch_us), now)
        if self._recording is not None:
            self._do(self._recording.tick(now=now), now)
        elif self._wanted and now >= self._retry_at:
            self._retry_at = now + RETRY
            if self._worth_trying():
                self._begin()
                self._tell(AskKeyFrame())
        try:
            self._segments.sync_if_due(now)
        except OSError as error:
            self._fail(error, now)

    def close(self, reason: str, now: float, epoch_us: int) -> None:
        """Nothing more is wanted: what waits is written, whatever it waits for."""
        self._push(self._assembly.flush(epoch_us), now)
        self._wanted = False
        self._fault = None
        if self._recording is not None:
            self._do(self._recording.close(), now, reason)
        self._forget_recording()

    def abandon(self, message: str) -> None:
        """After a bug: what is on the disk stays, and no more comes."""
        self._wanted = False
        self._give_up(Fault.INTERNAL, message)

    def _begin(self) -> None:
        self._recording = Recording(self._expected, segment_us=int(self._rule.segment * 1e6))

    def _worth_trying(self) -> bool:
        try:
            return self._fault is not Fault.DISK_FULL or self._disk.has_room()
        except OSError:  # trying tells what is wrong
            return True

    def _push(self, moments: Iterable[PlacedUnit], now: float) -> None:
        for moment in moments:
            if self._recording is not None:
                actions = self._recording.push(moment.track, moment.unit, moment.wall_us, now=now)
                if actions:
                    self._do(actions, now)
            elif self._wanted:
                self._drops["paused"] += 1
            elif self._preroll is not None and self._preroll.push(moment) and now - self._asked_at >= _ASK:
                self._asked_at = now
                self._tell(AskKeyFrame())

    def _do(self, actions: Iterable[Action], now: float, reason: str = "gap") -> None:
        """Carries actions out; `reason` is why nothing is written after them, if so."""
        try:
            for action in actions:
                self._carry_out(action, now)
        except (OSError, MuxError) as error:
            self._fail(error, now)
            return
        if self._segments.written:
            self._begun()
        if self._on and self._segments.start_us is None:
            self._stopped(reason)

    def _carry_out(self, action: Action, now: float) -> None:
        match action:
            case Write():
                self._segments.write(action, now)
            case Open():
                self._segments.open(action)
            case Cut() | Close():
                self._finished(self._segments.finish())
            case AskKeyFrame():
                self._tell(action)

    def _begun(self) -> None:
        start_us = self._segments.start_us
        if not self._on and start_us is not None:
            self._on, self._fault = True, None
            self._tell(Started(start_us))

    def _finished(self, finished: Finished | None) -> None:
        if finished is None:
            return
        if not self._on:  # its only part was its last
            self._on, self._fault = True, None
            self._tell(Started(finished.segment.start_us))
        self._tell(finished)

    def _stopped(self, reason: str) -> None:
        self._on = False
        self._tell(Stopped(reason))

    def _fail(self, error: OSError | MuxError, now: float) -> None:
        self._retry_at = now + RETRY
        fault = Fault.REFUSED
        if isinstance(error, OSError):
            fault = Fault.DISK_FULL if error.errno in _FULL else Fault.UNWRITABLE
        self._give_up(fault, str(error))

    def _give_up(self, fault: Fault, message: str) -> None:
        self.refusals[fault] += 1
        finished = self._segments.abandon()
        if finished is not None:
            self._finished(finished)
        self._forget_recording()
        if self._fault is not fault:
            self._fault = fault
            self._tell(Failed(fault, message))
        if self._on:
            self._stopped("failed")

    def _forget_recording(self) -> None:
        recording, self._recording = self._recording, None
        if recording is not None:
            self._drops.update({reason.value: count for reason, count in recording.drops.items()})
