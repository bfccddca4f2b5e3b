"""The tap: what one producer sends, from the event loop into a queue that the recorder's thread empties.

Owns which packets go in (the best layer of each kind, beginning with those since the latest key frame), and the bound
of the queue. Never touches a file, never waits, and costs viewers nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recorder.capture.assembly import Report
from recorder.capture.reorder import Arrival
from sfu.media.formats.rtp import Packet, time_delta
from sfu.media.ingest.producer import Producer
from sfu.media.ingest.tap import Tap
from sfu.media.ingest.track import IncomingTrack
from sfu.rtc.sdp.codec import Kind

_MOST: Final = 8 << 20  # bytes that wait for the thread: a slow disk's 16 s of a camera at 4 Mbit/s
_OVERHEAD: Final = 200
_BETTER: Final = 1.3  # times the bitrate of the layer that is recorded, to be worth a cut
_OLDEST: Final = 15.0  # seconds; who says ON does not mean what was longer ago than this
_SOUND: Final = 1.0  # seconds of sound that a recording without picture begins with


@dataclass(frozen=True, slots=True)
class Record:
    """From here on the producer is recorded, or not any more."""

    on: bool


@dataclass(frozen=True, slots=True)
class EndOfMedia:
    """Nothing follows."""

    reason: str


Item = Arrival | Report | Record | EndOfMedia


class Feed:
    """One producer's queue. The event loop puts in, one other thread takes out."""

    def __init__(self, room: str, peer: str, clock: Callable[[], float]) -> None:
        self.room = room
        self.peer = peer
        self.items: deque[Item] = deque()
        self.dropped = 0
        """Packets for which the queue had no room."""
        self._clock = clock
        self._recorded: bool | None = None
        self._put = 0  # bytes, written by the loop alone; `_taken` by the thread alone
        self._taken = 0
        self._taps: dict[Kind, _TrackTap] = {}

    # --- the event loop

    def begin(self, tracks: Collection[IncomingTrack], *, since: float) -> None:
        """Starts with what producers have kept since their latest key frame, nothing from before `since`."""
        self.follow(tracks)
        producers = {kind: tap.producer for kind, tap in self._taps.items()}
        now = self._clock()
        replay = remembered(producers, since=max(since, now - _OLDEST))
        for kind, producer in producers.items():
            told = producer.reception.moment(producer.heard_at)
            if told is not None:
                self.items.append(Report(kind, *told, producer.heard_at))
        self.items.extend(replay)
        self._put += sum(_size(arrival) for arrival in replay)
        if not replay:
            self.request_key_frame()

    def follow(self, tracks: Collection[IncomingTrack]) -> None:
        """The tracks that are negotiated now: the first of each kind is recorded, by its best layer."""
        for track in tracks:
            kind = track.codec.kind
            if next(other for other in tracks if other.codec.kind == kind) is track:
                tap = self._taps.get(kind)
                if tap is None:
                    self._taps[kind] = _TrackTap(self, kind, track, self._clock())
                else:
                    tap.follow(track, self._clock())

    def record(self, on: bool) -> None:
        """Whether to write what comes, or only to remember it."""
        if on is not self._recorded:
            self._recorded = on
            self.items.append(Record(on))

    def end(self, reason: str) -> None:
        """Lets go of the producers."""
        for tap in self._taps.values():
            tap.let_go()
        self.items.append(EndOfMedia(reason))

    def request_key_frame(self) -> None:
        """The recording cannot go on without one."""
        tap = self._taps.get("video")
        if tap is not None:
            tap.producer.request_key_frame(self._clock())

    def put(self, kind: Kind, producer: Producer, packet: Packet, now: float) -> None:
        """One packet; called for each."""
        if self._put - self._taken > _MOST:
            self.dropped += 1
            return
        self._put += len(packet.payload) + _OVERHEAD
        self.items.append(Arrival(kind, packet, producer.codec, now))

    # --- the recorder's thread

    def take(self, most: int) -> list[Item]:
        """The oldest items, at most that many."""
        taken: list[Item] = []
        while self.items and len(taken) < most:
            item = self.items.popleft()
            if isinstance(item, Arrival):
                self._taken += _size(item)
            taken.append(item)
        return taken


