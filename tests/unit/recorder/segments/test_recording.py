"""Units in a recording: where it begins, where it cuts, and which units it leaves out."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.depacketize.audio import parameters as audio_parameters
from recorder.depacketize.units import CodecParameters, Unit
from recorder.segments.recording import (
    Action,
    AskKeyFrame,
    Close,
    Cut,
    Open,
    Recording,
    RecordingDrop,
    SegmentEnd,
    Write,
)
from sfu.rtc.sdp.codec import Codec, Kind

H264 = Codec("H264", 90000, 1, 96)
OPUS = Codec("opus", 48000, 2, 111)
PICTURE = CodecParameters("H264", 90000, 640, 360)
LARGER = replace(PICTURE, width=1280, height=720)
SOUND = audio_parameters(OPUS)
START = 1_790_000_000.0
SECOND = 1_000_000


def us(seconds: float) -> int:
    return round((START + seconds) * SECOND)


class Feed:
    """Pushes units by the second they were taken, and keeps what was answered."""

    def __init__(self, *expected: Kind, segment: float = 600.0) -> None:
        self.recording = Recording(expected, segment_us=int(segment * SECOND))
        self.actions: list[Action] = []

    def video(
        self, at: float, *, key: bool = False, lost: bool = False, parameters: CodecParameters = PICTURE
    ) -> list[Action]:
        known = parameters if key else None
        unit = Unit(0, b"v%f" % at, key, 0, lost, 0, known, parameters.orientation)
        return self._keep(self.recording.push("video", unit, us(at), now=at))

    def audio(self, at: float, parameters: CodecParameters = SOUND) -> list[Action]:
        unit = Unit(0, b"a%f" % at, True, 0, False, 960, parameters)
        return self._keep(self.recording.push("audio", unit, us(at), now=at))

    def _keep(self, actions: list[Action]) -> list[Action]:
        self.actions += actions
        return actions

    def film(self, since: float, until: float, *, gop: float = 1.0, sound: bool = True, picture: bool = True) -> None:
        """25 pictures and 50 packets of sound a second."""
        for tick in range(round(since * 50), round(until * 50)):
            at = tick / 50
            if picture and tick % 2 == 0:
                self.video(at, key=tick % round(gop * 50) == 0)
            if sound:
                self.audio(at)

    @property
    def outline(self) -> list[str]:
        """Opens, cuts and closes in short, relative to START."""
        found = []
        for action in self.actions:
            if isinstance(action, Open):
                kinds = "+".join(track.kind for track in action.tracks)
                found.append(f"{action.start_us / SECOND - START:g} {kinds}")
            elif isinstance(action, Cut | Close):
                found.append(action.reason.value)
        return found

    def written(self, track: Kind) -> list[bytes]:
        return [action.data for action in self.actions if isinstance(action, Write) and action.track == track]


def test_a_recording_begins_with_a_key_frame_and_asks_for_one() -> None:
    feed = Feed("video")
    assert feed.video(0.0) == [AskKeyFrame()]
    assert feed.video(0.04) == []
    assert feed.video(0.5) == [AskKeyFrame()]
    opened, first = feed.video(0.6, key=True)
    assert opened == Open(us(0.6), (PICTURE,))
    assert first == Write("video", 0, None, b"v0.600000", True)
    assert feed.video(0.64) == [Write("video", 40_000, None, b"v0.640000", False)]
    assert feed.recording.drops[RecordingDrop.WAITING_FOR_KEY_FRAME] == 3


def test_after_a_loss_nothing_is_written_until_the_next_key_frame() -> None:
    feed = Feed("video")
    feed.video(0, key=True)
    feed.video(0.1, lost=True)
    feed.video(0.2)
    feed.video(0.3, key=True, lost=True)
    feed.video(0.4)
    assert feed.written("video") == [b"v0.000000", b"v0.300000", b"v0.400000"]
    assert feed.outline == ["0 video"]
    assert feed.actions.count(AskKeyFrame()) == 1


def test_sound_goes_on_while_video_waits_for_a_key_frame() -> None:
    feed = Feed("video", "audio")
    feed.film(0, 1)
    feed.video(1.0, lost=True)
    feed.film(1.02, 2)
    assert len(feed.written("audio")) == 99


def test_segments_are_cut_at_the_first_key_frame_after_their_length() -> None:
    feed = Feed("video", "audio", segment=10)
    feed.film(0, 25, gop=4)
    assert feed.outline == ["0 video+audio", "length", "12 video+audio", "length", "24 video+audio"]
    assert len(feed.written("video")) == 25 * 25
    assert len(feed.written("audio")) == 25 * 50
    asked = [action for action in feed.actions if isinstance(action, AskKeyFrame)]
    assert len(asked) == 8  # from 10 to 12 s and from 22 to 24 s, each half second


def test_a_camera_that_sends_no_key_frames_unasked_is_asked_every_four_seconds() -> None:
    feed = Feed("video")
    feed.video(10.0, key=True)
    asked = [at / 10 for at in range(101, 230) if AskKeyFrame() in feed.video(at / 10, key=at == 150)]
    assert asked == [14.0, 19.0]


def test_another_resolution_is_another_segment() -> None:
    feed = Feed("video")
    feed.video(0, key=True)
    feed.video(1, key=True)
    feed.video(2, key=True, parameters=LARGER)
    assert feed.outline == ["0 video", "parameters", "2 video"]
    assert [action.tracks for action in feed.actions if isinstance(action, Open)] == [(PICTURE,), (LARGER,)]


def test_another_audio_codec_is_another_segment_at_the_next_key_frame() -> None:
    feed = Feed("video", "audio")
    feed.film(0, 1)
    pcmu = CodecParameters("PCMU", 8000, channels=1)
    assert feed.audio(1.0, pcmu) == [AskKeyFrame()]
    feed.video(1.02, key=True)
    feed.audio(1.04, pcmu)
    assert feed.outline == ["0 video+audio", "parameters", "1.02 video+audio"]


def test_a_gap_is_a_cut_at_which_only_a_key_frame_goes_on() -> None:
    feed = Feed("video", "audio")
    feed.film(0, 1)
    feed.audio(7.0)
    feed.video(7.02)
    assert feed.outline == ["0 video+audio", "gap"]
    feed.video(7.06, key=True)
    assert feed.outline[-1] == "7.06 video+audio"


def test_a_short_gap_is_kept_as_it_was() -> None:
    feed = Feed("video")
    feed.video(0, key=True)
    assert Write("video", 4_900_000, None, b"v4.900000", False) in feed.video(4.9)


def test_a_clock_set_back_is_a_cut() -> None:
    feed = Feed("video", "audio")
    feed.film(0, 2)
    feed.film(-3600, -3598)
    assert feed.outline == ["0 video+audio", "gap", "-3600 video+audio"]


def test_a_silent_producer_has_its_segment_finished() -> None:
    feed = Feed("video")
    feed.video(0, key=True)
    assert feed.recording.tick(now=5.0) == []
    assert feed.recording.tick(now=5.1) == [Cut(SegmentEnd.GAP)]
    assert feed.recording.tick(now=5.2) == []


def test_sound_from_before_the_first_picture_is_left_out() -> None:
    feed = Feed("video", "audio")
    feed.film(0, 1, picture=False)
    assert feed.actions == []
    feed.video(1.0, key=True)
    feed.audio(0.99)
    feed.audio(1.01)
    assert feed.outline == ["1 video+audio"]
    assert feed.written("audio") == [b"a1.010000"]
    assert feed.recording.drops[RecordingDrop.BEFORE_VIDEO] == 51


def test_the_first_segment_waits_for_the_sound_that_is_about_to_come() -> None:
    feed = Feed("video", "audio")
    feed.video(0, key=True)
    feed.video(0.04)
    feed.audio(0.02)
    assert feed.outline == ["0 video+audio"]
    assert feed.written("video") == [b"v0.000000", b"v0.040000"]
    assert feed.written("audio") == [b"a0.020000"]


def test_declared_but_silent_sound_holds_nothing_back_for_longer_than_half_a_second() -> None:
    feed = Feed("video", "audio", segment=2)
    feed.film(0, 0.48, sound=False)
    assert feed.actions == []
    feed.film(0.48, 5, sound=False)
    assert feed.outline == ["0 video", "length", "2 video", "length", "4 video"]
    assert len(feed.written("video")) == 125


def test_a_single_picture_is_not_held_for_ever() -> None:
    feed = Feed("video", "audio")
    feed.video(0, key=True)
    assert [type(action) for action in feed.recording.tick(now=0.6)] == [Open, Write]


def test_what_is_held_is_written_when_the_recording_ends() -> None:
    feed = Feed("video", "audio")
    feed.video(0, key=True)
    assert [type(action) for action in feed.recording.close()] == [Open, Write, Close]


def test_sound_that_begins_late_gets_a_segment_that_has_it() -> None:
    feed = Feed("video", "audio")
    feed.film(0, 3, sound=False, gop=60)
    assert feed.audio(3.0) == [AskKeyFrame()]
    feed.video(3.1, key=True)
    feed.audio(3.12)
    assert feed.outline == ["0 video", "tracks", "3.1 video+audio"]
    assert feed.recording.drops[RecordingDrop.NO_TRACK] == 1


def test_a_camera_of_sound_alone_is_cut_at_any_unit() -> None:
    feed = Feed("audio", segment=2)
    feed.film(0, 5, picture=False)
    feed.audio(11)
    assert feed.outline == ["0 audio", "length", "2 audio", "length", "4 audio", "gap", "11 audio"]
    assert len(feed.written("audio")) == 251


def test_declared_but_silent_video_does_not_keep_sound_out() -> None:
    feed = Feed("video", "audio")
    feed.film(0, 20, picture=False)
    assert feed.outline == ["5.02 audio"]


def test_sound_goes_on_by_itself_when_video_stops_and_joins_it_when_it_returns() -> None:
    feed = Feed("video", "audio")
    feed.film(0, 2)
    feed.film(2, 10, picture=False)
    feed.video(10.0)
    feed.video(10.04, key=True)
    feed.audio(10.06)
    assert feed.outline == ["0 video+audio", "gap", "6.98 audio", "tracks", "10.04 video+audio"]
    assert len(feed.written("audio")) == 501


def test_two_units_of_one_moment_stay_apart() -> None:
    feed = Feed("video")
    for at in (0.0, 0.0, -0.5, 0.0005, 0.04):
        feed.video(at, key=True)
    times = [action.pts_us for action in feed.actions if isinstance(action, Write)]
    assert times == [0, 1000, 2000, 3000, 40_000]


def test_a_picture_that_is_sent_ahead_takes_no_time_from_those_shown_before_it() -> None:
    feed = Feed("video")
    for at in (0.0, 0.16, 0.08, 0.04, 0.12, 0.2):
        feed.video(at, key=not at)
    times = [action.pts_us for action in feed.actions if isinstance(action, Write)]
    assert times == [0, 160_000, 80_000, 40_000, 120_000, 200_000]


def test_sound_says_how_long_it_is() -> None:
    feed = Feed("audio")
    assert feed.audio(0)[1] == Write("audio", 0, 20_000, b"a0.000000", True)


def test_an_ended_recording_is_silent() -> None:
    feed = Feed("video")
    feed.video(0, key=True)
    assert feed.recording.close() == [Close(SegmentEnd.STOPPED)]
    assert feed.recording.close() == []
    assert feed.video(1, key=True) == []


def test_a_remembered_past_is_recorded_as_it_was() -> None:
    """Event mode: what came before the event is replayed all at once, and live units follow."""
    past, live = Feed("video", "audio"), Feed("video", "audio")
    past.film(0, 10)
    live.film(0, 10)
    replayed = Recording(("video", "audio"))
    actions: list[Action] = []
    for tick in range(500):
        if tick % 2 == 0:
            key = tick % 50 == 0
            unit = Unit(0, b"v%f" % (tick / 50), key, 0, False, 0, PICTURE if key else None)
            actions += replayed.push("video", unit, us(tick / 50), now=99.0)
        unit = Unit(0, b"a%f" % (tick / 50), True, 0, False, 960, SOUND)
        actions += replayed.push("audio", unit, us(tick / 50), now=99.0)
    assert actions == live.actions


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["video", "key", "audio", "tick", "larger", "pcmu"]),
        st.sampled_from([0.0, 0.02, 0.02, 0.02, 0.3, 1.0, 4.0, 6.0, 30.0, -0.3, -2.0, -3600.0]),
        st.booleans(),
        st.sampled_from([0.0, 0.02, 0.02, 0.3, 6.0]),
    ),
    max_size=80,
)


@given(_STEPS, st.sets(st.sampled_from(["video", "audio"])), st.booleans())
def test_whatever_comes_every_segment_can_be_played(
    steps: list[tuple[str, float, bool, float]], expected: set[Literal["video", "audio"]], closes: bool
) -> None:
    recording = Recording(expected, segment_us=3 * SECOND)
    actions: list[tuple[float, Action]] = []
    wall = now = 100.0
    units: dict[bytes, Unit] = {}
    for number, (what, walled, lost, passed) in enumerate(steps):
        wall += walled
        now += passed
        if what == "tick":
            actions += [(now, action) for action in recording.tick(now=now)]
            continue
        track: Kind = "audio" if what in ("audio", "pcmu") else "video"
        key = what != "video"
        given = {"pcmu": CodecParameters("PCMU", 8000, channels=1), "audio": SOUND, "larger": LARGER}.get(what, PICTURE)
        unit = Unit(0, b"%d" % number, key, 0, lost, 960 if track == "audio" else 0, given if key else None)
        units[unit.data] = unit
        actions += [(now, action) for action in recording.push(track, unit, us(wall), now=now)]
    if closes:
        actions += [(now, action) for action in recording.close()]
        assert isinstance(actions[-1][1], Close)
    _check(actions, units)


def _check(actions: list[tuple[float, Action]], units: dict[bytes, Unit]) -> None:
    segment: Open | None = None
    pts: dict[Kind, int] = {}
    asked = -1.0
    order: dict[str, int] = {}
    for now, action in actions:
        if isinstance(action, Open):
            assert segment is None
            segment, pts = action, {}
        elif isinstance(action, Cut):
            assert segment is not None
            segment = None
        elif isinstance(action, AskKeyFrame):
            assert now - asked >= 0.5
            asked = now
        elif isinstance(action, Write):
            assert segment is not None
            unit = units[action.data]
            assert action.pts_us >= pts.get(action.track, -1000) + 1000
            assert action.key or action.track in pts
            assert not (unit.lost and not unit.key)
            if unit.parameters is not None:
                assert unit.parameters in segment.tracks
            pts[action.track] = action.pts_us
            assert int(action.data) > order.get(action.track, -1)
            order[action.track] = int(action.data)


def test_a_camera_that_is_turned_is_asked_for_a_key_frame_and_begins_a_file_there() -> None:
    feed, turned = Feed("video"), replace(PICTURE, orientation=1)
    feed.film(0, 1, sound=False)
    assert feed.video(1.0) == [Write("video", SECOND, None, b"v1.000000", False)]
    asked, written = feed.video(1.04, parameters=turned)
    assert (asked, type(written)) == (AskKeyFrame(), Write)
    cut, opened, written = feed.video(1.08, key=True, parameters=turned)
    assert cut == Cut(SegmentEnd.PARAMETERS)
    assert opened == Open(us(1.08), (turned,))
    assert isinstance(feed.video(1.12, parameters=turned)[0], Write)


@pytest.mark.parametrize("track", ["audio", "video"])
@pytest.mark.parametrize("apart", [0.3, 0.75, 1.5, 3.0, 5.0, -0.3, -0.75, -1.5, -3.0, -5.0])
@pytest.mark.parametrize(("until", "cuts"), [(12.0, 2), (40.0, 1)])
def test_sound_and_picture_that_are_apart_cut_a_recording_once(
    track: Kind, apart: float, until: float, cuts: int
) -> None:
    """The times of one track step at 10 s, as after a sender report, and back at `until`: at most a cut each."""
    feed = Feed("video", "audio")
    drops = []
    for tick in range(40 * 50):
        at = tick / 50
        moved = {track: at + (apart if 10 <= at < until else 0.0)}
        if tick % 2 == 0:
            unit = Unit(0, b"v%d" % tick, tick % 50 == 0, 0, False, 0, PICTURE if tick % 50 == 0 else None)
            feed.actions += feed.recording.push("video", unit, us(moved.get("video", at)), now=at)
        unit = Unit(0, b"a%d" % tick, True, 0, False, 960, SOUND)
        feed.actions += feed.recording.push("audio", unit, us(moved.get("audio", at)), now=at)
        drops.append(sum(feed.recording.drops.values()))
    assert sum(isinstance(action, Cut) for action in feed.actions) <= cuts
    assert drops[-1] <= 75 * max(1, abs(apart))


def test_sound_set_forward_an_hour_before_the_picture_is_not_put_into_the_old_file() -> None:
    feed = Feed("video", "audio")
    feed.film(0, 2)
    feed.film(3600, 3602, picture=False)
    assert feed.outline == ["0 video+audio", "gap"]
