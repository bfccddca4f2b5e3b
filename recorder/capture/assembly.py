"""One producer's packets and sender reports -> its units, each at its wall time.

Owns the steps of every packet: into order, into units, onto the timeline. Never decides what is recorded, never reads
a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recorder.capture.reorder import Arrival, Reorder
from recorder.depacketize import Depacketizer
from recorder.depacketize.units import REORDERING, PlacedUnit, Unit
from recorder.timeline.placement import Placement
from sfu.rtc.sdp.codec import Codec, Kind

_QUIET_S: Final = 0.1
"""Time without a packet after which a picture is not waited for any more: its last packet has the marker."""


@dataclass(frozen=True, slots=True)
class Report:
    """A sender report: at `ntp` (64-bit NTP) the track's media time was `media_time`. It came at `now`, in seconds."""

    kind: Kind
    ntp: int
    media_time: int
    now: float


@dataclass(frozen=True, slots=True)
class KnownSets:
    """The parameter sets that a track's encoder said before the packets that follow."""

    kind: Kind
    sets: Sequence[bytes]


class _Stream:
    """The reorder buffer and depacketizer of one SSRC in one codec."""

    def __init__(self, kind: Kind, codec: Codec, ssrc: int) -> None:
        self.kind = kind
        self.codec = codec
        self.ssrc = ssrc
        self.reorder = Reorder(codec)
        self.depacketizer = Depacketizer(codec)
        self.heard = (0.0, 0)
        """When the latest packet came that went to the depacketizer: monotonic seconds, and microseconds of UTC."""

    def continues(self, arrival: Arrival) -> bool:
        """True if the packet belongs to this stream."""
        return arrival.packet.ssrc == self.ssrc and (arrival.codec is self.codec or arrival.codec == self.codec)

    def drops(self) -> Mapping[str, int]:
        """Returns the stream's drops by reason."""
        drops = {f"{reason.value}_unit": count for reason, count in self.depacketizer.drops.items()}
        return drops | {"late": self.reorder.late}


class Assembly:
    """One producer's tracks, at most one of each kind. A track's stream may change (another SSRC, layer or codec).

    `expected`: the kinds that were negotiated. In all methods `epoch_us` is the wall time, in microseconds of UTC since
    1970, at which the monotonic clock of `now` (seconds) stood at 0.
    """

    def __init__(self, expected: Collection[Kind]) -> None:
        self._placement = Placement(expected)
        self._streams: dict[Kind, _Stream] = {}
        self._early: dict[Kind, Report] = {}
        """The latest report of each track that has sent no packet yet."""
        self._known: dict[Kind, Sequence[bytes]] = {}
        self._ended: Counter[str] = Counter()
        self._sound: list[tuple[Sequence[Unit], tuple[float, int]]] = []
        """Units of audio, and when they came: after the first packet of a picture that still lacks its end."""

    def push(self, arrival: Arrival, epoch_us: int) -> list[PlacedUnit]:
        """Adds a packet and returns the units that it completes."""
        stream = self._streams.get(arrival.kind)
        if stream is not None and stream.continues(arrival):
            return self._placed(stream, stream.reorder.push(arrival), epoch_us)
        units = [] if stream is None else self._ended_stream(stream, epoch_us)
        units += self._begin(arrival, stream)
        begun = self._streams[arrival.kind]
        return units + self._placed(begun, begun.reorder.push(arrival), epoch_us)

    def learn(self, known: KnownSets) -> None:
        """Takes parameter sets for the track's present stream, and for later ones until others come."""
        self._known[known.kind] = known.sets
        stream = self._streams.get(known.kind)
        if stream is not None:
            stream.depacketizer.learn(known.sets)

    def on_report(self, report: Report) -> list[PlacedUnit]:
        """Uses a camera's sender report and returns the units that waited for it."""
        if report.kind not in self._streams:
            self._early[report.kind] = report
            return []
        return self._placement.on_sender_report(report.kind, report.ntp, report.media_time, now=report.now)

    def expired(self, now: float, epoch_us: int) -> list[PlacedUnit]:
        """Returns the units that have waited long enough for packets or reports. Call it several times a second."""
        units: list[PlacedUnit] = []
        for stream in self._streams.values():
            units += self._placed(stream, stream.reorder.expired(now), epoch_us)
            if stream.depacketizer.complete and now - stream.heard[0] >= _QUIET_S:
                units += self._on_timeline("video", stream.depacketizer.flush(), stream.heard)
        if self._sound and now - self._sound[0][1][0] >= _QUIET_S:
            units += self._release_sound()
        return units + self._placement.tick(now=now)

    def flush(self, epoch_us: int) -> list[PlacedUnit]:
        """Returns all waiting units, at the end of the producer."""
        units: list[PlacedUnit] = []
        for stream in self._streams.values():
            units += self._ended_stream(stream, epoch_us)
        return units + self._placement.release()

    def drops(self) -> Counter[str]:
        """Returns the dropped packets (`late`) and units, by reason."""
        total = Counter(self._ended)
        for stream in list(self._streams.values()):  # called from another thread too
            total.update(stream.drops())
        return total

    def _begin(self, arrival: Arrival, before: _Stream | None) -> list[PlacedUnit]:
        """Begins a track's next stream; returns the units that were held of the stream before."""
        kind, codec = arrival.kind, arrival.codec
        if before is not None:
            self._ended.update(before.drops())
        stream = self._streams[kind] = _Stream(kind, codec, arrival.packet.ssrc)
        stream.depacketizer.learn(self._known.get(kind, ()))
        units = self._placement.begin(kind, codec.clock_rate, reorders=codec.name in REORDERING)
        early = self._early.pop(kind, None)
        return units if early is None else units + self.on_report(early)

    def _ended_stream(self, stream: _Stream, epoch_us: int) -> list[PlacedUnit]:
        """Returns all units that still wait in a stream."""
        units = self._placed(stream, stream.reorder.flush(), epoch_us)
        units += self._on_timeline(stream.kind, stream.depacketizer.flush(), stream.heard)
        return units + self._release_sound()

    def _placed(self, stream: _Stream, ready: Sequence[Arrival], epoch_us: int) -> list[PlacedUnit]:
        """Returns the units, on the timeline, that these packets complete, and the audio that waited for them.

        A picture is known to be complete only when the next one begins: audio that came meanwhile must not overtake it.
        """
        units: list[PlacedUnit] = []
        for arrival in ready:
            before, stream.heard = stream.heard, (arrival.now, epoch_us + int(arrival.now * 1e6))
            done = stream.depacketizer.push(arrival.packet, arrival.turned)
            if done and stream.kind == "video":
                units += self._on_timeline("video", done, before)
                units += self._release_sound()
            elif done:
                self._sound.append((done, stream.heard))
        picture = self._streams.get("video")
        if self._sound and (picture is None or not picture.depacketizer.open):
            units += self._release_sound()
        return units

    def _release_sound(self) -> list[PlacedUnit]:
        waiting, self._sound = self._sound, []
        return [placed for done, came in waiting for placed in self._on_timeline("audio", done, came)]

    def _on_timeline(self, kind: Kind, done: Sequence[Unit], came: tuple[float, int]) -> list[PlacedUnit]:
        """Returns the units that can be placed, with these of a track; `came`: as in `_Stream.heard`."""
        units: list[PlacedUnit] = []
        for unit in done:
            units += self._placement.push(kind, unit, now=came[0], wall_us=came[1])
        return units
