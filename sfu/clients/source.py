"""Any input that PyAV opens, as a media source: files, RTSP cameras, devices.

Owns the reading thread, and a media time that grows across loops and reopened cameras. Never paces an input that is
not live (`publish` does) and never sends.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from sfu.clients.frame_queue import FrameQueue, PassEnd, in_order
from sfu.clients.frames import Frame, MediaSource, SourceCounters, SourceError
from sfu.clients.input_tracks import InputTrack, audio_track, video_track
from sfu.clients.pattern import Pattern
from sfu.media.formats.picture_size import MAX_PIXELS
from sfu.signaling.backoff import full_jitter

log = logging.getLogger(__name__)

_OPEN_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 10.0
_INTERLEAVING_S = 1.0
"""Media time by which a file's sound and picture may be stored apart; the source sorts them."""
_SHORTEST_REOPEN_S = 0.1
_FIRST_REOPEN_S = 1.0
_LONGEST_REOPEN_S = 30.0
_THREAD_END_S = 2.0
"""Time to wait for the reading thread in `close`."""


async def open_source(text: str, *, loop: bool = False) -> MediaSource:
    """Opens an input: a path, a URL, a device, or `pattern[:N]` for a generated camera. Raises SourceError.

    `loop`: a file starts again at its end. Live inputs are always reopened.
    """
    name, _, number = text.partition(":")
    if name == "pattern" and (not number or number.isdigit()):
        return await asyncio.to_thread(Pattern, int(number or 0))
    return await asyncio.to_thread(Input, text, loop=loop)


class Input:
    """A `MediaSource` read by its own thread. The constructor blocks while it opens and probes the input.

    The constructor raises SourceError.
    """

    def __init__(self, text: str, *, loop: bool = False) -> None:
        self._text = text
        self._loop = loop
        self.counters = SourceCounters()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._container: InputContainer | None = _open(text)
        self.live = (not Path(text).exists() and not self._container.duration) or text.startswith("/dev/")
        self._tracks = _tracks(self._container, text)
        self.codecs = tuple(track.codec for track in self._tracks)

    async def frames(self) -> AsyncIterator[Frame]:
        """See `MediaSource`. May be iterated once."""
        queue = FrameQueue(asyncio.get_running_loop(), self._stop)
        self._thread = threading.Thread(target=self._read, args=(queue,), name="source", daemon=True)
        self._thread.start()
        async for frame in queue:
            self.counters.frames += 1
            yield frame

    def request_key_frame(self) -> None:
        """See `MediaSource`."""
        if any(track.encoded_here and track.codec.kind == "video" for track in self._tracks):
            self.counters.requests_served += 1
        else:
            self.counters.requests_ignored += 1
        for track in self._tracks:
            track.request_key_frame()

    async def close(self) -> None:
        """See `MediaSource`. A thread that waits for the network ends later, at its read timeout."""
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _THREAD_END_S)
        elif self._container is not None:
            self._container.close()

    def _read(self, queue: FrameQueue) -> None:
        """Reads frames into `queue`, in the thread, until the input ends or the source is closed."""
        fault: SourceError | None = None
        try:
            frames = self._passes()
            for frame in frames if self.live else in_order(frames, _INTERLEAVING_S):
                if not queue.put(frame):
                    return
        except (SourceError, av.FFmpegError, OSError) as error:
            fault = error if isinstance(error, SourceError) else SourceError(f"{self._text}: {error}")
        finally:
            queue.end(fault)

    def _passes(self) -> Iterator[Frame]:
        """Yields the frames of all passes over the input; media time never goes back between them."""
        started, shift = time.monotonic(), 0.0
        while not self._stop.is_set():
            end = PassEnd()
            for frame in self._pass(shift):
                end.seen(frame)
                yield frame
            self.counters.passes += 1
            if self.live:
                self._container = self._reopen()
                shift = max(end.seconds, time.monotonic() - started)
            elif not self._loop:
                return
            elif end.seconds <= shift:
                raise SourceError(f"{self._text}: no frames to repeat")
            else:
                shift = end.seconds

    def _pass(self, shift: float) -> Iterator[Frame]:
        """Yields the frames of one pass, `shift` seconds later. A live input's fault ends the pass only."""
        container, self._container = self._container or _open(self._text), None
        with container:
            streams = _streams(container)
            if len(streams) != len(self._tracks):
                raise SourceError(f"{self._text}: its tracks have changed")
            for track, stream in zip(self._tracks, streams, strict=True):
                track.begin(stream)
            index = {stream.index: number for number, stream in enumerate(streams)}
            origin: float | None = None if container.start_time is None else container.start_time / av.time_base
            for packet in self._packets(container, streams):
                if origin is None:
                    origin = float(packet.pts * packet.time_base) if packet.pts is not None else 0.0
                number = index[packet.stream_index]
                for seconds, data, key in self._tracks[number].feed(packet, shift - origin):
                    yield Frame(number, seconds, data, key)

    def _packets(self, container: InputContainer, streams: list[VideoStream | AudioStream]) -> Iterator[Packet[Stream]]:
        try:
            for packet in container.demux(streams):
                if self._stop.is_set():
                    return
                yield packet
        except (av.FFmpegError, OSError) as error:
            if not self.live:
                raise
            log.warning("%s: %s", self._text, error)

    def _reopen(self) -> InputContainer | None:
        """Opens a live input again, with back-off; returns None when the source is closed."""
        attempt = 0
        while not self._stop.wait(full_jitter(attempt, _FIRST_REOPEN_S, _LONGEST_REOPEN_S, least_s=_SHORTEST_REOPEN_S)):
            try:
                container = _open(self._text)
            except SourceError as error:
                log.warning("%s", error)
                attempt += 1
            else:
                self.counters.reopened += 1
                return container
        return None


def _open(text: str) -> InputContainer:
    options = {"max_pixels": str(MAX_PIXELS)}  # FFmpeg may decode the first picture to find out its form
    if text.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    device = "v4l2" if text.startswith("/dev/video") else None
    try:
        return av.open(text, format=device, options=options, timeout=(_OPEN_TIMEOUT_S, _READ_TIMEOUT_S))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise SourceError(f"cannot open {text}: {error}") from error


def _streams(container: InputContainer) -> list[VideoStream | AudioStream]:
    """Returns the first video and the first audio stream."""
    return [*container.streams.video[:1], *container.streams.audio[:1]]


def _tracks(container: InputContainer, text: str) -> list[InputTrack]:
    streams = _streams(container)
    tracks = [video_track(stream) if isinstance(stream, VideoStream) else audio_track(stream) for stream in streams]
    if not tracks:
        raise SourceError(f"{text}: has neither video nor audio")
    for track, stream in zip(tracks, streams, strict=True):
        width, height = (stream.width, stream.height) if isinstance(stream, VideoStream) else (0, 0)
        if track.encoded_here and width * height > MAX_PIXELS:
            size = f"{width}x{height} pixels; at most {MAX_PIXELS} (8K) can be encoded here"
            raise SourceError(f"{text}: its pictures have {size}: give a smaller video")
    return tracks
