"""One producer's recording: which units go into which segment.

Owns waiting for a key frame, writing and cutting. Never reads a clock and never touches a file: units come in with
their wall times, actions go out as values. To begin a recording in the past, push the units of the pre-roll first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from recorder.depacketize.units import REORDERING, CodecParameters, PlacedUnit, Unit
from recorder.segments.open_segment import BACK_US, GAP_US, OpenSegment
from sfu.rtc.sdp.codec import Kind


class SegmentEnd(StrEnum):
    """The reason why a segment ended."""

    LENGTH = "length"
    PARAMETERS = "parameters"
    """The resolution, codec or another parameter that a container holds only once has changed."""
    TRACKS = "tracks"
    """Packets of a track that the segment does not have have arrived."""
    GAP = "gap"
    """No media for too long, or the clock went back."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Open:
    """Begin a segment. Its time 0 is `start_us`, microseconds of UTC since 1970; at most one track of each kind."""

    start_us: int
    tracks: tuple[CodecParameters, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """Write one unit to the open segment."""

    track: Kind
    pts_us: int
    """Time from the segment's start: not negative, at least 1 ms after the track's previous unit, or before it."""
    duration_us: int | None
    """None if only the next unit's time gives it."""
    data: bytes
    key: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """Finish the open segment; another `Open` follows, at once or when media comes again."""

    reason: SegmentEnd


@dataclass(frozen=True, slots=True)
class Close:
    """Finish the open segment, if there is one: the recording has ended."""

    reason: SegmentEnd


@dataclass(frozen=True, slots=True)
class AskKeyFrame:
    """Ask the producer for a key frame; at most once in 500 ms."""


Action = Open | Write | Cut | Close | AskKeyFrame


_STEP_US: Final = 1000
"""Tick of the container with the coarsest clock, WebM."""
_HOLD_US: Final = 500_000
"""Longest wait of a segment's first video for the audio that is expected."""
_MAX_HELD_UNITS: Final = 256
_KEY_FRAME_REQUEST_S: Final = 0.5
"""Time between two key frame requests."""
_KEY_FRAME_INTERVAL_S: Final = 4.0
"""Longest time without a key frame. Browsers send them on request only, and a seek, clip or picture starts with one."""


class RecordingDrop(StrEnum):
    """The reason why a unit was not recorded."""

    WAITING_FOR_KEY_FRAME = "waiting_for_key_frame"
    BEFORE_VIDEO = "before_video"
    """Audio while video is expected, or from before the key frame that the segment begins with."""
    LEADING = "leading"
    """A picture shown before the key frame with which decoding begins: it needs pictures that are not there."""
    NO_TRACK = "no_track"
    """Audio for which the open segment has no track; the next key frame will cut the segment."""


class Recording:
    """The recording of one producer: units in, actions out, in order.

    Segments are cut at key frames: after `segment_us`, when the parameters of a track change, or when another track
    begins to flow. A gap of more than 5 s ends a segment at once; the next one waits up to half a second for the tracks
    that are expected. Pictures whose times go back more than a second end it too; sound that does, at the next key
    frame. After lost video no frame is written until the next key frame. Audio waits for the first video frame, at most
    5 s; when video stops, audio goes on alone and is cut at any unit.
    """

    def __init__(self, expected: Collection[Kind], *, segment_us: int = 600_000_000) -> None:
        """Makes a recording. `expected`: the tracks that were negotiated; not all of them need to flow."""
        self.drops = dict.fromkeys(RecordingDrop, 0)
        self._expected = frozenset(expected)
        self._segment_us = segment_us
        self._segment: OpenSegment | None = None
        self._parameters: dict[Kind, CodecParameters] = {}
        self._audio_at: float | None = None
        """When the last audio came."""
        self._held: list[PlacedUnit] = []
        """Video that waits for audio, from a key frame on."""
        self._needs_key = True
        self._video_us: int | None = None
        """Wall time of the last video that was written, or of the beginning of the wait for it."""
        self._shown_from_us: int | None = None
        """Wall time of the key frame with which decoding begins."""
        self._pushed_at = 0.0
        self._key_at = 0.0
        self._requested_at: float | None = None
        self._closed = False

    def push(self, track: Kind, unit: Unit, wall_us: int, *, now: float) -> list[Action]:
        """Adds the next unit of a track, captured at `wall_us` (microseconds of UTC since 1970); `now` in seconds."""
        actions: list[Action] = []
        if self._closed:
            return actions
        self._pushed_at = now
        if self._video_us is None:
            self._video_us = wall_us
        if track == "audio" and unit.parameters is not None:
            self._audio_at = now
            self._parameters["audio"] = unit.parameters
        placed = PlacedUnit(track, unit, wall_us)
        self._cut_at_gap(placed, now, actions)
        if not self._hold(placed, now):
            self._release(actions, now)
            self._process(placed, actions, now)
        return actions

    def tick(self, *, now: float) -> list[Action]:
        """Finishes a segment to which no unit comes any more. Call it several times a second."""
        actions: list[Action] = []
        if self._held and now - self._pushed_at > _HOLD_US / 1e6:
            self._release(actions, now)
        if self._segment is not None and now - self._pushed_at > GAP_US / 1e6:
            self._cut(SegmentEnd.GAP, actions)
            self._video_us = None
        return actions

    def close(self, reason: SegmentEnd = SegmentEnd.STOPPED) -> list[Action]:
        """Ends the recording; later units are ignored."""
        if self._closed:
            return []
        actions: list[Action] = []
        self._release(actions, self._pushed_at)
        self._closed = True
        self._segment = None
        return [*actions, Close(reason)]

    def _cut_at_gap(self, placed: PlacedUnit, now: float, actions: list[Action]) -> None:
        """Ends the segment if its leading track was silent for too long before this unit, or went back."""
        segment, wall_us = self._segment, placed.wall_us
        if segment is None:
            return
        if not segment.ends_before(placed.track, wall_us, now):
            last_us = segment.last_us.get(placed.track, wall_us)
            segment.went_back = segment.went_back or wall_us - last_us < -BACK_US
            return
        if not -BACK_US <= segment.since("audio", wall_us) <= GAP_US:
            self._video_us = wall_us  # all tracks were silent: wait for video again
        self._cut(SegmentEnd.GAP, actions)

    def _hold(self, placed: PlacedUnit, now: float) -> bool:
        """Keeps video that would open a segment without the audio that is expected; True if it was kept."""
        held = self._held
        if self._segment is not None or "audio" not in self._expected or self._has_audio(now):
            return False
        if held and (placed.wall_us - held[0].wall_us >= _HOLD_US or len(held) >= _MAX_HELD_UNITS):
            return False
        if held or placed.unit.key:
            held.append(placed)
            return True
        return False

    def _release(self, actions: list[Action], now: float) -> None:
        """Processes the video that waits for audio."""
        held, self._held = self._held, []
        for placed in held:
            self._process(placed, actions, now)

    def _process(self, placed: PlacedUnit, actions: list[Action], now: float) -> None:
        """Writes a unit, or drops it."""
        accepts = self._accepts_video if placed.track == "video" else self._accepts_audio
        if accepts(placed, actions, now):
            self._write(placed, actions)

    def _accepts_video(self, placed: PlacedUnit, actions: list[Action], now: float) -> bool:
        """True if the unit is to be written; cuts the segment before it if necessary."""
        unit, wall_us = placed.unit, placed.wall_us
        if unit.parameters is not None:
            self._parameters["video"] = unit.parameters
        begins, self._needs_key = self._needs_key, (self._needs_key or unit.lost) and not unit.key
        if self._needs_key:
            self._request_key_frame(actions, now)
            return self._dropped(RecordingDrop.WAITING_FOR_KEY_FRAME)
        tracks: list[Kind] = ["video", "audio"] if self._has_audio(now) else ["video"]
        if unit.key:
            self._key_at = now
            if self._begin_segment(tracks, wall_us, actions) or begins or unit.lost:
                self._shown_from_us = wall_us
        elif self._leads(wall_us):
            return self._dropped(RecordingDrop.LEADING)
        elif self._segment is not None and (
            self._cut_reason(self._segment, tracks, wall_us)
            or self._segment.turns(unit)
            or self._key_frame_overdue(now)
        ):
            self._request_key_frame(actions, now)
        self._needs_key = False
        self._video_us = wall_us
        return True

    def _leads(self, wall_us: int) -> bool:
        """True if a picture is shown before the key frame with which decoding begins."""
        since_us = self._shown_from_us
        return since_us is not None and wall_us < since_us and self._parameters["video"].codec in REORDERING

    def _accepts_audio(self, placed: PlacedUnit, actions: list[Action], now: float) -> bool:
        """True if the unit is to be written; cuts the segment before it if necessary."""
        wall_us = placed.wall_us
        segment = self._segment
        if segment is None and self._awaits_video(wall_us):
            return self._dropped(RecordingDrop.BEFORE_VIDEO)
        if segment is None or segment.leading_track == "audio":
            self._begin_segment(["audio"], wall_us, actions)
        elif segment.tracks.get("audio") != self._parameters["audio"]:
            self._request_key_frame(actions, now)
            return self._dropped(RecordingDrop.NO_TRACK)
        elif wall_us < segment.start_us:
            return self._dropped(RecordingDrop.BEFORE_VIDEO)
        return True

    def _awaits_video(self, wall_us: int) -> bool:
        """True if audio has to wait for video."""
        expected = "video" in self._expected or "video" in self._parameters
        return expected and self._video_us is not None and abs(wall_us - self._video_us) <= GAP_US

    def _has_audio(self, now: float) -> bool:
        """True if audio flows. Measured by `now`: wall times jump when a clock is set."""
        return self._audio_at is not None and now - self._audio_at <= GAP_US / 1e6

    def _begin_segment(self, tracks: Sequence[Kind], wall_us: int, actions: list[Action]) -> bool:
        """Begins a segment here if none is open or the open one has to be cut; True if it did."""
        if self._segment is not None:
            reason = self._cut_reason(self._segment, tracks, wall_us)
            if reason is None:
                return False
            self._cut(reason, actions)
        self._segment = OpenSegment(wall_us, {track: self._parameters[track] for track in tracks})
        actions.append(Open(wall_us, tuple(self._segment.tracks.values())))
        return True

    def _cut_reason(self, segment: OpenSegment, tracks: Sequence[Kind], wall_us: int) -> SegmentEnd | None:
        """Returns the reason to cut the segment at the next key frame; None to go on."""
        if any(self._parameters[track] != known for track, known in segment.tracks.items()):
            return SegmentEnd.PARAMETERS
        if any(track not in segment.tracks for track in tracks):
            return SegmentEnd.TRACKS
        if segment.went_back:
            return SegmentEnd.GAP
        return SegmentEnd.LENGTH if wall_us - segment.start_us >= self._segment_us else None

    def _cut(self, reason: SegmentEnd, actions: list[Action]) -> None:
        self._segment = None
        self._needs_key = True
        actions.append(Cut(reason))

    def _write(self, placed: PlacedUnit, actions: list[Action]) -> None:
        segment, track, unit = self._segment, placed.track, placed.unit
        if segment is None:
            return
        pts, last = placed.wall_us - segment.start_us, segment.last_pts.get(track, -_STEP_US)
        before_us = segment.until_us.get(track, placed.wall_us)
        if pts < 0 or placed.wall_us > before_us - _STEP_US or segment.tracks[track].codec not in REORDERING:
            pts = max(pts, last + _STEP_US)
        segment.last_pts[track] = max(pts, last)
        segment.until_us[track] = max(placed.wall_us, before_us)
        segment.last_us[track] = placed.wall_us
        if track == segment.leading_track:
            segment.led_at = self._pushed_at
        duration = unit.duration * 1_000_000 // segment.tracks[track].clock_rate if unit.duration else None
        actions.append(Write(track, pts, duration, unit.data, unit.key))

    def _key_frame_overdue(self, now: float) -> bool:
        """True if both the latest key frame and the latest request are long past: some cameras ignore requests."""
        return now - max(self._key_at, self._requested_at or 0.0) >= _KEY_FRAME_INTERVAL_S

    def _request_key_frame(self, actions: list[Action], now: float) -> None:
        """Asks for a key frame, unless that was done a moment ago."""
        if self._requested_at is None or not 0 <= now - self._requested_at < _KEY_FRAME_REQUEST_S:
            self._requested_at = now
            actions.append(AskKeyFrame())

    def _dropped(self, reason: RecordingDrop) -> bool:
        """Counts a drop; always False."""
        self.drops[reason] += 1
        return False
