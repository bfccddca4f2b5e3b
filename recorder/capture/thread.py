"""The recorder's thread: empties the queues of all feeds into their pipelines.

Owns the thread and its turns: it works in small batches, so that it does not delay the event loop by holding the
interpreter's lock, nor by a slow disk. Never lets a bug in one pipeline end another.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Final

from recorder.capture.pipeline import Fault, Pipeline
from recorder.capture.tap import EndOfMedia, Feed, Item, Record

_log = logging.getLogger(__name__)

_TURN_S: Final = 0.03
"""Time between two turns. A killed process loses the packets of one turn, beside the open part."""
_YIELD_S: Final = 0.001
"""Work time after which the thread releases the interpreter's lock; Python itself would wait 5 ms."""
_TICK_S: Final = 0.1
_CLOCK_READS: Final = 5
_CLOCK_READ_S: Final = 0.01
_BATCH_ITEMS: Final = 200
"""Items of one pipeline in one go: about 3 ms of work."""


def wall_epoch_us() -> int:
    """Returns the wall time at which the monotonic clock stood at 0, in microseconds of UTC since 1970.

    Reads again if the thread was held up between the two clocks: that would look as if one of them was set.
    """
    found: list[tuple[float, float]] = []
    for _ in range(_CLOCK_READS):
        before = time.monotonic()
        wall = time.time()
        took = time.monotonic() - before
        found.append((took, wall - before))
        if took < _CLOCK_READ_S:
            break
    return int(min(found)[1] * 1e6)


class RecorderThread:
    """The one thread for all pipelines."""

    def __init__(self) -> None:
        self.octets = 0
        """Bytes written by pipelines that have ended."""
        self._ended_drops: Counter[str] = Counter()
        self._ended_refusals: Counter[str] = Counter(dict.fromkeys(Fault, 0))
        self._new: deque[tuple[Feed, Pipeline]] = deque()
        self._pipelines: dict[Feed, Pipeline] = {}
        self._wake = threading.Event()
        self._closing = False
        self._tick_at = 0.0
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def add(self, feed: Feed, pipeline: Pipeline) -> None:
        """Adds a pipeline; it runs until its feed ends."""
        self._new.append((feed, pipeline))
        self._wake.set()

    def close(self, timeout: float) -> bool:
        """Waits until everything is on the disk; False after `timeout` seconds. Call it once all feeds have ended."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # --- called from any thread

    def busy_s(self) -> float:
        """Returns for how many seconds the thread has been at one pipeline's media; more than a few: the disk hangs."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def written(self) -> int:
        """Returns the bytes written to files."""
        return self.octets + sum(pipeline.octets for pipeline in list(self._pipelines.values()))

    def drops(self) -> Mapping[str, int]:
        """Returns the packets and units that were not recorded, by reason."""
        total = Counter(self._ended_drops)
        for feed, pipeline in list(self._pipelines.items()):
            total.update(pipeline.drops())
            total["queue_full"] += feed.dropped
        return total

    def failures(self) -> Mapping[str, int]:
        """Returns the number of failures by fault."""
        total = Counter(self._ended_refusals)
        for pipeline in list(self._pipelines.values()):
            total.update(pipeline.refusals)
        return total

    # --- the thread

    def _run(self) -> None:
        while self._pipelines or self._new or not self._closing:
            self._wake.wait(_TURN_S if self._pipelines else None)
            self._wake.clear()
            try:
                self._turn()
            except Exception:  # noqa: BLE001  # the other recordings go on
                _log.exception("recorder: internal error")
            self._busy_since = None

    def _turn(self) -> None:
        while self._new:
            feed, pipeline = self._new.popleft()
            self._pipelines[feed] = pipeline
        now = worked_since = time.monotonic()
        epoch_us = wall_epoch_us()
        tick = now >= self._tick_at
        if tick:
            self._tick_at = now + _TICK_S
        for feed, pipeline in list(self._pipelines.items()):
            if feed.items or tick:
                self._run_pipeline(feed, pipeline, now, epoch_us, tick=tick)
                if time.monotonic() - worked_since > _YIELD_S:
                    time.sleep(0)
                    worked_since = time.monotonic()

    def _run_pipeline(self, feed: Feed, pipeline: Pipeline, now: float, epoch_us: int, *, tick: bool) -> None:
        try:
            self._busy_since = time.monotonic()
            while items := feed.pop(_BATCH_ITEMS):
                self._busy_since = time.monotonic()
                if self._process(pipeline, items, now, epoch_us):
                    self._remove(feed, pipeline)
                    return
            if tick:
                pipeline.tick(now, epoch_us)
        except Exception as error:  # noqa: BLE001  # the task boundary of a recording
            _log.exception("%s/%s: internal error", feed.room, feed.peer)
            try:
                pipeline.abandon(repr(error))
            finally:
                self._remove(feed, pipeline)

    def _process(self, pipeline: Pipeline, items: list[Item], now: float, epoch_us: int) -> bool:
        """Processes items in order; True if the pipeline has ended."""
        for item in items:
            if isinstance(item, Record):
                pipeline.record(item.on, now, epoch_us)
            elif isinstance(item, EndOfMedia):
                pipeline.close(item.reason, now, epoch_us)
                return True
            else:
                pipeline.push(item, epoch_us)
        return False

    def _remove(self, feed: Feed, pipeline: Pipeline) -> None:
        del self._pipelines[feed]
        self.octets += pipeline.octets
        self._ended_drops.update(pipeline.drops())
        self._ended_drops["queue_full"] += feed.dropped
        self._ended_refusals.update(pipeline.refusals)
