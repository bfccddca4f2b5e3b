"""The recorder's thread: takes what taps have put into their queues, and walks every reel with it.

Owns the thread and the turns in which it works: small batches, so that neither the interpreter's lock nor a slow disk
is noticed by the event loop. A bug ends the reel it happened in.
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

_TURN: Final = 0.03
"""Seconds between two looks at the queues: what a kill can cost beside the open part."""
_YIELD: Final = 0.001
"""Seconds of work after which the event loop may have the interpreter; of its own accord it is given after 5 ms."""
_TICK: Final = 0.1
_BATCH: Final = 200  # items of one reel in one go: about 3 ms


class RecorderThread:
    """One thread for all reels."""

    def __init__(self) -> None:
        self.octets = 0
        """Bytes that ended reels have written."""
        self._ended_drops: Counter[str] = Counter()
        self._ended_refusals: Counter[str] = Counter(dict.fromkeys(Fault, 0))
        self._new: deque[tuple[Feed, Pipeline]] = deque()
        self._reels: dict[Feed, Pipeline] = {}
        self._wake = threading.Event()
        self._closing = False
        self._tick_at = 0.0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Begins to wait for reels."""
        self._thread.start()

    def add(self, feed: Feed, reel: Pipeline) -> None:
        """One more reel, until its feed says that it ends."""
        self._new.append((feed, reel))
        self._wake.set()

    def close(self, timeout: float) -> bool:
        """After all feeds have ended: waits until everything is on the disk; False if that takes longer (seconds)."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # --- asked by anybody

    def written(self) -> int:
        """Bytes that reached files."""
        return self.octets + sum(reel.octets for reel in list(self._reels.values()))

    def drops(self) -> Mapping[str, int]:
        """Packets and units that were not recorded, by reason."""
        total = Counter(self._ended_drops)
        for feed, reel in list(self._reels.items()):
            total.update(reel.drops())
            total["queue_full"] += feed.dropped
        return total

    def failures(self) -> Mapping[str, int]:
        """By fault."""
        total = Counter(self._ended_refusals)
        for reel in list(self._reels.values()):
            total.update(reel.refusals)
        return total

    # --- the thread

    def _run(self) -> None:
        while self._reels or self._new or not self._closing:
            self._wake.wait(_TURN if self._reels else None)
            self._wake.clear()
            try:
                self._turn()
            except Exception:  # noqa: BLE001  # all other recordings go on
                _log.exception("recorder: internal error")

    def _turn(self) -> None:
        while self._new:
            feed, reel = self._new.popleft()
            self._reels[feed] = reel
        now = worked_since = time.monotonic()
        epoch_us = int((time.time() - now) * 1e6)
        tick = now >= self._tick_at
        if tick:
            self._tick_at = now + _TICK
        for feed, reel in list(self._reels.items()):
            if feed.items or tick:
                self._serve(feed, reel, now, epoch_us, tick=tick)
                if time.monotonic() - worked_since > _YIELD:
                    time.sleep(0)
                    worked_since = time.monotonic()

    def _serve(self, feed: Feed, reel: Pipeline, now: float, epoch_us: int, *, tick: bool) -> None:
        try:
            while items := feed.take(_BATCH):
                ended = self._walk(reel, items, now, epoch_us)
                if ended:
                    self._forget(feed, reel)
                    return
            if tick:
                reel.tick(now, epoch_us)
        except Exception as error:  # noqa: BLE001  # the task boundary of a recording
            _log.exception("%s/%s: internal error", feed.room, feed.peer)
            try:
                reel.abandon(repr(error))
            finally:
                self._forget(feed, reel)

    def _walk(self, reel: Pipeline, items: list[Item], now: float, epoch_us: int) -> bool:
        """Whether the reel has ended."""
        for item in items:
            if isinstance(item, Record):
                reel.record(item.on, now, epoch_us)
            elif isinstance(item, EndOfMedia):
                reel.close(item.reason, now, epoch_us)
                return True
            else:
                reel.take(item, epoch_us)
        return False

    def _forget(self, feed: Feed, reel: Pipeline) -> None:
        del self._reels[feed]
        self.octets += reel.octets
        self._ended_drops.update(reel.drops())
        self._ended_drops["queue_full"] += feed.dropped
        self._ended_refusals.update(reel.refusals)
