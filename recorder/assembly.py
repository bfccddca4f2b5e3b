"""One producer's packets and reports -> its units, each at its wall time.

Owns the way of every packet through its track: into order, into units, onto the timeline. Never decides what is
recorded, never reads a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from recorder.depacketize import Depacketizer
from recorder.reorder import Arrival, Reorder
from recorder.timeline import Timeline, Track
from recorder.units import Moment
from sfu.rtc.codec import Codec, Kind


@dataclass(frozen=True, slots=True)
class Report:
    """A sender report: at `ntp` (64-bit NTP) the track's media time was `media_time`; it came at `now`."""

    kind: Kind
    ntp: int
    media_time: int
    now: float


class Come(NamedTuple):
    """A moment, and when the packet that completed it came, in seconds of a monotonic clock."""

    moment: Moment
    now: float


class _Stream:
    """What one SSRC in one codec needs."""

    def __init__(self, kind: Kind, codec: Codec, ssrc: int, clock: Track) -> None:
        self.kind = kind
        self.codec = codec
        self.ssrc = ssrc
        self.clock = clock
        self.reorder = Reorder(codec)
        self.depacketizer = Depacketizer(codec)

    def continues(self, arrival: Arrival) -> bool:
        return arrival.packet.ssrc == self.ssrc and (arrival.codec is self.codec or arrival.codec == self.codec)

    def units(self, ready: Sequence[Arrival], epoch_us: int) -> list[Come]:
        come = []
        for arrival in ready:
            for unit in self.depacketizer.push(arrival.packet):
                wall_us = epoch_us + int(arrival.now * 1e6)
                taken_us = self.clock.at(unit.media_time, now=arrival.now, wall_us=wall_us)
                come.append(Come(Moment(self.kind, unit, taken_us), arrival.now))
        return come

    def drops(self) -> Mapping[str, int]:
        torn = {f"{reason.value}_unit": count for reason, count in self.depacketizer.drops.items()}
        return torn | {"late": self.reorder.late}


class Assembly:
    """One producer: a track of each kind, whose streams may follow each other (another SSRC, layer or codec)."""

    def __init__(self) -> None:
        self._timeline = Timeline()
        self._streams: dict[Kind, _Stream] = {}
        self._ended: Counter[str] = Counter()

    def take(self, arrival: Arrival, epoch_us: int) -> list[Come]:
        """The units that a packet completes. `epoch_us`: the wall time at which the monotonic clock stood at 0."""
        stream = self._streams.get(arrival.kind)
        if stream is not None and stream.continues(arrival):
            return stream.units(stream.reorder.push(arrival), epoch_us)
        left = [] if stream is None else stream.units(stream.reorder.flush(), epoch_us)
        begun = self._begin(arrival, stream)
        return left + begun.units(begun.reorder.push(arrival), epoch_us)

    def report(self, report: Report) -> None:
        """What a camera says of its clocks."""
        stream = self._streams.get(report.kind)
        if stream is not None:
            stream.clock.on_sender_report(report.ntp, report.media_time, now=report.now)

    def expired(self, now: float, epoch_us: int) -> list[Come]:
        """What has waited long enough for packets that did not come again; to be asked now and then."""
        come: list[Come] = []
        for stream in self._streams.values():
            come += stream.units(stream.reorder.expired(now), epoch_us)
        return come

    def flush(self, epoch_us: int) -> list[Come]:
        """What waits still, at the end."""
        come: list[Come] = []
        for stream in self._streams.values():
            come += stream.units(stream.reorder.flush(), epoch_us)
        return come

    def drops(self) -> Counter[str]:
        """Packets (`late`) and units that nobody can use, by reason."""
        total = Counter(self._ended)
        for stream in self._streams.values():
            total.update(stream.drops())
        return total

    def _begin(self, arrival: Arrival, before: _Stream | None) -> _Stream:
        """Another stream of a track, on the track's clock unless that ticks at another rate."""
        codec = arrival.codec
        if before is not None and before.codec.clock_rate == codec.clock_rate:
            clock = before.clock
            clock.restart()
        else:
            clock = self._timeline.track(codec.clock_rate)
        if before is not None:
            self._ended.update(before.drops())
        stream = _Stream(arrival.kind, codec, arrival.packet.ssrc, clock)
        self._streams[arrival.kind] = stream
        return stream
