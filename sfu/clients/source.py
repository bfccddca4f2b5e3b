"""Any input that PyAV opens, as a media source: files, RTSP cameras, devices.

Owns the reading thread, what happens when an input ends or breaks off, and which of its tracks are sent. Never paces an
input that is not live (`publish` does) and never sends.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from sfu.clients.frame_queue import FrameQueue, PassEnd, in_order
from sfu.clients.frames import Frame, MediaSource, NewTracks, SourceCounters, SourceError
from sfu.clients.input_tracks import InputTrack, Place, audio_track, video_track
from sfu.clients.inputs.live_clock import LiveClock
from sfu.clients.inputs.live_reading import LiveReading
from sfu.clients.inputs.opening import UsableStream, fault, open_input, usable_streams
from sfu.clients.pattern import Pattern
from sfu.credentials import masked, quoted
from sfu.media.formats.picture_size import MAX_PIXELS
from sfu.rtc.sdp.codec import Codec
from sfu.runner import in_daemon_thread
from sfu.signaling.backoff import full_jitter

log = logging.getLogger(__name__)

_INTERLEAVING_S = 1.0
"""Media time by which a file's sound and picture may be stored apart; the source sorts them."""
_SHORTEST_REOPEN_S = 0.1
_FIRST_REOPEN_S = 1.0
_LONGEST_REOPEN_S = 30.0
_STABLE_S = 10.0
"""A connection that lasted this long was a good one: the back-off starts again."""
_THREAD_END_S = 2.0
"""Time to wait for the reading thread in `close`."""
_STILL_S = 1.0
"""Time between two copies of a single picture."""


async def open_source(text: str, *, loop: bool = False) -> MediaSource:
    """Opens an input: a path, a URL, a device, or `pattern[:N]` for a generated camera. Raises SourceError.

    `loop`: a file starts again at its end. Live inputs are always reopened.
    """
    name, _, number = text.partition(":")
    if name == "pattern" and (not number or number.isdigit()):
        return await in_daemon_thread(lambda: Pattern(int(number or 0)), "pattern")
    return await in_daemon_thread(lambda: Input(text, loop=loop), "opening")


@dataclass(slots=True)
class _Opened:
    """An open input, its usable streams and a new track for each. `left_out`: the numbers of tracks that failed."""

    container: InputContainer
    streams: list[UsableStream]
    tracks: list[InputTrack]
    left_out: set[int] = field(default_factory=set)

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """Returns the codec of each track."""
        return tuple(track.codec for track in self.tracks)


