"""One producer's recording: which units go into which segment.

Owns waiting for a key frame, writing and cutting. Never reads a clock and never touches a file: units come in with
their wall times, what is to be done goes out as values. Whoever replays remembered units, oldest first and beginning
with a key frame, has a recording that begins in the past.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from recorder.depacketize.units import CodecParameters, PlacedUnit, Unit
from sfu.rtc.sdp.codec import Kind


class SegmentEnd(StrEnum):
    """Why a segment ended."""

    LENGTH = "length"
    PARAMETERS = "parameters"
    """Resolution, codec or anything else a container holds for the whole segment."""
    TRACKS = "tracks"
    """A track that the segment lacks has begun to flow."""
    GAP = "gap"
    """Nothing came for too long, or the clock went back."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Open:
    """Begin a segment whose time 0 is `start_us`, us of UTC since 1970; at most one track of each kind."""

    start_us: int
    tracks: tuple[CodecParameters, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """Put one unit into the open segment."""

    track: Kind
    pts_us: int
    """From the segment's start: not negative, and at least 1 ms after the track's previous one."""
    duration_us: int | None
    """None if only the next unit's time tells."""
    data: bytes
    key: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """Finish the open segment; the recording goes on with another `Open`, at once or once media comes again."""

    reason: SegmentEnd


@dataclass(frozen=True, slots=True)
class Close:
    """Finish the open segment, if there is one: the recording has ended."""

    reason: SegmentEnd


@dataclass(frozen=True, slots=True)
class AskKeyFrame:
    """Ask the producer for a key frame; at most one each 500 ms."""


Action = Open | Write | Cut | Close | AskKeyFrame


_GAP_US: Final = 5_000_000
_BACK_US: Final = 1_000_000
_STEP_US: Final = 1000
"""The coarsest clock of a container: WebM's."""
_HOLD_US: Final = 500_000
_MAX_HELD: Final = 256
_ASK_S: Final = 0.5
_KEY_S: Final = 4.0
"""Between two key frames. Browsers send them on request alone, and only there can a seek, a clip or a picture begin."""


class RecordingDrop(StrEnum):
    """Why a unit did not become part of the recording."""

    WAITING_FOR_KEY_FRAME = "waiting_for_key_frame"
    BEFORE_VIDEO = "before_video"
    """Sound while video is expected, or from before the key frame that the segment begins with."""
    NO_TRACK = "no_track"
    """Sound that the open segment was not declared to have; it waits for a key frame to cut at."""


@dataclass(slots=True)
class _Segment:
    start_us: int
    tracks: dict[Kind, CodecParameters]
    last_us: dict[Kind, int] = field(default_factory=dict)
    """When each track's last unit was taken."""
    last_pts: dict[Kind, int] = field(default_factory=dict)

    @property
    def leads(self) -> Kind:
        """The track at whose units the segment can be cut: at key frames if there is video."""
        return "video" if "video" in self.tracks else "audio"

    def silent(self, track: Kind, wall_us: int) -> bool:
        """Whether nothing of this track came for too long, or time went back."""
        since = wall_us - self.last_us.get(track, self.start_us)
        return since > _GAP_US or since < -_BACK_US


class Recording:
    """One producer's units -> what to do with them, in order.

    Segments are cut at key frames: after `segment_us`, when a container must be told something else, or a track begins
    to flow. A gap of more than 5 s ends a segment at once; the next one waits up to half a second for all that was
    expected to flow. Video that is lost stays out until the next key frame. Sound
    waits for the first picture, but not for more than 5 s; when video stops it goes on by itself, cut at any unit.
    """

    def __init__(self, expected: Collection[Kind], *, segment_us: int = 600_000_000) -> None:
        """`expected`: the tracks that were negotiated; whether they flow is found out."""
        self.drops = dict.fromkeys(RecordingDrop, 0)
        self._expected = frozenset(expected)
        self._segment_us = segment_us
        self._segment: _Segment | None = None
        self._parameters: dict[Kind, CodecParameters] = {}
        self._sound_at: float | None = None
        self._held: list[PlacedUnit] = []
        """Video that waits for sound, beginning with a key frame."""
        self._needs_key = True
        self._video_us: int | None = None
        """When video was last written, or since when it is waited for."""
        self._pushed_at = 0.0
        self._key_at = 0.0
        self._asked_at: float | None = None
        self._closed = False

    def push(self, track: Kind, unit: Unit, wall_us: int, *, now: float) -> list[Action]:
        """One unit, taken at `wall_us` (us of UTC since 1970), in the order of its track; `now` in seconds."""
        actions: list[Action] = []
        if self._closed:
            return actions
        self._pushed_at = now
        if self._video_us is None:
            self._video_us = wall_us
        if track == "audio" and unit.parameters is not None:
            self._sound_at = now
            self._parameters["audio"] = unit.parameters
        moment = PlacedUnit(track, unit, wall_us)
        self._break_off(wall_us, actions)
        if not self._hold(moment, now):
            self._release(actions, now)
            self._take(moment, actions, now)
        return actions

    def tick(self, *, now: float) -> list[Action]:
        """Called now and then: finishes a segment to which nothing comes any more."""
        actions: list[Action] = []
        if self._held and now - self._pushed_at > _HOLD_US / 1e6:
            self._release(actions, now)
        if self._segment is not None and now - self._pushed_at > _GAP_US / 1e6:
            self._cut(SegmentEnd.GAP, actions)
            self._video_us = None
        return actions

    def close(self, reason: SegmentEnd = SegmentEnd.STOPPED) -> list[Action]:
        """Ends the recording; what comes later is ignored."""
        if self._closed:
            return []
        actions: list[Action] = []
        self._release(actions, self._pushed_at)
        self._closed = True
        self._segment = None
        return [*actions, Close(reason)]

    def _break_off(self, wall_us: int, actions: list[Action]) -> None:
        """Ends a segment whose leading track has been silent for too long, now that something comes again."""
        segment = self._segment
        if segment is None or not segment.silent(segment.leads, wall_us):
            return
        if segment.silent("audio", wall_us):
            self._video_us = wall_us  # all was silent: what comes next may well have video
        self._cut(SegmentEnd.GAP, actions)

    def _hold(self, moment: PlacedUnit, now: float) -> bool:
        """Whether `moment` waits: video that would open a segment without the sound that is expected."""
        held = self._held
        if self._segment is not None or "audio" not in self._expected or self._sounds(now):
            return False
        if held and (moment.wall_us - held[0].wall_us >= _HOLD_US or len(held) >= _MAX_HELD):
            return False
        if held or moment.unit.key:
            held.append(moment)
            return True
        return False

    def _release(self, actions: list[Action], now: float) -> None:
        held, self._held = self._held, []
        for moment in held:
            self._take(moment, actions, now)

    def _take(self, moment: PlacedUnit, actions: list[Action], now: float) -> None:
        take = self._video if moment.track == "video" else self._audio
        if take(moment, actions, now):
            self._write(moment, actions)

    def _video(self, moment: PlacedUnit, actions: list[Action], now: float) -> bool:
        """Whether to write it, after whatever cut it asks for."""
        unit, wall_us = moment.unit, moment.wall_us
        if unit.parameters is not None:
            self._parameters["video"] = unit.parameters
        self._needs_key = (self._needs_key or unit.lost) and not unit.key
        if self._needs_key:
            self._ask(actions, now)
            return self._dropped(RecordingDrop.WAITING_FOR_KEY_FRAME)
        tracks: list[Kind] = ["video", "audio"] if self._sounds(now) else ["video"]
        if unit.key:
            self._key_at = now
            self._renew(tracks, wall_us, actions)
        elif self._segment is not None and (self._due(self._segment, tracks, wall_us) or self._sparse(now)):
            self._ask(actions, now)
        self._needs_key = False
        self._video_us = wall_us
        return True

    def _audio(self, moment: PlacedUnit, actions: list[Action], now: float) -> bool:
        """Whether to write it, after whatever cut it asks for."""
        wall_us = moment.wall_us
        segment = self._segment
        if segment is None and self._awaits_video(wall_us):
            return self._dropped(RecordingDrop.BEFORE_VIDEO)
        if segment is None or segment.leads == "audio":
            self._renew(["audio"], wall_us, actions)
        elif segment.tracks.get("audio") != self._parameters["audio"]:
            self._ask(actions, now)
            return self._dropped(RecordingDrop.NO_TRACK)
        elif wall_us < segment.start_us:
            return self._dropped(RecordingDrop.BEFORE_VIDEO)
        return True

    def _awaits_video(self, wall_us: int) -> bool:
        expected = "video" in self._expected or "video" in self._parameters
        return expected and self._video_us is not None and abs(wall_us - self._video_us) <= _GAP_US

    def _sounds(self, now: float) -> bool:
        """Whether sound flows. By `now`: wall times say nothing of it while a clock is set."""
        return self._sound_at is not None and now - self._sound_at <= _GAP_US / 1e6

    def _renew(self, tracks: Sequence[Kind], wall_us: int, actions: list[Action]) -> None:
        """Begins a segment here if there is none, or the open one is due to be cut."""
        if self._segment is not None:
            reason = self._due(self._segment, tracks, wall_us)
            if reason is None:
                return
            self._cut(reason, actions)
        self._segment = _Segment(wall_us, {track: self._parameters[track] for track in tracks})
        actions.append(Open(wall_us, tuple(self._segment.tracks.values())))

    def _due(self, segment: _Segment, tracks: Sequence[Kind], wall_us: int) -> SegmentEnd | None:
        if any(self._parameters[track] != known for track, known in segment.tracks.items()):
            return SegmentEnd.PARAMETERS
        if any(track not in segment.tracks for track in tracks):
            return SegmentEnd.TRACKS
        return SegmentEnd.LENGTH if wall_us - segment.start_us >= self._segment_us else None

    def _cut(self, reason: SegmentEnd, actions: list[Action]) -> None:
        self._segment = None
        self._needs_key = True
        actions.append(Cut(reason))

    def _write(self, moment: PlacedUnit, actions: list[Action]) -> None:
        segment, track, unit = self._segment, moment.track, moment.unit
        if segment is None:
            return
        pts = max(moment.wall_us - segment.start_us, segment.last_pts.get(track, -_STEP_US) + _STEP_US)
        segment.last_pts[track] = pts
        segment.last_us[track] = moment.wall_us
        duration = unit.duration * 1_000_000 // segment.tracks[track].clock_rate if unit.duration else None
        actions.append(Write(track, pts, duration, unit.data, unit.key))

    def _sparse(self, now: float) -> bool:
        """Whether the latest key frame is long past, and so is the latest request: not every camera heeds them."""
        return now - max(self._key_at, self._asked_at or 0.0) >= _KEY_S

    def _ask(self, actions: list[Action], now: float) -> None:
        if self._asked_at is None or not 0 <= now - self._asked_at < _ASK_S:
            self._asked_at = now
            actions.append(AskKeyFrame())

    def _dropped(self, reason: RecordingDrop) -> bool:
        self.drops[reason] += 1
        return False
