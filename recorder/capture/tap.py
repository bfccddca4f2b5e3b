"""One producer's feed: packets go from the event loop into a queue that the recorder's thread empties.

Owns the choice of packets (the best layer of each kind, beginning with the latest key frame) and the bound of the
queue. Never touches a file, never waits, never delays viewers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recorder.capture.assembly import KnownSets, Report
from recorder.capture.reorder import Arrival
from sfu.media.formats.orientation import of_extension
from sfu.media.formats.rtp import Packet, time_delta
from sfu.media.ingest.producer import Producer, Tap
from sfu.media.ingest.track import IncomingTrack
from sfu.rtc.sdp.codec import Kind
from sfu.rtc.sdp.description import VIDEO_ORIENTATION

_MAX_QUEUE_BYTES: Final = 8 << 20
"""Bound of the queue: 16 s of a camera at 4 Mbit/s while the disk is slow."""
_OVERHEAD_BYTES: Final = 200
"""Memory of a packet beside its payload."""
_BETTER_FACTOR: Final = 1.3
"""A layer takes over from the recorded one only with this many times its bitrate: the change cuts the recording."""
_MAX_AGE_S: Final = 15.0
"""Never start a recording with media older than this."""
_AUDIO_ONLY_S: Final = 1.0
"""Audio before the start that a recording without video begins with."""


@dataclass(frozen=True, slots=True)
class Record:
    """From here on in the queue the producer is recorded, or not recorded."""

    on: bool


@dataclass(frozen=True, slots=True)
class EndOfMedia:
    """The last item of a feed."""

    reason: str


Item = Arrival | Report | KnownSets | Record | EndOfMedia


class Feed:
    """The queue of one producer. The event loop adds items, one other thread removes them."""

    def __init__(self, room: str, peer: str, clock: Callable[[], float]) -> None:
        self.room = room
        self.peer = peer
        self.items: deque[Item] = deque()
        self.dropped = 0
        """Packets for which the queue had no room."""
        self._clock = clock
        self._recorded: bool | None = None
        self._added_bytes = 0
        """Written by the event loop only."""
        self._removed_bytes = 0
        """Written by the recorder's thread only."""
        self._taps: dict[Kind, _TrackTap] = {}

    # --- the event loop

    def begin(self, tracks: Collection[IncomingTrack], *, since: float) -> None:
        """Adds the packets that producers keep since their latest key frame, if it came after `since` (seconds)."""
        self.follow(tracks)
        producers = {kind: tap.producer for kind, tap in self._taps.items()}
        now = self._clock()
        replay = replay_since_key_frame(producers, since=max(since, now - _MAX_AGE_S))
        for kind, producer in producers.items():
            ntp_and_media_time = producer.reception.moment(producer.heard_at)
            if ntp_and_media_time is not None:
                self.items.append(Report(kind, *ntp_and_media_time, producer.heard_at))
        for tap in self._taps.values():
            tap.say_sets()
        self.items.extend(replay)
        self._added_bytes += sum(_size(arrival) for arrival in replay)
        if not replay:
            self.request_key_frame()

    def follow(self, tracks: Collection[IncomingTrack]) -> None:
        """Follows a change of the negotiated tracks: records the best layer of the first track of each kind."""
        for track in tracks:
            kind = track.codec.kind
            if next(other for other in tracks if other.codec.kind == kind) is track:
                tap = self._taps.get(kind)
                if tap is None:
                    self._taps[kind] = _TrackTap(self, kind, track, self._clock())
                else:
                    tap.follow(track, self._clock())

    def record(self, on: bool) -> None:
        """Turns recording on or off; while it is off packets only go to the pre-roll."""
        if on is not self._recorded:
            self._recorded = on
            self.items.append(Record(on))

    def end(self, reason: str) -> None:
        """Leaves the producers and ends the queue."""
        for tap in self._taps.values():
            tap.detach()
        self.items.append(EndOfMedia(reason))

    def request_key_frame(self) -> None:
        """Asks the recorded video producer for a key frame."""
        tap = self._taps.get("video")
        if tap is not None:
            tap.producer.request_key_frame(self._clock())

    def put(self, kind: Kind, producer: Producer, packet: Packet, now: float) -> None:
        """Adds one packet; called for each one."""
        if self._added_bytes - self._removed_bytes > _MAX_QUEUE_BYTES:
            self.dropped += 1
            return
        self._added_bytes += len(packet.payload) + _OVERHEAD_BYTES
        self.items.append(Arrival(kind, packet, producer.codec, now, stated_orientation(producer, packet)))

    # --- the recorder's thread

    def pop(self, limit: int) -> list[Item]:
        """Removes and returns the oldest items, at most `limit` of them."""
        removed: list[Item] = []
        while self.items and len(removed) < limit:
            item = self.items.popleft()
            if isinstance(item, Arrival):
                self._removed_bytes += _size(item)
            removed.append(item)
        return removed


