"""All recordings of one server: begins, follows and ends them in the event loop, and reports their events.

Owns the table of feeds and the answer to "is it recording". Never touches a file: the recorder's and the keeper's
threads do. Their events come back through the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from recorder.capture.hang import HangWatch
from recorder.capture.pipeline import Failed, Fault, Pipeline, PipelineEvent, Started, Stopped
from recorder.capture.tap import Feed
from recorder.capture.thread import RecorderThread
from recorder.rules import Capture, RecordingConfig, Switches
from recorder.segments.recording import AskKeyFrame
from recorder.segments.writer import Disk, Finished
from recorder.store.directory import Segment, Store
from recorder.store.scratch import Scratch
from recorder.upkeep.cleaner import Cleaner, Deletion, fit_to_disk
from recorder.upkeep.keeper import NEEDED_BYTES, Keeper
from sfu.media.ingest.track import IncomingTrack
from sfu.settings import RecordingMode
from sfu.units import rfc3339

_log = logging.getLogger(__name__)

_LAYER_CHECK_S: Final = 0.5
"""Time between two checks for a better layer."""
RETRY_AFTER_S: Final = 5.0
"""Time until a recording that a bug ended is begun again."""
_CLOSE_TIMEOUT_S: Final = 2.5
"""Longest wait for the disk at the end. The files play without what is missing."""

_Source = tuple[str, str]  # room, peer


class IncomingMedia(Protocol):
    """The tracks that one peer sends."""

    @property
    def tracks(self) -> Mapping[str, IncomingTrack]:
        """Returns the negotiated tracks by mid."""

    @property
    def flowing(self) -> Collection[str]:
        """Returns the mids of the tracks whose packets arrive."""


class RecordingEvents(Protocol):
    """A listener for the events of recordings."""

    def recording(self, room: str, peer: str, on: bool, event: dict[str, Any]) -> None:
        """Notes that a recording of the peer has started (`on`) or stopped."""

    def event(self, room: str, event: dict[str, Any]) -> None:
        """Publishes another event of a recording in the room."""


class Recordings:
    """All recordings of a server, from `start` to `close`. `clock`: that of the event loop, in seconds."""

    def __init__(self, config: RecordingConfig, listener: RecordingEvents, clock: Callable[[], float]) -> None:
        self.store = Store(config.directory)
        self._config = config
        self._listener = listener
        self._clock = clock
        self._switches = Switches(config.rules)
        self._uplinks: dict[_Source, IncomingMedia] = {}
        self._feeds: dict[_Source, Feed] = {}
        self._feeding = asyncio.Event()  # set while there are feeds
        self._on: set[_Source] = set()
        self._hung: dict[_Source, bool] = {}
        """The sources that are not recorded because the disk hangs; True for those that were before."""
        self._watch = HangWatch()
        self._ended: dict[_Source, float] = {}
        """When the latest feed of each source ended: a next one begins after it."""
        self._thread = RecorderThread()
        policy = fit_to_disk(config.policy, config.directory)
        self.clips = replace(config.clips, keep_free=policy.free)
        """The bounds of clips of these recordings."""
        scratch = Scratch(config.clips.scratch) if config.clips.scratch is not None else None
        cleaner = Cleaner(self.store, policy, scratch=scratch)
        self._keeper = Keeper(
            self.store,
            cleaner,
            progressive=config.progressive,
            on_deletion=self._on_deleted,
            on_move=self._on_moved,
            scratch=scratch,
        )
        self._disk = Disk(self.store, config.sync, has_room=lambda: cleaner.has_room(NEEDED_BYTES))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False

    # --- state, for the server and its metrics

    def recording(self, room: str, peer: str) -> bool:
        """True if this peer is written to the disk now."""
        return (room, peer) in self._on

    @property
    def active(self) -> int:
        """Returns the number of peers that are written to the disk now."""
        return len(self._on)

    @property
    def octets(self) -> int:
        """Returns the bytes written since the start."""
        return self._thread.written()

    def drops(self) -> Mapping[str, int]:
        """Returns the packets and units that were not recorded, by reason."""
        return self._thread.drops()

    def failures(self) -> Mapping[str, int]:
        """Returns the failures by reason."""
        return {**self._thread.failures(), Fault.DISK_HANGS: self._watch.count}

    @property
    def age_doubted(self) -> bool:
        """True while nothing is deleted by age, because the clock may be wrong."""
        return self._keeper.doubt is not None

    @property
    def unreadable(self) -> int:
        """Returns the number of files and folders of recordings that could not be read since the start."""
        return self.store.faults.count

    def deletions(self) -> Mapping[str, int]:
        """Returns the segments deleted, by reason."""
        return self._keeper.deleted

    # --- events from the server

    def uplink(self, room: str, peer: str, uplink: IncomingMedia | None) -> None:
        """Follows a change of a peer's tracks; None if the peer has left.

        Never raises: a bug in a recording must not end the peer's session.
        """
        try:
            self._set_uplink((room, peer), uplink)
        except Exception:  # noqa: BLE001  # the task boundary of a recording
            _log.exception("%s/%s: internal error", room, peer)

    def _set_uplink(self, source: _Source, uplink: IncomingMedia | None) -> None:
        if uplink is None or not uplink.flowing:
            if self._uplinks.pop(source, None) is not None:
                self._end(source, "left")
                self._ended.pop(source, None)
        elif not self._closing:
            self._uplinks[source] = uplink
            self._update(source)

    def switch(self, room: str, on: bool) -> None:
        """Switches recording on or off for a room and its sub-rooms."""
        if on and self._config.rules.of(room).mode is RecordingMode.OFF:
            self._report(room, {"type": "recording_failed", "reason": "off", "message": "this room is never recorded"})
            return
        self._switches.set(room, on)
        for source in list(self._uplinks):
            self._update(source)

    # --- running

    def start(self) -> None:
        """Starts both threads. Repair of files from earlier runs begins at once."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        self._keeper.start()

    async def run(self) -> None:
        """Checks regularly for better layers and for a disk that hangs, until cancelled."""
        while True:
            await self._feeding.wait()
            await asyncio.sleep(_LAYER_CHECK_S)
            hangs = self._watch.check(self._thread.busy_s())
            if hangs is not None:
                self._on_hang() if hangs else self._on_answer()
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
            asyncio.to_thread(self._thread.close, _CLOSE_TIMEOUT_S),
            asyncio.to_thread(self._keeper.close, _CLOSE_TIMEOUT_S),
        )
        if not all(done):
            _log.warning("%s: the disk is too slow: recordings end with the parts written so far", self.store.directory)
        await asyncio.sleep(0)  # let the last events of the threads come through

    def _update(self, source: _Source) -> None:
        """Begins, changes or ends a source's feed as the switches of its room ask for."""
        capture = self._switches.capture(source[0])
        feed = self._feeds.get(source)
        if capture is Capture.NONE:
            self._end(source, "stopped")
        elif feed is None:
            self._begin(source, capture)
        else:
            feed.follow(self._uplinks[source].tracks.values())
            feed.record(capture is Capture.RECORD)

    def _begin(self, source: _Source, capture: Capture) -> None:
        room, peer = source
        tracks = self._uplinks[source].tracks.values()
        feed = self._feeds[source] = Feed(room, peer, self._clock)
        self._feeding.set()
        rule = self._config.rules.of(room)
        kinds = {track.codec.kind for track in tracks}
        pipeline = Pipeline(source, kinds, self._disk, rule, notify=lambda event: self._post(source, feed, event))
        feed.record(capture is Capture.RECORD)
        feed.begin(tracks, since=self._ended.get(source, float("-inf")))
        self._thread.add(feed, pipeline)

    def _end(self, source: _Source, reason: str) -> None:
        feed = self._feeds.pop(source, None)
        if feed is not None:
            if not self._feeds:
                self._feeding.clear()
            self._ended[source] = self._clock()
            feed.end(reason)

    # --- events from the threads

    def _post(self, source: _Source, feed: Feed, event: PipelineEvent) -> None:
        """Hands an event to the event loop; called in the recorder's thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the event loop has ended
                self._loop.call_soon_threadsafe(self._on_event, source, feed, event)

    def _on_event(self, source: _Source, feed: Feed, event: PipelineEvent) -> None:
        match event:
            case AskKeyFrame():
                feed.request_key_frame()
            case Started():
                self._on.add(source)
                self._log_and_report(source, True, {"type": "recording_started", "start": rfc3339(event.start_us)})
            case Stopped():
                self._hung.pop(source, None)
                self._on.discard(source)
                self._log_and_report(source, False, {"type": "recording_stopped", "reason": event.reason})
            case Failed():
                self._on_failed(source, feed, event)
            case Finished():
                self._on_finished(source, event)

    def _log_and_report(self, source: _Source, on: bool, event: dict[str, Any]) -> None:
        room, peer = source
        _log.info("%s/%s: %s", room, peer, " ".join(str(value) for value in event.values()))
        self._listener.recording(room, peer, on, {"type": event["type"], "peer": peer, **event})

    def _on_finished(self, source: _Source, finished: Finished) -> None:
        room, peer = source
        event = {"peer": peer, **self._segment_fields(finished.segment), "end": rfc3339(finished.end_us)}
        self._report(room, {"type": "segment", **event, "bytes": finished.size})
        self._keeper.finished(finished.segment, finished.end_us)

    def _on_failed(self, source: _Source, feed: Feed, failed: Failed) -> None:
        room, peer = source
        _log.error("%s/%s: recording failed: %s: %s", room, peer, failed.fault, failed.message)
        event = {"peer": peer, "reason": failed.fault.value, "message": failed.message}
        self._report(room, {"type": "recording_failed", **event})
        if failed.fault is Fault.DISK_FULL:
            self._keeper.make_room()
        elif failed.fault is Fault.INTERNAL and self._feeds.get(source) is feed and self._loop is not None:
            self._end(source, "failed")
            self._loop.call_later(RETRY_AFTER_S, self._try_again, source)

    def _on_hang(self) -> None:
        """Reports that nothing is written any more: the recorder's thread waits for the disk."""
        message = "the disk does not answer: nothing is recorded until it does"
        _log.error("%s: %s", self.store.directory, message)
        for source in self._feeds:
            room, peer = source
            if self._switches.capture(room) is Capture.RECORD:
                self._hung[source] = source in self._on
                self._on.discard(source)
                event = {"type": "recording_failed", "peer": peer, "reason": Fault.DISK_HANGS.value, "message": message}
                self._listener.recording(room, peer, False, event)

    def _on_answer(self) -> None:
        """Reports that the disk answers again, and the recordings that go on."""
        _log.warning("%s: the disk answers again", self.store.directory)
        hung, self._hung = self._hung, {}
        for source in [source for source, was_on in hung.items() if was_on]:
            self._on.add(source)
            start = rfc3339(time.time_ns() // 1000)
            self._log_and_report(source, True, {"type": "recording_started", "start": start})

    def _try_again(self, source: _Source) -> None:
        if source in self._uplinks and not self._closing:
            self._update(source)

    def _on_deleted(self, deleted: Deletion) -> None:
        """Reports a deleted segment; called in the keeper's thread."""
        segment = deleted.segment
        event = {
            "type": "segment_deleted",
            "peer": segment.peer,
            **self._segment_fields(segment),
            "reason": deleted.reason,
        }
        if deleted.error is None and self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._report, segment.room, event)

    def _on_moved(self, before: Segment, after: Segment, end_us: int) -> None:
        """Reports a segment that got another name, as deleted and new; called in the keeper's thread."""
        size = after.path.stat().st_size
        gone = {"type": "segment_deleted", "peer": before.peer, **self._segment_fields(before), "reason": "clock"}
        new = {"type": "segment", "peer": after.peer, **self._segment_fields(after), "end": rfc3339(end_us)}
        for event in (gone, {**new, "bytes": size}):
            if self._loop is not None:
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._report, after.room, event)

    def _segment_fields(self, segment: Segment) -> dict[str, Any]:
        """Returns the fields of a segment that events share."""
        path = segment.path.relative_to(self.store.directory)
        return {"start": rfc3339(segment.start_us), "file": path.as_posix()}

    def _report(self, room: str, event: dict[str, Any]) -> None:
        self._listener.event(room, event)
