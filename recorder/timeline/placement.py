"""One producer's units, placed on its timeline; the first ones are held until its tracks can be synchronized.

Owns which track of the timeline a unit belongs to, and the hold at the beginning. Never reads a clock: `now` and wall
times come in.

Before a track's first sender report its position is known from arrival times only, and video encoders take longer than
audio encoders. So no unit is placed before all expected tracks have had a report, for at most a second. A part of a
file takes as long to be written, so that a crash costs no more.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from recorder.depacketize.units import PlacedUnit, Unit
from recorder.timeline.timeline import Timeline, TimelineTrack
from sfu.rtc.sdp.codec import Kind

_HOLD_S: Final = 1.0
"""Longest wait for sender reports."""
_MAX_HELD_UNITS: Final = 512


class Placement:
    """The placement of one producer's units. They come out in the order in which they came in."""

    def __init__(self, expected: Collection[Kind]) -> None:
        """Makes a placement. `expected`: the tracks that were negotiated; a single one need not wait for another."""
        self._expected = frozenset(expected)
        self._timeline = Timeline()
        self._tracks: dict[Kind, tuple[tuple[int, bool], TimelineTrack]] = {}
        self._holding = len(self._expected) > 1
        self._held: list[tuple[Kind, Unit, float, int]] = []

    def begin(self, track: Kind, clock_rate: int, *, reorders: bool = False) -> list[PlacedUnit]:
        """Begins another stream (SSRC, codec) of `track`, or its first, with media times in ticks of `clock_rate`.

        `reorders`: as in `Timeline.track`. Returns the units that were held of the stream before.
        """
        form = clock_rate, reorders
        before, known = self._tracks.get(track, (form, None))
        units = self.release() if known is not None else []
        if known is not None and before == form:
            known.restart()
        else:
            self._tracks[track] = form, self._timeline.track(clock_rate, reorders=reorders)
        return units

    def on_sender_report(self, track: Kind, ntp: int, media_time: int, *, now: float) -> list[PlacedUnit]:
        """Uses a report (media time at `ntp`, 64 bits) and returns the units that waited for it."""
        self._tracks[track][1].on_sender_report(ntp, media_time, now=now)
        return self.tick(now=now)

    def push(self, track: Kind, unit: Unit, *, now: float, wall_us: int) -> list[PlacedUnit]:
        """Adds a unit that came at `now` (monotonic seconds), `wall_us` (UTC); returns the units that can be placed."""
        if not self._holding:
            return [PlacedUnit(track, unit, self._tracks[track][1].at(unit.media_time, now=now, wall_us=wall_us))]
        self._held.append((track, unit, now, wall_us))
        return self.tick(now=now)

    def tick(self, *, now: float) -> list[PlacedUnit]:
        """Returns the units that have waited long enough. Call it several times a second."""
        if not self._held or not (self._synchronized() or self._waited(now)):
            return []
        return self.release()

    def release(self) -> list[PlacedUnit]:
        """Ends the hold and returns the held units, placed as well as is known now."""
        self._holding = False
        held, self._held = self._held, []
        for kind, (_, track) in self._tracks.items():
            track.foresee([(unit.media_time, now) for held_kind, unit, now, _ in held if held_kind == kind])
        units = []
        for kind, unit, now, wall_us in held:
            placed_us = self._tracks[kind][1].at(unit.media_time, now=now, wall_us=wall_us)
            units.append(PlacedUnit(kind, unit, placed_us))
        return units

    def _synchronized(self) -> bool:
        """True if all expected tracks have had a sender report."""
        return all(kind in self._tracks and self._tracks[kind][1].reported for kind in self._expected)

    def _waited(self, now: float) -> bool:
        return now - self._held[0][2] >= _HOLD_S or len(self._held) >= _MAX_HELD_UNITS
