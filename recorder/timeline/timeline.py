"""Media times and sender reports of one producer's tracks -> one wall clock.

Owns where each track stands on it. Never reads a clock: `now` comes in, in seconds of a monotonic clock, for all that
is measured, and the wall time only to name the moment at which that clock stands.

A media time becomes a time of the camera by the sender reports of its track (RFC 3550 section 6.4.1), and that a time
of ours by what all tracks share. A track without reports is put where its packets arrive. Corrections are made little
by little: what is recorded never jumps unless the media did.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from recorder.timeline.clocks import DELAY_WINDOW_US, IMPLAUSIBLE, JUMP, US, CameraClock, MediaAxis, WallClock, slewed
from sfu.media.windowed_minimum import WindowedMinimum

_NOISE: Final = US // 50
"""Reports that differ by more than this need a second one that agrees."""
_PACE: Final = 0.002
"""Of small corrections, in us a us: clocks drift twenty times slower."""
_RECENT: Final = US


class Timeline:
    """One producer's time. Tracks may come at any moment; another producer needs another timeline."""

    def __init__(self) -> None:
        self._tracks: list[TimelineTrack] = []
        self._camera = CameraClock()
        self._wall = WallClock()

    def track(self, clock_rate: int) -> TimelineTrack:
        """One more track, its media times in ticks of `clock_rate`."""
        track = TimelineTrack(clock_rate, self._tracks, self._camera, self._wall)
        self._tracks.append(track)
        return track


class TimelineTrack:
    """One track's media times on its producer's timeline."""

    def __init__(self, clock_rate: int, tracks: list[TimelineTrack], camera: CameraClock, wall: WallClock) -> None:
        self.correction = 0.0
        """What is added to the camera's clock, in us, because it was set while we watched."""
        self._tracks = tracks
        self._camera = camera
        self._wall = wall
        self._clock_rate = clock_rate
        self._axis = MediaAxis(clock_rate)
        self._delays = WindowedMinimum(DELAY_WINDOW_US)
        self._recent = WindowedMinimum(_RECENT)
        self._usual: float | None = None
        """The least delay of late when a report was last believed."""
        self._extra = 0.0
        """By how much reports have put this track before its arrival."""
        self._shift: float | None = None
        """From the axis to our time."""
        self._report: int | None = None
        """From the axis to the camera's time; None without a report since the last jump."""
        self._candidate: int | None = None
        """The same by a report that nothing has confirmed yet."""
        self._early: tuple[int, int, int] | None = None
        """A report that came before the media times it speaks of."""
        self._foreseen: float | None = None
        """The least delay of units that `at` will be asked for."""
        self._last = 0

    @property
    def reported(self) -> bool:
        """Whether a report tells where the track stands."""
        return self._report is not None or self._early is not None

    def restart(self) -> None:
        """The next media time has nothing to do with the last one: a new SSRC."""
        self._axis.restart()
        self._early = None

    def on_sender_report(self, ntp: int, media_time: int, *, now: float) -> None:
        """At `ntp`, 64 bits by whatever clock the producer has, the track's media time was `media_time`."""
        self._take(ntp * US >> 32, media_time, int(now * US))

    def foresee(self, arrivals: Sequence[tuple[int, float]]) -> None:
        """(media time, when it came) of units that `at` will be asked for: the least delayed of them tells for all."""
        axis = MediaAxis(self._clock_rate)
        for number, (media_time, now) in enumerate(arrivals):
            now_us = int(now * US)
            if not axis.advance(media_time, now_us) and number:
                return
            delay = now_us - axis.position
            self._foreseen = delay if self._foreseen is None else min(self._foreseen, delay)

    def at(self, media_time: int, *, now: float, wall_us: int) -> int:
        """When `media_time`, which arrives now, was taken: us of UTC since 1970, never less than the last answer."""
        now_us = int(now * US)
        before = self._axis.position
        if not self._axis.advance(media_time, now_us):
            self._jumped(now_us)
        position = self._axis.position
        self._delays.add(now_us - position, now_us)
        self._recent.add(now_us - position, now_us)
        self._follow(self._target(position, now_us), position - before)
        self._last = max(self._last, position + int(self._shift or 0))
        return self._wall.name(self._last, now_us, wall_us)

    def _jumped(self, now_us: int) -> None:
        """Reports speak of media times that are gone; until the next one arrival tells, less what they had told."""
        if self._report is not None and self._shift is not None:
            self._extra = self._delays.least - self._shift
        least, self._foreseen = self._foreseen, None
        self._delays, self._recent = WindowedMinimum(DELAY_WINDOW_US), WindowedMinimum(_RECENT)
        for delays in (self._delays, self._recent):
            delays.add(now_us - self._axis.position if least is None else least, now_us)
        self._report = self._candidate = None
        early, self._early = self._early, None
        if early is not None:
            self._take(*early)

    def _target(self, position: int, now_us: int) -> float:
        """Where the shift should be."""
        if self._report is None:
            return self._delays.least - self._extra
        begin = None if self._shift is None else position + self._shift
        taken = position + self._report + self.correction
        return self._camera.to_ours(taken, now_us, begin) - position

    def _follow(self, target: float, elapsed_us: int) -> None:
        if self._shift is None or abs(target - self._shift) > JUMP:
            self._shift = target
        else:
            self._shift = slewed(self._shift, target, max(0, elapsed_us), pace=_PACE, tolerance=_NOISE)

    def _take(self, ntp_us: int, media_time: int, now_us: int) -> None:
        position = self._axis.locate(media_time)
        if position is None:
            self._early = ntp_us, media_time, now_us
            return
        found, transit = ntp_us - position, now_us - ntp_us
        if self._report is None:
            correction = self._camera.correction(transit, [track.correction for track in self._tracks])
            if not self._plausible(found + correction) and not self._confirmed(found):
                return
            self.correction = correction
        elif abs(change := found - self._report) > _NOISE:
            if self._arrives_so(change):
                self._shift = None if self._shift is None else self._shift + max(0, change)
            elif not self._confirmed(found):
                return
            if self._camera.was_set(transit - self.correction, change):
                self.correction -= change
        self._report, self._candidate = found, None
        self._usual = self._recent.least
        self._camera.reported(transit - self.correction, now_us)

    def _plausible(self, report: float) -> bool:
        """Whether a first report puts the track somewhere near where its packets arrive."""
        offset = self._camera.offset
        return offset is None or self._shift is None or abs(report + offset - self._shift) < IMPLAUSIBLE

    def _arrives_so(self, change: float) -> bool:
        """Whether packets come later or earlier by as much: media times left something out, or were set."""
        return self._usual is not None and abs(self._recent.least - self._usual - change) <= _NOISE

    def _confirmed(self, found: int) -> bool:
        """Whether the report before said the same; it is remembered to be asked."""
        before, self._candidate = self._candidate, found
        return before is not None and abs(found - before) <= _NOISE
