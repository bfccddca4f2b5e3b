"""Slow work on what is recorded already: repair after a crash, clean-up, progressive forms. One thread, one job a time.

Owns when that is done. Never touches a file that is being written, and never runs in the event loop.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from recorder.segments.muxer import MuxError
from recorder.store.directory import Segment, Store
from recorder.store.index import Index
from recorder.store.reader import ReadError
from recorder.upkeep.cleaner import Cleaner, Deletion
from recorder.upkeep.progressive import make_progressive
from recorder.upkeep.repair import Repaired, repair

_log = logging.getLogger(__name__)

CLEAN_INTERVAL_S: Final = 60.0
"""Seconds between two clean-ups."""
NEEDED_BYTES: Final = 10_000_000
"""Bytes to be freed when the disk is full, or that must be free before recording goes on."""


class Keeper:
    """Begins with the repair. `tell`: what was deleted, from this thread."""

    def __init__(
        self,
        store: Store,
        cleaner: Cleaner,
        *,
        progressive: bool,
        tell: Callable[[Deletion], None],
        every: float = CLEAN_INTERVAL_S,
    ) -> None:
        self.deleted: Counter[str] = Counter({"age": 0, "bytes": 0, "free": 0, "refused": 0})
        """Segments by reason."""
        self._store = store
        self._cleaner = cleaner
        self._progressive = progressive
        self._tell = tell
        self._every = every
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recordings", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._jobs.put(self._repair)
        self._thread.start()

    def make_room(self) -> None:
        """The disk is full."""
        self._jobs.put(self._make_room)

    def finished(self, segment: Segment) -> None:
        """A segment will not grow any more."""
        if self._progressive:
            self._jobs.put(lambda: self._remux(segment))

    def close(self, timeout: float) -> bool:
        """Ends after the present job; False if that takes longer (seconds)."""
        self._jobs.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        clean_at = time.monotonic()
        while True:
            try:
                job = self._jobs.get(timeout=max(0.0, clean_at - time.monotonic()))
            except queue.Empty:
                job = self._clean
                clean_at = time.monotonic() + self._every
            if job is None:
                return
            try:
                job()
            except OSError as error:
                _log.warning("recordings in %s: %s", self._store.directory, error)
            except Exception:  # noqa: BLE001  # the task boundary of one job
                _log.exception("recordings in %s: internal error", self._store.directory)

    def _repair(self) -> None:
        for done in repair(self._store, Index(self._store)):
            _log.warning("%s: %s", done.path, _described(done))

    def _clean(self) -> None:
        if self._store.directory.is_dir():
            self._report(self._cleaner.clean(_now_us()))

    def _make_room(self) -> None:
        self._report(self._cleaner.make_room(NEEDED_BYTES, _now_us()))

    def _report(self, deleted: Iterable[Deletion]) -> None:
        for one in deleted:
            segment = one.held.segment
            if one.error is None:
                _log.info("%s deleted: %s", segment.path, one.reason)
            else:
                _log.warning("%s cannot be deleted (%s): %s", segment.path, one.reason, one.error)
            self.deleted[one.reason if one.error is None else "refused"] += 1
            self._tell(one)

    def _remux(self, segment: Segment) -> None:
        try:
            make_progressive(self._store, segment)
        except (MuxError, ReadError) as error:
            _log.warning("%s stays as it is: %s", segment.path, error)


def _described(done: Repaired) -> str:
    if done.error is not None:
        return f"cannot be repaired: {done.error}"
    if done.cut:
        return f"{done.cut} bytes of an unfinished part cut off"
    return f"nothing in it plays: moved to {done.aside}"


def _now_us() -> int:
    return time.time_ns() // 1000