class _TrackTap:
    """The tap of one track: on the recorded layer and, while a better one is awaited, on that one too."""

    def __init__(self, feed: Feed, kind: Kind, track: IncomingTrack, now: float) -> None:
        self._feed = feed
        self._kind = kind
        self.producer = best_layer(track.layers(now), None)
        self._awaited: Producer | None = None
        self._said: tuple[Producer, int] | None = None
        """The stream (its producer and first index) whose earlier parameter sets are in the queue."""
        _attach(self, self.producer)

    def follow(self, track: IncomingTrack, now: float) -> None:
        """Asks for a change of layer if another one is better; the change comes with its next key frame."""
        wanted = best_layer(track.layers(now), self.producer)
        if wanted is self.producer:
            self._await_layer(None)
        else:
            self._await_layer(wanted)
            wanted.request_key_frame(now)

    def detach(self) -> None:
        """Removes the tap from its producers."""
        self._await_layer(None)
        _detach(self, self.producer)

    def packet(self, producer: Producer, packet: Packet, now: float) -> None:
        """See `sfu.media.ingest.tap.Tap`."""
        if producer is not self.producer:
            if not packet.key:
                return
            _detach(self, self.producer)
            self.producer, self._awaited = producer, None
        if self._said != (producer, producer.start):
            self.say_sets()
        self._feed.put(self._kind, producer, packet, now)

    def say_sets(self) -> None:
        """Adds the parameter sets that the recorded stream has said so far: its key frames may come without them."""
        self._said = self.producer, self.producer.start
        if sets := self.producer.starts.sets:
            self._feed.items.append(KnownSets(self._kind, sets))

    def report(self, producer: Producer, ntp: int, media_time: int, now: float) -> None:
        """See `sfu.media.ingest.tap.Tap`."""
        if producer is self.producer:
            self._feed.items.append(Report(self._kind, ntp, media_time, now))

    def _await_layer(self, producer: Producer | None) -> None:
        """Waits for a key frame of this layer, or of none."""
        if producer is not self._awaited:
            if self._awaited is not None:
                _detach(self, self._awaited)
            self._awaited = producer
            if producer is not None:
                _attach(self, producer)


def best_layer(layers: Sequence[tuple[Producer, str | None, int | None]], current: Producer | None) -> Producer:
    """Returns the layer to record of `layers` (lowest first; producer, rid, bit/s or None if no packets come)."""
    bitrates = {producer: bitrate for producer, _, bitrate in layers if bitrate is not None}
    if not bitrates:
        return layers[-1][0] if current is None else current
    best = max(bitrates, key=lambda producer: bitrates[producer])
    if current in bitrates and bitrates[best] < bitrates[current] * _BETTER_FACTOR:
        return current
    return best


def replay_since_key_frame(producers: Mapping[Kind, Producer], *, since: float) -> list[Arrival]:
    """Returns the packets that producers keep since the latest key frame, and the audio from its time on.

    Returns an empty list if the key frame came before `since`, in seconds. Producers do not keep arrival times: they
    are derived from the media times, back from the latest packet.
    """
    kept: list[Arrival] = []
    video = producers.get("video")
    if video is not None:
        kept += _arrivals("video", video, video.history.since_key())
    if video is not None and video.ssrc is not None:
        if not kept or kept[0].now < since:
            return []
        since = kept[0].now
    else:
        since = max(since, max((producer.heard_at for producer in producers.values()), default=0.0) - _AUDIO_ONLY_S)
    audio = producers.get("audio")
    if audio is not None:
        audio_arrivals = _arrivals("audio", audio, audio.history.since(audio.start))
        kept += [arrival for arrival in audio_arrivals if arrival.now >= since]
    return sorted(kept, key=lambda arrival: arrival.now)


def _arrivals(kind: Kind, producer: Producer, packets: Iterable[Packet]) -> list[Arrival]:
    """Returns packets with arrival times derived from their media times."""
    packets = list(packets)
    codec = producer.codec
    return [
        Arrival(
            kind,
            packet,
            codec,
            producer.heard_at + time_delta(packet.media_time, packets[-1].media_time) / codec.clock_rate,
            stated_orientation(producer, packet),
        )
        for packet in packets
    ]


def stated_orientation(producer: Producer, packet: Packet) -> int | None:
    """Returns the orientation in a packet's header extension; None if it has none."""
    extensions = packet.extensions
    value = extensions.get(producer.extensions.get(VIDEO_ORIENTATION, 0)) if extensions else None
    return None if value is None else of_extension(value)


def _size(arrival: Arrival) -> int:
    return len(arrival.packet.payload) + _OVERHEAD_BYTES


def _attach(tap: Tap, producer: Producer) -> None:
    if tap not in producer.taps:
        producer.taps = (*producer.taps, tap)


def _detach(tap: Tap, producer: Producer) -> None:
    producer.taps = tuple(other for other in producer.taps if other is not tap)
