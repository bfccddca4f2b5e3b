"""What a recording does with units: where it begins, where it cuts, and what it leaves out."""

from __future__ import annotations

import random
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.depacketize import Depacketizer
from recorder.depacketize.audio import parameters as audio_parameters
from recorder.depacketize.units import CodecParameters, Unit
from recorder.segments.muxer import Muxer
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
from recorder.timeline.timeline import Timeline
from sfu.clients import packetize
from sfu.media.formats.rtp import Packet
from sfu.rtc.sdp.codec import Codec, Kind
from tests.helpers.encodings import ENCODINGS, X265_OPEN, Encoding
from tests.helpers.media import avcc_units, make_file, packets_of
from tests.helpers.programs import need
from tests.helpers.rtp_payloads import FRAMES

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
        unit = Unit(0, b"v%f" % at, key, 0, lost, 0, parameters if key else None)
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


def _rtp(path: Path, codec: Codec, first: int) -> list[tuple[float, Packet]]:
    """A file's track as (second, RTP packet)."""
    sent: list[tuple[float, Packet]] = []
    for at, sample in packets_of(path, codec.kind):
        data = packetize.byte_stream(avcc_units(sample)) if codec.kind == "video" else sample
        payloads = packetize.PAYLOADS[codec.name](data)
        for number, payload in enumerate(payloads):
            media_time = (first + round(at * codec.clock_rate)) & 0xFFFFFFFF
            last = number == len(payloads) - 1
            sent.append((at, Packet(last, codec.payload_type, 0, media_time, 1, payload, index=len(sent))))
    return sent


def _record(sent: list[tuple[float, Kind, Packet]], *codecs: Codec) -> list[bytes]:
    """The files that come of these packets, by all parts of the recorder that do without a disk."""
    timeline = Timeline()
    tracks = {codec.kind: timeline.track(codec.clock_rate) for codec in codecs}
    depacketizers = {codec.kind: Depacketizer(codec) for codec in codecs}
    recording = Recording(tracks.keys())
    actions: list[Action] = []
    for at, kind, packet in sent:
        for unit in depacketizers[kind].push(packet):
            wall_us = tracks[kind].at(unit.media_time, now=at, wall_us=us(at))
            actions += recording.push(kind, unit, wall_us, now=at)
    files: list[bytes] = []
    muxer: Muxer | None = None
    for action in [*actions, *recording.close()]:
        if isinstance(action, Open):
            muxer = Muxer(action.tracks, start_us=action.start_us, title="test")
            files.append(b"")
        elif isinstance(action, Write):
            assert muxer is not None
            files[-1] += muxer.write(
                action.track, action.pts_us, action.data, key=action.key, duration_us=action.duration_us
            )
        elif isinstance(action, Cut | Close):
            assert muxer is not None
            files[-1] += muxer.close()
    return files


def test_packets_of_a_camera_that_changes_its_size_become_two_files_that_decode(tmp_path: Path) -> None:
    options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "repeat-headers=1"}
    sent: list[tuple[float, Kind, Packet]] = []
    for part, size in enumerate([(320, 180), (640, 360)]):
        path = make_file(tmp_path / f"{part}.mkv", options=options, size=size)
        for codec in (H264, OPUS):
            first = 2**32 - codec.clock_rate + part * 2 * codec.clock_rate
            for at, packet in _rtp(path, codec, first):
                packet.index += part * 10**6  # as a producer counts on after a restart
                sent.append((at + 2 * part, codec.kind, packet))
    files = _record(sorted(sent, key=lambda item: item[0]), H264, OPUS)
    assert len(files) == 2
    for data, size in zip(files, [(320, 180), (640, 360)], strict=True):
        path = tmp_path / "out.mp4"
        path.write_bytes(data)
        with av.open(str(path)) as container:
            frames = [(frame.pts or 0) * (frame.time_base or Fraction()) for frame in container.decode(video=0)]
            assert len(frames) == 50
            assert abs(frames[-1] - frames[0] - Fraction(196, 100)) < 0.01
            video = container.streams.video[0]
            assert (video.width, video.height) == size
        with av.open(str(path)) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) > 1.8 * 48000


IN_ORDER = {name: encoding for name, encoding in ENCODINGS.items() if encoding.encoder is not X265_OPEN}
"""Without the one whose pictures are not sent in the order they are shown in, which WebRTC does not know."""


@pytest.mark.parametrize("encoding", IN_ORDER.values(), ids=IN_ORDER)
@pytest.mark.parametrize("loss", [0.0, 0.003, 0.02])
def test_whatever_is_lost_no_picture_in_the_file_is_broken(encoding: Encoding, loss: float, tmp_path: Path) -> None:
    need("ffmpeg")
    noise = random.Random(7)
    packets = [packet for packet in encoding.packets() if noise.random() >= loss]
    sent: list[tuple[float, Kind, Packet]] = [(packet.media_time / 90000, "video", packet) for packet in packets]
    files = _record(sent, Codec(encoding.codec, 90000, 1, 96))
    assert len(files) == 1
    path = tmp_path / "out"
    path.write_bytes(files[0])
    command = ["ffmpeg", "-v", "error", "-xerror", "-err_detect", "explode", "-i", str(path), "-f", "framecrc", "-"]
    run = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert not run.stderr
    pictures = [line for line in run.stdout.splitlines() if not line.startswith(b"#")]
    assert len(pictures) == FRAMES if loss == 0 else 0 < len(pictures) < FRAMES
