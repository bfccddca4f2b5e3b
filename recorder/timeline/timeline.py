"""Media times and sender reports of one producer's tracks -> one wall clock.

Owns the position of each track on it. Never reads a clock: `now` comes in, in seconds of a monotonic clock, for all
measurements; the wall time only gives the monotonic clock its date.

The sender reports of a track turn its media times into the camera's time (RFC 3550 section 6.4.1), and the offset that
all tracks share turns that into our time. A track without reports is placed by the arrival of its packets. Corrections
of less than a second are made in small steps, and so that sound and picture are together within two seconds; a larger
one at once. Reports that say otherwise than the arrival of packets, and than another track, move nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from recorder.timeline.clocks import (
    DELAY_WINDOW_US,
    IMPLAUSIBLE_US,
    JUMP_US,
    REORDERED_BACK_US,
    STEP_US,
    US,
    CameraClock,
    MediaAxis,
    WallClock,
    slewed,
)
from sfu.media.windowed_minimum import WindowedMinimum

_NOISE_US: Final = US // 50
"""A report that differs by more than this needs a second one that agrees."""
_PACE_RATIO: Final = 0.002
"""Small corrections, in microseconds for each microsecond that passes: clocks drift twenty times slower."""
_APART_US: Final = US * 7 // 100
"""An error that is seen and heard: more than the delays of usual encoders differ."""
_APART_PACE_RATIO: Final = 0.5
"""Correction of such an error: a second of it is gone within two."""
_MAX_AHEAD: Final = 4
_RECENT_US: Final = US
"""Window of the delays that count as recent."""


class Timeline:
    """The time of one producer. Tracks may be added at any time."""

    def __init__(self) -> None:
        self._tracks: list[TimelineTrack] = []
        self._camera = CameraClock()
        self._wall = WallClock()

    def track(self, clock_rate: int, *, reorders: bool = False) -> TimelineTrack:
        """Adds a track with media times in ticks of `clock_rate`.

        `reorders`: True if units may come in another order than their media times.
        """
        axis = MediaAxis(clock_rate, REORDERED_BACK_US) if reorders else MediaAxis(clock_rate)
        track = TimelineTrack(axis, clock_rate, self._tracks, self._camera, self._wall, reorders=reorders)
        self._tracks.append(track)
        return track


class TimelineTrack:
    """One track's media times on its producer's timeline."""

    def __init__(
        self,
        axis: MediaAxis,
        clock_rate: int,
        tracks: list[TimelineTrack],
        camera: CameraClock,
        wall: WallClock,
        *,
        reorders: bool,
    ) -> None:
        self.correction = 0.0
        """Microseconds added to the camera's clock, because it was set meanwhile."""
        self._tracks = tracks
        self._camera = camera
        self._wall = wall
        self._clock_rate = clock_rate
        self._axis = axis
        self._reorders = reorders
        self._went_back = False
        """True if units were reordered: those that are sent ahead seem to come early."""
        self._ahead: deque[tuple[int, int]] = deque(maxlen=_MAX_AHEAD)
        """(position, our time) of the latest units that were later than all before, where units are reordered."""
        self._delays = WindowedMinimum(DELAY_WINDOW_US)
        self._recent = WindowedMinimum(_RECENT_US)
        self._usual: float | None = None
        """The least recent delay at the latest accepted report."""
        self._extra = 0.0
        """Microseconds by which sender reports place this track earlier than its arrival does."""
        self._shift: float | None = None
        """Our time minus the axis position."""
        self._report: int | None = None
        """The camera's time minus the axis position; None without a report since the last jump."""
        self._candidate: int | None = None
        """The same by a report that no second one has confirmed yet."""
        self._early: tuple[int, int, int] | None = None
        """(NTP time in us, media time, arrival in us) of a report that came before the first packet."""
        self._foreseen: float | None = None
        """The least delay of the units announced by `foresee`."""
        self._last = 0
        self._placed = 0
        """The latest answer of `at`."""
        self._sets = 0
        """Times that the wall clock had been set by then."""

    @property
    def reported(self) -> bool:
        """True if the track had a report since the last jump."""
        return self._report is not None or self._early is not None

    @property
    def lag(self) -> float | None:
        """Returns how much later than reported its packets come, by the camera's clock; None without a report."""
        return None if self._report is None else self._recent.least - self.correction - self._report

    def restart(self) -> None:
        """Begins a new stream (SSRC): its media times are unrelated to the last one."""
        self._axis.restart()
        self._early = None

    def on_sender_report(self, ntp: int, media_time: int, *, now: float) -> None:
        """Uses a sender report: at `ntp` (64 bits, the producer's clock) the media time was `media_time`."""
        self._use_report(self._camera.unwrapped_us(ntp), media_time, int(now * US))

    def foresee(self, arrivals: Sequence[tuple[int, float]]) -> None:
        """Announces (media time, arrival) of the next units for `at`; the least delayed one places them all."""
        axis = MediaAxis(self._clock_rate, REORDERED_BACK_US) if self._reorders else MediaAxis(self._clock_rate)
        for number, (media_time, now) in enumerate(arrivals):
            now_us = int(now * US)
            if not axis.advance(media_time, now_us) and number:
                return
            delay = now_us - axis.position
            self._foreseen = delay if self._foreseen is None else min(self._foreseen, delay)

    def at(self, media_time: int, *, now: float, wall_us: int) -> int:
        """Returns the capture time of `media_time`, which arrives now, in microseconds of UTC since 1970.

        It is never less than before, unless our wall clock was set back or by more than a second: the track was wrong.
        Where units are reordered, our times are in the order of their media times.
        """
        now_us = int(now * US)
        before = self._ahead[-1][0] if self._ahead else self._axis.position
        if not self._axis.advance(media_time, now_us):
            self._jumped(now_us)
        position = self._axis.position
        self._delays.add(now_us - position, now_us)
        self._recent.add(now_us - position, now_us)
        self._follow(self._target(position, now_us), position - before)
        if self._ahead and position < self._ahead[-1][0]:
            return self._wall.wall_time(self._between(position), now_us, wall_us)
        there = position + int(self._shift or 0)
        if there < self._last - STEP_US:
            self._last, self._placed = there, 0
            self._ahead.clear()
        self._last = max(self._last, there)
        if self._reorders:
            self._ahead.append((position, self._last))
        placed = self._wall.wall_time(self._last, now_us, wall_us)
        # Of units with the same media time, the later one must not be placed earlier by a small correction.
        if self._wall.sets == self._sets:
            placed = max(placed, self._placed)
        self._sets, self._placed = self._wall.sets, placed
        return placed

    def _between(self, position: int) -> int:
        """Returns our time of a unit that comes after one with a later media time."""
        self._went_back = True
        ahead = self._ahead
        for (earlier, begin), (later, end) in pairwise(ahead):
            if earlier <= position < later:
                return begin + (position - earlier) * (end - begin) // (later - earlier)
        return ahead[0][1] - max(0, ahead[0][0] - position)

    def _jumped(self, now_us: int) -> None:
        """Begins anew after a jump: until the next report the arrival counts, minus the earlier reports' correction."""
        if self._report is not None and self._camera.offset is not None:
            self._extra = max(0.0, self._delays.least - self._report - self.correction - self._camera.offset)
        least, self._foreseen = self._foreseen, None
        self._delays, self._recent = WindowedMinimum(DELAY_WINDOW_US), WindowedMinimum(_RECENT_US)
        for delays in (self._delays, self._recent):
            delays.add(now_us - self._axis.position if least is None else least, now_us)
        if self._shift is not None:
            self._shift = self._delays.least - self._extra
        self._report = self._candidate = None
        early, self._early = self._early, None
        if early is not None:
            self._use_report(*early)

    def _target(self, position: int, now_us: int) -> float:
        """Returns the value that the shift should have."""
        if self._report is None:
            return self._delays.least - self._extra
        begin = None if self._shift is None else position + self._shift
        taken = position + self._report + self.correction
        return self._camera.to_ours(taken, now_us, begin) - position

    def _follow(self, target: float, elapsed_us: int) -> None:
        """Moves the shift towards `target`."""
        known = self._report is not None
        error = abs(target - (self._shift or 0.0))
        if self._shift is None or error > (STEP_US if known else JUMP_US):
            self._shift = target
        else:
            pace = _APART_PACE_RATIO if known and error > _APART_US else _PACE_RATIO
            tolerance = REORDERED_BACK_US if self._went_back and not known else _NOISE_US
            self._shift = slewed(self._shift, target, max(0, elapsed_us), pace=pace, tolerance=tolerance)

    def _use_report(self, ntp_us: int, media_time: int, now_us: int) -> None:
        """Accepts a report, keeps it as a candidate, or keeps it for the first packet."""
        position = self._axis.locate(media_time)
        if position is None:
            self._early = ntp_us, media_time, now_us
            return
        if not self._axis.reaches(media_time, now_us):
            return  # a report of nothing that this track sends
        found, transit = ntp_us - position, now_us - ntp_us
        if self._report is None:
            correction = self._camera.correction(transit, [track.correction for track in self._tracks])
            if not self._plausible(found + correction) and not self._confirmed(found):
                return
            self.correction = correction
        elif abs(change := found - self._report) > _NOISE_US:
            if self._arrival_moved(change):
                self._shift = None if self._shift is None else self._shift + max(0, change)
            elif not self._confirmed(found):
                return
            if self._camera.was_set(transit - self.correction, change) or self._contradicted(self._report, found):
                self.correction -= change
        self._report, self._candidate = found, None
        self._usual = self._recent.least
        self._camera.reported(transit - self.correction, now_us)

    def _plausible(self, report: float) -> bool:
        """True if a first report places the track near the arrival of its packets."""
        offset = self._camera.offset
        return offset is None or self._shift is None or abs(report + offset - self._shift) < IMPLAUSIBLE_US

    def _arrival_moved(self, change: float) -> bool:
        """True if packets come later or earlier by `change`: the media times skipped or were set."""
        return self._usual is not None and abs(self._recent.least - self._usual - change) <= _NOISE_US

    def _contradicted(self, known: int, found: int) -> bool:
        """True if a report that moves the track from `known` to `found` is wrong.

        Then its packets come as before, and as late as those of another track only if nothing is moved.
        """
        change, moved = found - known, self._recent.least - (self._usual or 0.0)
        if abs(moved) >= abs(moved - change):
            return False
        lag = self._recent.least - self.correction - known
        others = [track.lag for track in self._tracks if track is not self and track.lag is not None]
        return any(abs(lag - other) < abs(lag - change - other) for other in others)

    def _confirmed(self, found: int) -> bool:
        """True if the report before agrees; keeps this one for the next comparison."""
        before, self._candidate = self._candidate, found
        return before is not None and abs(found - before) <= _NOISE_US
