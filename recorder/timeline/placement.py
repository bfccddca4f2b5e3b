"""One producer's units -> moments on its timeline, the first of them once its tracks can be put in step.

Owns which track of the timeline a unit belongs to, and the hold at the beginning. Never reads a clock: `now` and wall
times come in.

Until a track's first sender report only its arrival tells where it stands, and a video encoder takes longer than one of
sound. So nothing is placed before all tracks that are expected have reported, for at most a second: no longer than a
part of a file takes to be written anyway, so that a crash costs no more.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from recorder.depacketize.units import PlacedUnit, Unit
from recorder.timeline.timeline import Timeline, TimelineTrack
from sfu.rtc.sdp.codec import Kind

_HOLD_S: Final = 1.0
_MAX_HELD: Final = 512


class Placement:
    """One producer's time. Moments come out in the order in which their units came in."""

    def __init__(self, expected: Collection[Kind]) -> None:
        """`expected`: the tracks that were negotiated. One alone has nothing to be in step with."""
        self._expected = frozenset(expected)
        self._timeline = Timeline()
        self._tracks: dict[Kind, tuple[int, TimelineTrack]] = {}
        self._holding = len(self._expected) > 1
        self._held: list[tuple[Kind, Unit, float, int]] = []

    def begin(self, track: Kind, clock_rate: int) -> list[PlacedUnit]:
        """What follows in `track` is another stream (SSRC, codec), or the first, in ticks of `clock_rate`.

        What was held of the one before.
        """
        rate, known = self._tracks.get(track, (0, None))
        moments = self.release() if known is not None else []
        if known is not None and rate == clock_rate:
            known.restart()
        else:
            self._tracks[track] = clock_rate, self._timeline.track(clock_rate)
        return moments

    def on_sender_report(self, track: Kind, ntp: int, media_time: int, *, now: float) -> list[PlacedUnit]:
        """At `ntp`, 64 bits by the producer's clock, the media time was `media_time`; what had waited for that."""
        self._tracks[track][1].on_sender_report(ntp, media_time, now=now)
        return self.tick(now=now)

    def push(self, track: Kind, unit: Unit, *, now: float, wall_us: int) -> list[PlacedUnit]:
        """One unit, which came `now`, in s of a monotonic clock, at `wall_us`, in us of UTC; what can be placed."""
        if not self._holding:
            return [PlacedUnit(track, unit, self._tracks[track][1].at(unit.media_time, now=now, wall_us=wall_us))]
        self._held.append((track, unit, now, wall_us))
        return self.tick(now=now)

    def tick(self, *, now: float) -> list[PlacedUnit]:
        """Called now and then: what has waited long enough."""
        if not self._held or not (self._in_step() or self._waited(now)):
            return []
        return self.release()

    def release(self) -> list[PlacedUnit]:
        """What is held, by what is known: nothing more will come, or it will be another stream. Ends the hold."""
        self._holding = False
        held, self._held = self._held, []
        for kind, (_, track) in self._tracks.items():
            track.foresee([(unit.media_time, now) for of, unit, now, _ in held if of == kind])
        moments = []
        for kind, unit, now, wall_us in held:
            placed = self._tracks[kind][1].at(unit.media_time, now=now, wall_us=wall_us)
            moments.append(PlacedUnit(kind, unit, placed))
        return moments

    def _in_step(self) -> bool:
        return all(kind in self._tracks and self._tracks[kind][1].reported for kind in self._expected)

    def _waited(self, now: float) -> bool:
        return now - self._held[0][2] >= _HOLD_S or len(self._held) >= _MAX_HELD
