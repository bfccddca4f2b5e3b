"""The thread for slow work on existing recordings: repair after a crash, clean-up, progressive copies.

Owns when each is done; one job at a time. Never touches a file that is being written, and never runs in the event loop.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from recorder.segments.outputs import MuxError
from recorder.store.directory import Segment, Store
from recorder.store.index import Index
from recorder.store.reader import ReadError
from recorder.store.scratch import Scratch
from recorder.upkeep.cleaner import Cleaner, Deletion
from recorder.upkeep.clock_trust import ClockTrust, kernel_synchronized
from recorder.upkeep.dating import Dating, Move
from recorder.upkeep.progressive import make_progressive
from recorder.upkeep.repair import Repaired, repair

_log = logging.getLogger(__name__)

CLEAN_INTERVAL_S: Final = 60.0
"""The time between two clean-ups."""
_CLOCK_CHECK_S: Final = 1.0
"""The time between two looks at the clock."""
_STEADY_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""It goes on while the machine sleeps, where the system has such a clock."""
NEEDED_BYTES: Final = 10_000_000
"""The space to free when the disk is full, and that must be free before a paused recording continues."""


class Keeper:
    """The upkeep of one store, which begins with a repair.

    In the keeper's thread, `on_deletion` is called for each segment that was or could not be deleted, and `on_move` for
    each that got a new name, with its end. `scratch`: where clips are made, if not in the store's own directory.
    `clocks` returns the microseconds of the steady clock and of UTC.
    """

    def __init__(
        self,
        store: Store,
        cleaner: Cleaner,
        *,
        progressive: bool,
        on_deletion: Callable[[Deletion], None],
        on_move: Callable[[Segment, Segment, int], None] = lambda _before, _after, _end_us: None,
        scratch: Scratch | None = None,
        clocks: Callable[[], tuple[int, int]] = lambda: (_steady_us(), _now_us()),
        clean_interval_s: float = CLEAN_INTERVAL_S,
        synchronized: Callable[[], bool | None] = kernel_synchronized,
    ) -> None:
        self.doubt: str | None = None
        """The reason why nothing is deleted by age at present."""
        self.deleted: Counter[str] = Counter({"age": 0, "bytes": 0, "free": 0, "refused": 0})
        """Segments deleted, by reason; `refused`: those that could not be deleted."""
        self._store = store
        self._cleaner = cleaner
        self._progressive = progressive
        self._on_deletion = on_deletion
        self._on_move = on_move
        self._scratch = scratch
        self._clocks = clocks
        self._dating = Dating(*clocks())
        self._clean_interval_s = clean_interval_s
        self._trust = ClockTrust()
        self._synchronized = synchronized
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recordings", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._jobs.put(self._repair)
        self._thread.start()

    def make_room(self) -> None:
        """Frees space soon, because the disk is full."""
        self._jobs.put(self._make_room)

    def finished(self, segment: Segment, end_us: int) -> None:
        """Takes note that a segment will not grow any more, and makes it progressive if that is wanted.

        It ended just now, at `end_us` by the clock that it was recorded with.
        """
        clocks = self._clocks()
        self._jobs.put(lambda: self._take(segment, end_us, clocks))

    def close(self, timeout: float) -> bool:
        """Ends the thread after its current job. Returns False if that takes longer than `timeout` seconds."""
        self._jobs.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        clean_at = time.monotonic()
        while True:
            try:
                job = self._jobs.get(timeout=min(_CLOCK_CHECK_S, max(0.0, clean_at - time.monotonic())))
            except queue.Empty:
                job = self._follow_clock
                if time.monotonic() >= clean_at:
                    job = self._clean
                    clean_at = time.monotonic() + self._clean_interval_s
            if job is None:
                return
            try:
                job()
            except OSError as error:
                _log.warning("recordings in %s: %s", self._store.directory, error)
            except Exception:  # noqa: BLE001  # the task boundary of one job
                _log.exception("recordings in %s: internal error", self._store.directory)

    def _repair(self) -> None:
        if self._scratch is not None:
            self._scratch.clear_stale()
        for done in repair(self._store, Index(self._store)):
            _log.warning("%s: %s", done.path, _described(done))

    def _take(self, segment: Segment, end_us: int, clocks: tuple[int, int]) -> None:
        """Dates a finished segment, then makes it progressive."""
        if self._progressive:
            self._make_progressive(segment)
        self._move([*self._dating.note(*clocks), *self._dating.finished(segment, end_us, clocks[0])])

    def _follow_clock(self) -> None:
        self._move(self._dating.note(*self._clocks()))

    def _move(self, moves: Iterable[Move]) -> None:
        """Gives recordings the names of the times that they have by the present clock."""
        for move in moves:
            try:
                after = self._store.move(move.segment, move.start_us, move.end_us)
                self._dating.moved(move.segment, after)
                _log.info("%s is now %s: the clock was set", move.segment.path, after.path)
                self._on_move(move.segment, after, move.end_us)
            except OSError as error:
                _log.warning("%s keeps the name of a wrong clock: %s", move.segment.path, error)

    def _clean(self) -> None:
        self._follow_clock()
        if self._store.directory.is_dir():
            now_us = _now_us()
            self._judge_clock(now_us)
            self._report(self._cleaner.clean(now_us, by_age=self.doubt is None))

    def _judge_clock(self, now_us: int) -> None:
        """Decides whether the clock is good enough to delete by age, and logs a change."""
        recorded = self._cleaner.recorded() if self._cleaner.by_age else ()
        now = _steady_us() / 1e6
        before, self.doubt = self.doubt, self._trust.doubt(now, now_us, recorded, synchronized=self._synchronized())
        if self.doubt is not None and before is None:
            _log.warning(
                "nothing is deleted by age for now: %s. This ends after a day without a leap of the clock, or an hour "
                "if it follows a time server; space is still freed when the disk is full",
                self.doubt,
            )
        elif self.doubt is None and before is not None:
            _log.info("recordings are deleted by age again")

    def _make_room(self) -> None:
        self._report(self._cleaner.make_room(NEEDED_BYTES, _now_us()))

    def _report(self, deletions: Iterable[Deletion]) -> None:
        for one in deletions:
            if one.error is None:
                _log.info("%s deleted: %s", one.segment.path, one.reason)
            else:
                _log.warning("%s cannot be deleted (%s): %s", one.segment.path, one.reason, one.error)
            self.deleted[one.reason if one.error is None else "refused"] += 1
            self._on_deletion(one)

    def _make_progressive(self, segment: Segment) -> None:
        try:
            make_progressive(self._store, segment)
        except (MuxError, ReadError) as error:
            _log.warning("%s stays fragmented: %s", segment.path, error)


def _described(done: Repaired) -> str:
    if done.error is not None:
        return f"cannot be repaired: {done.error}"
    if done.cut or done.skipped:
        inside = [f"players skip {done.skipped} bytes of damaged parts"] if done.skipped else []
        return ", ".join([*inside, *([f"cut off {done.cut} bytes of an unfinished part"] if done.cut else [])])
    return f"nothing in this file plays: moved to {done.aside}"


def _steady_us() -> int:
    return time.clock_gettime_ns(_STEADY_CLOCK) // 1000


def _now_us() -> int:
    return time.time_ns() // 1000