class Input:
    """A `MediaSource` read by its own thread. The constructor blocks while it opens and probes the input.

    The constructor raises SourceError.
    """

    def __init__(self, text: str, *, loop: bool = False) -> None:
        self._url = quoted(text)
        self._name = masked(self._url)
        self._loop = loop
        self._said: set[str] = set()
        self.counters = SourceCounters()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._opened = self._open()
        self.live = (not Path(text).exists() and not self._opened.container.duration) or text.startswith("/dev/")
        self.codecs = self._announced = self._opened.codecs

    async def frames(self) -> AsyncIterator[Frame]:
        """See `MediaSource`. May be iterated once."""
        queue = FrameQueue(asyncio.get_running_loop(), self._stop)
        self._thread = threading.Thread(target=self._read, args=(queue,), name="source", daemon=True)
        self._thread.start()
        async for item in queue:
            if isinstance(item, NewTracks):
                self.codecs = item.codecs
            else:
                self.counters.frames += 1
                yield item

    def request_key_frame(self) -> None:
        """See `MediaSource`."""
        tracks = self._opened.tracks
        if any(track.encoded_here and track.codec.kind == "video" for track in tracks):
            self.counters.requests_served += 1
        else:
            self.counters.requests_ignored += 1
        for track in tracks:
            track.request_key_frame()

    async def close(self) -> None:
        """See `MediaSource`. A thread that waits for the network ends later, at its read timeout."""
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _THREAD_END_S)
        else:
            self._opened.container.close()

    # --- in the thread

    def _read(self, queue: FrameQueue) -> None:
        """Reads frames into `queue` until the input ends or the source is closed. Whatever fails becomes its error."""
        error: SourceError | None = None
        try:
            for item in self._connections() if self.live else in_order(self._passes(), _INTERLEAVING_S):
                if not queue.put(item):
                    return
        except SourceError as raised:
            error = raised
        except Exception as raised:  # nobody else would learn of it
            log.debug("%s", self._name, exc_info=True)
            error = SourceError(f"{self._name}: {fault(raised, self._url, 0.0)}")
        finally:
            queue.end(error)

    def _open(self) -> _Opened:
        """Opens the input and makes its tracks anew: nothing of an earlier connection is kept. Raises SourceError."""
        container = open_input(self._url)
        streams, left_out = usable_streams(container)
        if not streams:
            container.close()
            why = f" ({' and '.join(left_out)} in an unknown codec)" if left_out else ""
            raise SourceError(f"{self._name}: has neither video nor audio that can be used{why}")
        tracks = self._tracks(streams)
        for note in [f"its {kind} is in an unknown codec and is left out" for kind in left_out]:
            self._say_once(note)
        for note in [track.note for track in tracks if track.note]:
            self._say_once(note)
        return _Opened(container, streams, tracks)

    def _tracks(self, streams: Sequence[UsableStream]) -> list[InputTrack]:
        tracks = [video_track(s) if isinstance(s, VideoStream) else audio_track(s) for s in streams]
        for track, stream in zip(tracks, streams, strict=True):
            width, height = (stream.width, stream.height) if isinstance(stream, VideoStream) else (0, 0)
            if track.encoded_here and width * height > MAX_PIXELS:
                size = f"{width}x{height} pixels; at most {MAX_PIXELS} (8K) can be encoded here"
                raise SourceError(f"{self._name}: its pictures have {size}: give a smaller video")
        return tracks

    def _say_once(self, text: str) -> None:
        """Logs a warning; a repeated one at debug level."""
        log.log(logging.DEBUG if text in self._said else logging.WARNING, "%s: %s", self._name, text)
        self._said.add(text)

    def _frames(self, opened: _Opened, number: int, packet: Packet[Stream], place: Place) -> Iterator[Frame]:
        """Yields a packet's frames. A track that fails is left out; Raises SourceError if none is left."""
        if number in opened.left_out:
            return
        track = opened.tracks[number]
        try:
            for seconds, data, key in track.feed(packet, place):
                yield Frame(number, seconds, data, key, track.orientation)
        except Exception as error:
            log.debug("%s", self._name, exc_info=True)
            opened.left_out.add(number)
            reason = f"its {track.codec.kind} cannot be used: {fault(error, self._url, 0.0)}"
            if len(opened.left_out) == len(opened.tracks):
                raise SourceError(f"{self._name}: {reason}") from error
            self._say_once(reason)

    # --- files

    def _passes(self) -> Iterator[Frame]:
        """Yields the frames of all passes over a file; media time never goes back between them."""
        shift = 0.0
        while not self._stop.is_set():
            end, count = PassEnd(), 0
            for frame in self._pass(shift):
                end.seen(frame)
                count += 1
                yield frame
            self.counters.passes += 1
            if count == 0:
                raise SourceError(f"{self._name}: there is nothing in it to send")
            if not self._loop:
                if count == 1:
                    self._say_once("is a single picture: with --loop it is sent until you stop")
                return
            shift = max(end.seconds, shift + _STILL_S) if count == 1 else end.seconds
            self._opened.container = open_input(self._url)

    def _pass(self, shift: float) -> Iterator[Frame]:
        """Yields the frames of one pass, `shift` seconds later."""
        opened = self._opened
        with opened.container as container:
            opened.streams, _ = usable_streams(container)
            if len(opened.streams) != len(opened.tracks):
                raise SourceError(f"{self._name}: its tracks have changed")
            _begin(opened)
            numbers = {stream.index: number for number, stream in enumerate(opened.streams)}
            origin: float | None = None if container.start_time is None else container.start_time / av.time_base
            for packet in container.demux(opened.streams):
                if self._stop.is_set():
                    return
                if origin is None:
                    origin = float(packet.pts * packet.time_base) if packet.pts is not None else 0.0
                place = partial(float.__add__, shift - origin)
                yield from self._frames(opened, numbers[packet.stream_index], packet, place)

    # --- live inputs

    def _connections(self) -> Iterator[Frame | NewTracks]:
        """Yields the frames of all connections to a live input, until the source is closed."""
        clock = LiveClock()
        failures = 0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                with self._opened.container:
                    yield from self._connection(self._opened, clock)
                reason = "it has ended the connection"
            except Exception as error:  # the next connection may be better
                log.debug("%s", self._name, exc_info=True)
                reason = fault(error, self._url, 0.0)
            self.counters.passes += 1
            if self._stop.is_set():
                return
            log.warning("%s: %s; connecting again", self._name, reason)
            failures = 0 if time.monotonic() - began >= _STABLE_S else failures + 1
            self._reopen(failures)

    def _reopen(self, failures: int) -> None:
        """Opens a live input again, with back-off; returns early when the source is closed."""
        said = ""
        while not self._stop.wait(
            full_jitter(failures, _FIRST_REOPEN_S, _LONGEST_REOPEN_S, least_s=_SHORTEST_REOPEN_S)
        ):
            try:
                self._opened = self._open()
            except Exception as error:  # noqa: BLE001  # as above
                failures += 1
                text = fault(error, self._url, 0.0)
                log.log(logging.DEBUG if text == said else logging.WARNING, "%s", text)
                said = text
            else:
                self.counters.reopened += 1
                log.warning("%s: connected again", self._name)
                return

    def _connection(self, opened: _Opened, clock: LiveClock) -> Iterator[Frame | NewTracks]:
        """Yields the frames of one connection, after word of its tracks if they are others than before."""
        _begin(opened)
        encoded = [n for n, track in enumerate(opened.tracks) if track.encoded_here and track.codec.kind == "video"]
        reading = LiveReading(opened.container, opened.streams, clock, encoded=encoded[0] if encoded else None)
        places = [reading.place(number) for number in range(len(opened.tracks))]
        for number, packet in reading.packets(self._stop):
            for frame in self._frames(opened, number, packet, places[number]):
                if opened.codecs != self._announced:
                    self._announced = opened.codecs
                    yield NewTracks(self._announced)
                yield frame
            if reading.skipped:
                self.counters.skipped += reading.skipped
                reading.skipped = 0
                self._say_once("this machine is too slow to re-encode it: pictures are left out")


def _begin(opened: _Opened) -> None:
    for track, stream in zip(opened.tracks, opened.streams, strict=True):
        track.begin(stream)