class _TrackTap:
    """A track's producer that is recorded and, while another layer becomes the better one, the one that will be."""

    def __init__(self, feed: Feed, kind: Kind, track: IncomingTrack, now: float) -> None:
        self._feed = feed
        self._kind = kind
        self.producer = better(track.layers(now), None)
        self._coming: Producer | None = None
        _attach(self, self.producer)

    def follow(self, track: IncomingTrack, now: float) -> None:
        """Changes the layer at a key frame of the other one, if that is worth it."""
        wanted = better(track.layers(now), self.producer)
        if wanted is self.producer:
            self._expect(None)
        else:
            self._expect(wanted)
            wanted.request_key_frame(now)

    def let_go(self) -> None:
        """Nothing more is wanted."""
        self._expect(None)
        _detach(self, self.producer)

    def packet(self, producer: Producer, packet: Packet, now: float) -> None:
        """See `sfu.media.ingest.tap.Tap`."""
        if producer is not self.producer:
            if not packet.key:
                return
            _detach(self, self.producer)
            self.producer, self._coming = producer, None
        self._feed.put(self._kind, producer, packet, now)

    def report(self, producer: Producer, ntp: int, media_time: int, now: float) -> None:
        """See `sfu.media.ingest.tap.Tap`."""
        if producer is self.producer:
            self._feed.items.append(Report(self._kind, ntp, media_time, now))

    def _expect(self, producer: Producer | None) -> None:
        if producer is not self._coming:
            if self._coming is not None:
                _detach(self, self._coming)
            self._coming = producer
            if producer is not None:
                _attach(self, producer)


def better(layers: Sequence[tuple[Producer, str | None, int | None]], current: Producer | None) -> Producer:
    """The layer to record of `layers` (the lowest first, with bit/s or None for what does not flow)."""
    bitrates = {producer: bitrate for producer, _, bitrate in layers if bitrate is not None}
    if not bitrates:
        return layers[-1][0] if current is None else current
    best = max(bitrates, key=lambda producer: bitrates[producer])
    if current in bitrates and bitrates[best] < bitrates[current] * _BETTER:
        return current
    return best


def remembered(producers: Mapping[Kind, Producer], *, since: float) -> list[Arrival]:
    """What producers have kept since the latest key frame, as it came; sound from that frame's time on.

    Nothing if the key frame came before `since`. Nobody noted when packets came: as far before the latest as their
    media times say.
    """
    kept: list[Arrival] = []
    video = producers.get("video")
    if video is not None:
        kept += _as_it_came("video", video, video.history.since_key())
    if video is not None and video.ssrc is not None:
        if not kept or kept[0].now < since:
            return []
        since = kept[0].now
    else:
        since = max(since, max((producer.heard_at for producer in producers.values()), default=0.0) - _SOUND)
    audio = producers.get("audio")
    if audio is not None:
        sound = _as_it_came("audio", audio, audio.history.since(audio.start))
        kept += [arrival for arrival in sound if arrival.now >= since]
    return sorted(kept, key=lambda arrival: arrival.now)


def _as_it_came(kind: Kind, producer: Producer, packets: Iterable[Packet]) -> list[Arrival]:
    packets = list(packets)
    codec = producer.codec
    return [
        Arrival(
            kind,
            packet,
            codec,
            producer.heard_at + time_delta(packet.media_time, packets[-1].media_time) / codec.clock_rate,
        )
        for packet in packets
    ]


def _size(arrival: Arrival) -> int:
    return len(arrival.packet.payload) + _OVERHEAD


def _attach(tap: Tap, producer: Producer) -> None:
    if tap not in producer.taps:
        producer.taps = (*producer.taps, tap)


def _detach(tap: Tap, producer: Producer) -> None:
    producer.taps = tuple(other for other in producer.taps if other is not tap)
