"""All recordings of one server, as its event loop sees them: who is recorded, and what is told of it.

Owns the table of feeds and the answer to "is it recording". Never touches a file: the worker's and the keeper's threads
do. What they tell comes back through the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol

from recorder.capture.pipeline import Failed, Fault, Pipeline, Started, Stopped, Told
from recorder.capture.tap import Feed
from recorder.capture.thread import RecorderThread
from recorder.rules import Duty, RecordingConfig, Switches
from recorder.segments.recording import AskKeyFrame
from recorder.segments.segment_files import Disk, Finished
from recorder.store.store import Segment, Store
from recorder.upkeep.cleaner import Cleaner, Deleted, fitting
from recorder.upkeep.keeper import NEED, Keeper
from sfu.media.ingest.track import IncomingTrack
from sfu.settings import RecordingMode
from sfu.units import rfc3339

_log = logging.getLogger(__name__)

_TICK: Final = 0.5  # seconds between two looks at layers
_AGAIN: Final = 5.0  # seconds after a bug
_GRACE: Final = 2.5  # seconds that the end may wait for the disk; what is on it plays without

_Source = tuple[str, str]  # room, peer


class Coming(Protocol):
    """What comes from one peer."""

    @property
    def tracks(self) -> Mapping[str, IncomingTrack]:
        """By mid."""

    @property
    def flowing(self) -> Collection[str]:
        """The mids of those from which packets come."""


class RecordingEvents(Protocol):
    """Who is told."""

    def recording(self, room: str, peer: str, on: bool, event: dict[str, Any]) -> None:
        """A peer is being recorded from now on, or not any more."""

    def event(self, room: str, event: dict[str, Any]) -> None:
        """Something else happened to a recording of the room."""


class Recordings:
    """Makes them from `start` to `close`. `clock`: the event loop's, in seconds."""

    def __init__(self, terms: RecordingConfig, audience: RecordingEvents, clock: Callable[[], float]) -> None:
        self.store = Store(terms.directory)
        self._terms = terms
        self._audience = audience
        self._clock = clock
        self._switches = Switches(terms.rules)
        self._uplinks: dict[_Source, Coming] = {}
        self._feeds: dict[_Source, Feed] = {}
        self._feeding = asyncio.Event()  # whether there are any
        self._on: set[_Source] = set()
        self._ended: dict[_Source, float] = {}
        self._worker = RecorderThread()
        cleaner = Cleaner(self.store, fitting(terms.policy, terms.directory))
        self._keeper = Keeper(self.store, cleaner, progressive=terms.progressive, tell=self._on_deleted)
        self._disk = Disk(self.store, terms.sync, has_room=lambda: cleaner.has_room(NEED))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False

    # --- asked by anybody

    def recording(self, room: str, peer: str) -> bool:
        """Whether this producer is being written to the disk now."""
        return (room, peer) in self._on

    @property
    def active(self) -> int:
        """How many are."""
        return len(self._on)

    @property
    def octets(self) -> int:
        """Bytes written since the start."""
        return self._worker.written()

    def drops(self) -> Mapping[str, int]:
        """Packets and units that were not recorded, by reason."""
        return self._worker.drops()

    def failures(self) -> Mapping[str, int]:
        """By reason."""
        return self._worker.failures()

    def deletions(self) -> Mapping[str, int]:
        """Segments deleted, by reason."""
        return self._keeper.deleted

    # --- told by the server

    def uplink(self, room: str, peer: str, uplink: Coming | None) -> None:
        """What comes from a peer has changed; None: it is gone. Never raises: the peer has nothing to do with it."""
        try:
            self._note((room, peer), uplink)
        except Exception:  # noqa: BLE001  # the task boundary of a recording
            _log.exception("%s/%s: internal error", room, peer)

    def _note(self, source: _Source, uplink: Coming | None) -> None:
        if uplink is None or not uplink.flowing:
            if self._uplinks.pop(source, None) is not None:
                self._end(source, "left")
                self._ended.pop(source, None)
        elif not self._closing:
            self._uplinks[source] = uplink
            self._settle(source)

    def switch(self, room: str, on: bool) -> None:
        """Somebody says ON or OFF for a room and, as it contains them, its sub-rooms."""
        if on and self._terms.rules.of(room).mode is RecordingMode.OFF:
            self._tell(room, {"type": "recording_failed", "reason": "off", "message": "this room is never recorded"})
            return
        self._switches.say(room, on)
        for source in list(self._uplinks):
            self._settle(source)

    # --- running

    def start(self) -> None:
        """Starts both threads: repair begins at once."""
        self._loop = asyncio.get_running_loop()
        self._worker.start()
        self._keeper.start()

    async def run(self) -> None:
        """Looks at the layers of what is recorded, until cancelled."""
        while True:
            await self._feeding.wait()
            await asyncio.sleep(_TICK)
            for (room, peer), uplink in list(self._uplinks.items()):
                if (room, peer) in self._feeds:
                    self.uplink(room, peer, uplink)

    async def close(self) -> None:
        """Finishes every recording, within 3 s however slow the disk is."""
        self._closing = True
        self._uplinks.clear()
        for source in list(self._feeds):
            self._end(source, "shutting_down")
        done = await asyncio.gather(
            asyncio.to_thread(self._worker.close, _GRACE), asyncio.to_thread(self._keeper.close, _GRACE)
        )
        if not all(done):
            _log.warning("%s: the disk is too slow: recordings end with the parts that it has", self.store.directory)
        await asyncio.sleep(0)  # what the threads told last

    def _settle(self, source: _Source) -> None:
        """Makes a source's feed what its room's duty asks for."""
        duty = self._switches.duty(source[0])
        feed = self._feeds.get(source)
        if duty is Duty.NOTHING:
            self._end(source, "stopped")
        elif feed is None:
            self._begin(source, duty)
        else:
            feed.follow(self._uplinks[source].tracks.values())
            feed.record(duty is Duty.RECORD)

    def _begin(self, source: _Source, duty: Duty) -> None:
        room, peer = source
        tracks = self._uplinks[source].tracks.values()
        feed = self._feeds[source] = Feed(room, peer, self._clock)
        self._feeding.set()
        rule = self._terms.rules.of(room)
        kinds = {track.codec.kind for track in tracks}
        reel = Pipeline(source, kinds, self._disk, rule, tell=lambda told: self._post(source, feed, told))
        feed.record(duty is Duty.RECORD)
        feed.begin(tracks, since=self._ended.get(source, float("-inf")))
        self._worker.add(feed, reel)

    def _end(self, source: _Source, reason: str) -> None:
        feed = self._feeds.pop(source, None)
        if feed is not None:
            if not self._feeds:
                self._feeding.clear()
            self._ended[source] = self._clock()
            feed.end(reason)

    # --- what the threads tell

    def _post(self, source: _Source, feed: Feed, told: Told) -> None:
        """Called in the worker's thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is there to hear it
                self._loop.call_soon_threadsafe(self._on_told, source, feed, told)

    def _on_told(self, source: _Source, feed: Feed, told: Told) -> None:
        match told:
            case AskKeyFrame():
                feed.request_key_frame()
            case Started():
                self._on.add(source)
                self._log_and_tell(source, True, {"type": "recording_started", "start": rfc3339(told.start_us)})
            case Stopped():
                self._on.discard(source)
                self._log_and_tell(source, False, {"type": "recording_stopped", "reason": told.reason})
            case Failed():
                self._on_failed(source, feed, told)
            case Finished():
                self._on_finished(source, told)

    def _log_and_tell(self, source: _Source, on: bool, event: dict[str, Any]) -> None:
        room, peer = source
        _log.info("%s/%s: %s", room, peer, " ".join(str(value) for value in event.values()))
        self._audience.recording(room, peer, on, {"type": event["type"], "peer": peer, **event})

    def _on_finished(self, source: _Source, finished: Finished) -> None:
        room, peer = source
        event = {"peer": peer, **self._described(finished.segment), "end": rfc3339(finished.end_us)}
        self._tell(room, {"type": "segment", **event, "bytes": finished.size})
        self._keeper.finished(finished.segment)

    def _on_failed(self, source: _Source, feed: Feed, failed: Failed) -> None:
        room, peer = source
        _log.error("%s/%s is not recorded: %s: %s", room, peer, failed.fault, failed.message)
        event = {"peer": peer, "reason": failed.fault.value, "message": failed.message}
        self._tell(room, {"type": "recording_failed", **event})
        if failed.fault is Fault.DISK_FULL:
            self._keeper.make_room()
        elif failed.fault is Fault.INTERNAL and self._feeds.get(source) is feed and self._loop is not None:
            self._end(source, "failed")
            self._loop.call_later(_AGAIN, self._try_again, source)

    def _try_again(self, source: _Source) -> None:
        if source in self._uplinks and not self._closing:
            self._settle(source)

    def _on_deleted(self, deleted: Deleted) -> None:
        """Called in the keeper's thread."""
        segment = deleted.held.segment
        event = {"type": "segment_deleted", "peer": segment.peer, **self._described(segment), "reason": deleted.reason}
        if deleted.error is None and self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._tell, segment.room, event)

    def _described(self, segment: Segment) -> dict[str, Any]:
        path = segment.path.relative_to(self.store.directory)
        return {"start": rfc3339(segment.start_us), "file": path.as_posix()}

    def _tell(self, room: str, event: dict[str, Any]) -> None:
        self._audience.event(room, event)
