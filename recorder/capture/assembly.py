"""One producer's packets and reports -> its units, each at its wall time.

Owns the way of every packet through its track: into order, into units, onto the timeline. Never decides what is
recorded, never reads a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from recorder.capture.reorder import Arrival, Reorder
from recorder.depacketize import Depacketizer
from recorder.depacketize.units import PlacedUnit
from recorder.timeline.placement import Placement
from sfu.rtc.sdp.codec import Codec, Kind


@dataclass(frozen=True, slots=True)
class Report:
    """A sender report: at `ntp` (64-bit NTP) the track's media time was `media_time`; it came at `now`."""

    kind: Kind
    ntp: int
    media_time: int
    now: float


class _Stream:
    """What one SSRC in one codec needs."""

    def __init__(self, kind: Kind, codec: Codec, ssrc: int) -> None:
        self.kind = kind
        self.codec = codec
        self.ssrc = ssrc
        self.reorder = Reorder(codec)
        self.depacketizer = Depacketizer(codec)

    def continues(self, arrival: Arrival) -> bool:
        return arrival.packet.ssrc == self.ssrc and (arrival.codec is self.codec or arrival.codec == self.codec)

    def drops(self) -> Mapping[str, int]:
        drops = {f"{reason.value}_unit": count for reason, count in self.depacketizer.drops.items()}
        return drops | {"late": self.reorder.late}


class Assembly:
    """One producer: a track of each kind, whose streams may follow each other (another SSRC, layer or codec).

    `expected`: the kinds that were negotiated. Everywhere `epoch_us` is the wall time, in us of UTC since 1970, at
    which the monotonic clock of `now` (seconds) stood at 0.
    """

    def __init__(self, expected: Collection[Kind]) -> None:
        self._placement = Placement(expected)
        self._streams: dict[Kind, _Stream] = {}
        self._early: dict[Kind, Report] = {}
        """What was reported of tracks from which nothing has come."""
        self._ended: Counter[str] = Counter()

    def take(self, arrival: Arrival, epoch_us: int) -> list[PlacedUnit]:
        """The moments that a packet makes complete."""
        stream = self._streams.get(arrival.kind)
        if stream is not None and stream.continues(arrival):
            return self._placed(stream, stream.reorder.push(arrival), epoch_us)
        left = [] if stream is None else self._placed(stream, stream.reorder.flush(), epoch_us)
        left += self._begin(arrival, stream)
        begun = self._streams[arrival.kind]
        return left + self._placed(begun, begun.reorder.push(arrival), epoch_us)

    def report(self, report: Report) -> list[PlacedUnit]:
        """What a camera says of its clocks, and the moments that waited for it."""
        if report.kind not in self._streams:
            self._early[report.kind] = report
            return []
        return self._placement.on_sender_report(report.kind, report.ntp, report.media_time, now=report.now)

    def expired(self, now: float, epoch_us: int) -> list[PlacedUnit]:
        """What has waited long enough, for packets or for reports; to be asked now and then."""
        moments: list[PlacedUnit] = []
        for stream in self._streams.values():
            moments += self._placed(stream, stream.reorder.expired(now), epoch_us)
        return moments + self._placement.tick(now=now)

    def flush(self, epoch_us: int) -> list[PlacedUnit]:
        """What waits still, at the end."""
        moments: list[PlacedUnit] = []
        for stream in self._streams.values():
            moments += self._placed(stream, stream.reorder.flush(), epoch_us)
        return moments + self._placement.release()

    def drops(self) -> Counter[str]:
        """Packets (`late`) and units that nobody can use, by reason."""
        total = Counter(self._ended)
        for stream in list(self._streams.values()):  # another thread may ask
            total.update(stream.drops())
        return total

    def _begin(self, arrival: Arrival, before: _Stream | None) -> list[PlacedUnit]:
        """Another stream of a track; what waited of the one before."""
        kind, codec = arrival.kind, arrival.codec
        if before is not None:
            self._ended.update(before.drops())
        self._streams[kind] = _Stream(kind, codec, arrival.packet.ssrc)
        moments = self._placement.begin(kind, codec.clock_rate)
        early = self._early.pop(kind, None)
        return moments if early is None else moments + self.report(early)

    def _placed(self, stream: _Stream, ready: Sequence[Arrival], epoch_us: int) -> list[PlacedUnit]:
        moments: list[PlacedUnit] = []
        for arrival in ready:
            for unit in stream.depacketizer.push(arrival.packet):
                wall_us = epoch_us + int(arrival.now * 1e6)
                moments += self._placement.push(stream.kind, unit, now=arrival.now, wall_us=wall_us)
        return moments
