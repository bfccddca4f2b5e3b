"""The timeline of one producer: audio and video stay together and near our clock, whatever cameras and networks do."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.depacketize.units import PlacedUnit, Unit
from recorder.timeline.placement import Placement
from recorder.timeline.timeline import Timeline
from sfu.rtc.sdp.codec import Kind

WALL = 1_790_000_000_000_000
"""us of UTC when our monotonic clock shows 0."""
NTP_1900 = 2_208_988_800
LATENCY = {"audio": 0.030, "video": 0.095}
"""Seconds from the moment something is taken to its arrival: encoders differ."""
RATE: dict[Kind, int] = {"audio": 48000, "video": 90000}
PERIOD = {"audio": 0.1, "video": 0.2}
"""Seconds between units; few, so that an hour is simulated in seconds."""
STEPS_S = (0.3, -0.3, 0.75, -0.75, 1.5, -1.5, 3.0, -3.0, 5.0, -5.0)
TRACKS = (("audio",), ("video",), ("audio", "video"))


@dataclass
class Camera:
    """Taken at `t` seconds of true time, which is our monotonic clock. Its own drifts by 100 ppm."""

    clock: Callable[[float], float] = lambda t: t * (1 + 100e-6) + 1_000.25
    """Its wall clock: a camera need not know what time it is."""
    sampling: dict[str, float] = field(default_factory=lambda: {"audio": 1 + 70e-6, "video": 1 + 100e-6})
    first: dict[str, int] = field(default_factory=lambda: {"audio": 123, "video": 2**32 - 90000 * 1800})
    """Media times at t = 0; the video's wraps after half an hour."""
    report_every: float = 5.0
    report_from: float = 0.0
    first_report: dict[str, float] = field(default_factory=lambda: {"audio": 0.9, "video": 0.4})
    report_until: float = 1e9
    jitter: float = 0.010
    begins: dict[str, float] = field(default_factory=lambda: {"audio": 0.0, "video": 0.0})
    silent: Callable[[str, float], bool] = lambda kind, t: False
    media: Callable[[str, float], float] = lambda kind, t: t
    """Where the media time is taken from: for cameras whose media times jump."""
    wrong: Callable[[str, float], float] = lambda kind, t: 0.0
    """Seconds by which a report's wall time is wrong."""
    wrong_media: Callable[[str, float], float] = lambda kind, t: 0.0
    """Seconds by which a report's media time is wrong."""
    wall: Callable[[float], float] = lambda t: 0.0
    """Seconds by which our wall clock was set."""

    def media_time(self, kind: Kind, t: float) -> int:
        ticks = self.media(kind, t) * self.sampling[kind] * RATE[kind]
        return (self.first[kind] + int(ticks)) & 0xFFFFFFFF


@dataclass
class Event:
    kind: Kind
    taken: float
    arrived: float
    is_report: bool


def happenings(camera: Camera, seconds: float, noise: random.Random) -> Iterator[Event]:
    return heapq.merge(*(_track(camera, kind, seconds, noise) for kind in RATE), key=lambda event: event.arrived)


def _track(camera: Camera, kind: Kind, seconds: float, noise: random.Random) -> Iterator[Event]:
    t, arrived, next_report = camera.begins[kind], 0.0, max(camera.begins[kind], camera.report_from)
    next_report += camera.first_report[kind]
    while t < seconds:
        delay = noise.expovariate(1 / camera.jitter) + (0.3 if noise.random() < 0.002 else 0.0)
        if next_report <= t < camera.report_until:
            next_report += camera.report_every
            arrived = max(arrived, t + 0.02 + delay)
            yield Event(kind, t, arrived, True)
        if not camera.silent(kind, t):
            arrived = max(arrived, t + LATENCY[kind] + delay)
            yield Event(kind, t, arrived, False)
        t += PERIOD[kind]


def simulate(camera: Camera, seconds: float, seed: int = 1) -> dict[Kind, list[tuple[float, float]]]:
    """(taken, answered less taken) of each unit by track, in seconds."""
    noise = random.Random(seed)
    placement = Placement(("audio", "video"))
    taken: dict[Kind, list[float]] = {kind: [] for kind in RATE}
    answers: dict[Kind, list[tuple[float, float]]] = {kind: [] for kind in RATE}

    def answered(moments: list[PlacedUnit]) -> None:
        for moment in moments:
            at = taken[moment.track][moment.unit.index]
            answers[moment.track].append((at, (moment.wall_us - WALL) / 1e6 - at))

    for kind, rate in RATE.items():
        answered(placement.begin(kind, rate))
    for event in happenings(camera, seconds, noise):
        media_time = camera.media_time(event.kind, event.taken)
        if event.is_report:
            told = camera.clock(event.taken) + camera.wrong(event.kind, event.taken) + noise.gauss(0, 0.001)
            ntp = int((NTP_1900 + told) * 2**32) & 0xFFFFFFFFFFFFFFFF
            media_time += int(camera.wrong_media(event.kind, event.taken) * RATE[event.kind])
            reported = placement.on_sender_report(event.kind, ntp, media_time & 0xFFFFFFFF, now=event.arrived)
            answered(reported)
            continue
        wall_us = WALL + int((event.arrived + camera.wall(event.arrived)) * 1e6)
        unit = Unit(media_time, b"", True, len(taken[event.kind]), False, 0, None)
        taken[event.kind].append(event.taken)
        answered(placement.push(event.kind, unit, now=event.arrived, wall_us=wall_us))
    answered(placement.release())
    return answers


def apart(answers: dict[Kind, list[tuple[float, float]]], since: float, until: float) -> float:
    """The most that sound and picture taken at one moment are apart, in ms."""
    audio = {round(taken, 3): error for taken, error in answers["audio"]}
    both = [
        abs(audio[round(taken, 3)] - error)
        for taken, error in answers["video"]
        if since <= taken < until and round(taken, 3) in audio
    ]
    assert len(both) >= min(20, (until - since) * 2)
    return 1000 * max(both)


def furthest(answers: dict[Kind, list[tuple[float, float]]], since: float, until: float) -> float:
    """The most that anything is from the moment it was taken, in ms."""
    return 1000 * max(abs(error) for track in answers.values() for taken, error in track if since <= taken < until)


def assert_monotone(answers: dict[Kind, list[tuple[float, float]]]) -> None:
    for track in answers.values():
        assert all(later[0] + later[1] >= earlier[0] + earlier[1] for earlier, later in pairwise(track))


def test_an_hour_of_drift_and_jitter_keeps_sound_and_picture_together() -> None:
    answers = simulate(Camera(), 3600)
    assert_monotone(answers)
    for since, until in ((0, 60), (1770, 1830), (3540, 3600)):
        assert apart(answers, since, until) < 40
    assert furthest(answers, 60, 3600) < 100
    steps = [(b[0] + b[1]) - (a[0] + a[1]) for a, b in pairwise(answers["video"])]
    assert min(steps[50:]) > 0.19
    assert max(steps[50:]) < 0.21


def test_reports_known_from_the_start_hold_from_the_start() -> None:
    timeline = Timeline()
    tracks = {kind: timeline.track(rate) for kind, rate in RATE.items()}
    for kind, track in tracks.items():
        track.on_sender_report(int(500.0 * 2**32), 1000, now=10.0 + LATENCY[kind])
    audio = tracks["audio"].at(1000 + 4800, now=10.1 + LATENCY["audio"], wall_us=WALL)
    video = tracks["video"].at(1000 + 9000, now=10.1 + LATENCY["video"], wall_us=WALL + 65_000)
    assert abs(audio - video) < 1000


def test_pictures_that_have_reported_are_in_step_with_sound_that_has_not() -> None:
    """Chromium: its first report of sound comes after 2.4 s."""
    answers = simulate(Camera(first_report={"audio": 2.4, "video": 0.4}), 60)
    assert apart(answers, 0, 60) < 40


def test_late_reports_bring_sound_and_picture_together_without_a_jump() -> None:
    answers = simulate(Camera(report_from=60.0), 180)
    assert apart(answers, 5, 60) < 140
    assert apart(answers, 70, 180) < 40
    assert_monotone(answers)
    steps = [(b[0] + b[1]) - (a[0] + a[1]) for a, b in pairwise(answers["video"])]
    assert min(steps[20:]) > 0.17
    assert max(steps[20:]) < 0.23


def test_without_reports_arrival_tells_and_drift_is_followed() -> None:
    answers = simulate(Camera(report_from=1e9), 3600)
    assert_monotone(answers)
    assert apart(answers, 30, 3600) < 1000 * (LATENCY["video"] - LATENCY["audio"]) + 20
    assert furthest(answers, 30, 3600) < 1000 * LATENCY["video"] + 20


@pytest.mark.parametrize("step", [3600.0, -3600.0, 1.5, -1.5, 0.3])
def test_a_camera_whose_clock_is_set_keeps_its_sound_and_picture_together(step: float) -> None:
    answers = simulate(Camera(clock=lambda t: t * (1 + 100e-6) + (step if t > 100 else 0)), 600)
    assert_monotone(answers)
    assert apart(answers, 10, 600) < 40
    assert furthest(answers, 10, 600) < 120


@pytest.mark.parametrize("step", [3600.0, -3600.0, 1.5, -0.2])
@pytest.mark.parametrize("kind", list(RATE))
def test_one_wrong_report_does_nothing(step: float, kind: str) -> None:
    answers = simulate(Camera(wrong=lambda k, t: step if k == kind and 100 <= t < 104.9 else 0.0), 300)
    assert apart(answers, 10, 300) < 40
    assert furthest(answers, 10, 300) < 120


@pytest.mark.parametrize("step", [3600.0, -10.0, 1.5, -0.2])
@pytest.mark.parametrize("since", [0.0, 100.0])
def test_one_report_of_a_wrong_media_time_does_nothing(step: float, since: float) -> None:
    wrong = Camera(wrong_media=lambda kind, t: step if kind == "video" and since <= t < since + 4.9 else 0.0)
    wrong.begins["video"] = 0.8  # what has reported before is what a first report is measured by
    answers = simulate(wrong, 300)
    settled = 35 if since == 0 and abs(step) < 2 else 10  # a likely first report is believed until two others agree
    assert apart(answers, settled, 300) < 40
    assert furthest(answers, settled, 300) < 150


def test_a_late_track_joins_one_whose_clock_was_set() -> None:
    camera = Camera(clock=lambda t: t * (1 + 100e-6) + (3600 if t > 50 else 0), begins={"audio": 100.0, "video": 0.0})
    answers = simulate(camera, 200)
    assert apart(answers, 104, 200) < 40


def test_a_jump_after_the_last_report_leaves_sound_and_picture_together() -> None:
    camera = Camera(media=lambda kind, t: t + (5000 if kind == "video" and t >= 100 else 0), report_until=99.0)
    assert apart(simulate(camera, 300), 101, 300) < 40


def test_a_late_track_joins_where_it_belongs() -> None:
    answers = simulate(Camera(begins={"audio": 3.0, "video": 0.0}), 60)
    assert apart(answers, 6, 60) < 40
    assert answers["audio"][0][1] < 0.15


def test_silence_of_hours_passes_as_it_did() -> None:
    """20 hours: longer than any media time lasts."""
    camera = Camera(silent=lambda kind, t: 60 <= t < 72060)
    camera.report_every = 5.0
    answers = simulate_sparse(camera, 72120)
    assert abs(answers[-1][1]) < 1.0
    assert len(answers) == 1200


def simulate_sparse(camera: Camera, seconds: float) -> list[tuple[float, float]]:
    """Video alone, without reports."""
    timeline = Timeline()
    track = timeline.track(RATE["video"])
    answers = []
    for number in range(int(seconds / 0.1)):
        t = number * 0.1
        if not camera.silent("video", t):
            wall_us = WALL + int((t + camera.wall(t)) * 1e6)
            answer = track.at(camera.media_time("video", t), now=t, wall_us=wall_us)
            answers.append((t, (answer - WALL) / 1e6 - t))
    return answers


@pytest.mark.parametrize("lost", [0.1, 1.0])
def test_sound_that_a_starved_camera_leaves_out_is_made_good_by_the_next_report(lost: float) -> None:
    """Chromium on a busy machine: samples are lost, and media times go on as if they had not been."""
    camera = Camera(media=lambda kind, t: t - (lost if kind == "audio" and t >= 97.5 + lost else 0))
    camera.silent = lambda kind, t: kind == "audio" and 97.5 <= t < 97.5 + lost
    answers = simulate(camera, 200)
    assert apart(answers, 2, 97.5) < 40
    assert apart(answers, 101, 200) < 40  # the report comes at 100.9


@pytest.mark.parametrize("jump", [-3.0, -0.5, 6.0, 7000.0, -20000.0])
def test_media_times_that_jump_are_no_time_that_passes(jump: float) -> None:
    answers = simulate(Camera(media=lambda kind, t: t + (jump if kind == "video" and t >= 100 else 0)), 300)
    assert_monotone(answers)
    assert furthest(answers, 10, 300) < 400
    assert apart(answers, 10, 95) < 40
    assert apart(answers, 130, 300) < 40


@pytest.mark.parametrize("away", [-9.0, -0.5, 7.0, -9800.0, 20000.0])
def test_single_pictures_with_wrong_media_times_change_nothing(away: float) -> None:
    """A digital video recorder: one picture in fifty is hours away, and the reports stay in use."""
    camera = Camera(media=lambda kind, t: t + (away if kind == "video" and round(t * 5) % 50 == 20 else 0))
    answers = simulate(camera, 300)
    assert_monotone(answers)
    assert furthest(answers, 10, 300) < 600
    answers["video"] = [each for each in answers["video"] if round(each[0] * 5) % 50 != 20]
    assert apart(answers, 10, 300) < 40


def test_the_times_go_on_when_the_seconds_of_ntp_wrap() -> None:
    """On 7 February 2036 the 32 bits of seconds since 1900 are used up."""
    answers = simulate(Camera(clock=lambda t: 2**32 - NTP_1900 - 100 + t), 300)
    assert_monotone(answers)
    assert furthest(answers, 10, 300) < 120
    assert apart(answers, 10, 300) < 40


def test_a_small_step_back_is_no_wrap() -> None:
    """aiortc takes 7000, 4000 for a wrap: 13 hours at 90 kHz."""
    track = Timeline().track(90000)
    first = track.at(7000, now=1.0, wall_us=WALL)
    second = track.at(4000, now=1.033, wall_us=WALL + 33_000)
    third = track.at(10000, now=1.1, wall_us=WALL + 100_000)
    assert first <= second <= third < first + 100_000


def test_a_pause_that_media_times_leave_out_is_seen() -> None:
    """A camera that stops for 244 s and goes on 20 ms later by its own account."""
    answers = simulate(
        Camera(
            media=lambda kind, t: t - (244 if t >= 344 else 0), silent=lambda kind, t: 100 <= t < 344, report_from=1e9
        ),
        500,
    )
    assert furthest(answers, 344, 500) < 400


def test_a_new_ssrc_goes_on_where_arrival_puts_it() -> None:
    timeline = Timeline()
    track = timeline.track(90000)
    for number in range(100):
        track.at(number * 3000, now=number / 30, wall_us=WALL + number * 33_333)
    track.restart()
    track.on_sender_report(5000 << 32, 777_000, now=3.35)
    before = WALL + 99 * 33_333
    after = track.at(777_000, now=3.4, wall_us=WALL + 3_400_000)
    assert 0 < after - before < 150_000


def test_a_burst_from_the_past_is_kept_apart_by_its_own_times() -> None:
    """Cameras that send what they had buffered: five seconds within a tenth of one."""
    track = Timeline().track(90000)
    times = [track.at(n * 3000, now=n * 0.0007, wall_us=WALL + n * 700) for n in range(150)]
    assert min(b - a for a, b in pairwise(times)) > 29_000


def test_what_is_replayed_from_the_past_is_put_there_by_reports() -> None:
    """A recording that begins with packets the server had kept: they arrive now, and were taken seconds ago."""
    track = Timeline().track(90000)
    track.on_sender_report(500 << 32, 0, now=9.9)
    taken = [5.0 + number / 25 for number in range(250)]  # seconds after the report; five of them long past
    answers = []
    for number, t in enumerate(taken):
        now = max(20.0 + number * 0.0001, 9.9 + t + 0.05)
        answers.append(track.at(int(t * 90000), now=now, wall_us=WALL + int(now * 1e6)))
    assert all(abs(answer - WALL - (9.9 + t) * 1e6) < 50_000 for answer, t in zip(answers, taken, strict=True))


@pytest.mark.parametrize("step", [-0.5, 0.5, -1.9])
def test_a_small_step_of_our_wall_clock_is_followed_slowly(step: float) -> None:
    answers = simulate(Camera(wall=lambda t: step if t > 100 else 0.0), 3000)
    assert_monotone(answers)
    errors = [(taken, error) for track in answers.values() for taken, error in track]
    assert all(abs(error) < 0.15 for taken, error in errors if 10 < taken < 110)
    assert all(abs(error - step) < 0.15 for taken, error in errors if taken > 2500)


@pytest.mark.parametrize("step", [-3600.0, -86_400.0, -3.0, 3600.0])
def test_our_wall_clock_that_is_set_is_followed_at_once(step: float) -> None:
    answers = simulate(Camera(wall=lambda t: step if t > 100 else 0.0), 200)
    errors = [(taken, error) for track in answers.values() for taken, error in track]
    assert all(abs(error) < 0.15 for taken, error in errors if 10 < taken < 99)
    assert all(abs(error - step) < 0.15 for taken, error in errors if taken > 101)


def test_a_clock_that_goes_back_and_forth_is_followed_each_time() -> None:
    answers = simulate(Camera(wall=lambda t: 3600.0 if int(t / 50) % 2 else 0.0), 400)
    errors = [(taken, error) for track in answers.values() for taken, error in track if 1 < taken % 50 < 49]
    assert all(abs(error - (3600.0 if int(taken / 50) % 2 else 0.0)) < 0.15 for taken, error in errors)


def test_our_wall_clock_set_forward_is_followed() -> None:
    """A machine without a battery learns the date some time after its start."""
    answers = simulate(Camera(wall=lambda t: 1e9 if t > 100 else 0.0), 200)
    assert_monotone(answers)
    assert all(abs(error - 1e9) < 0.2 for track in answers.values() for taken, error in track if taken > 101)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["at", "report", "restart"]),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**64 - 1),
            st.floats(-1, 1e5),
            st.integers(-900_000, 900_000),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_no_input_but_our_clock_makes_a_track_go_back(steps: list[tuple[str, int, int, float, int, bool]]) -> None:
    timeline = Timeline()
    tracks = [timeline.track(48000), timeline.track(90000)]
    last = [0, 0]
    now = 1.0
    for what, media_time, ntp, elapsed, wall, which in steps:
        now = max(0.0, now + elapsed)
        if what == "at":
            answer = tracks[which].at(media_time, now=now, wall_us=WALL + int(now * 1e6) + wall)
            assert last[which] == 0 or answer >= last[which]
            last[which] = answer
        elif what == "report":
            tracks[which].on_sender_report(ntp, media_time, now=now)
        else:
            tracks[which].restart()


@pytest.mark.parametrize("step", STEPS_S)
@pytest.mark.parametrize("tracks", TRACKS)
def test_the_camera_s_time_in_reports_steps(step: float, tracks: tuple[Kind, ...]) -> None:
    answers = simulate(Camera(wrong=lambda kind, t: step if t >= 100 and kind in tracks else 0.0), 160)
    assert apart(answers, 5, 160) < 100


@pytest.mark.parametrize("step", STEPS_S)
@pytest.mark.parametrize("tracks", TRACKS)
def test_the_media_times_in_reports_step(step: float, tracks: tuple[Kind, ...]) -> None:
    answers = simulate(Camera(wrong_media=lambda kind, t: step if t >= 100 and kind in tracks else 0.0), 160)
    assert apart(answers, 5, 160) < 100


@pytest.mark.parametrize("step", STEPS_S)
@pytest.mark.parametrize("kind", list(RATE))
def test_reports_that_were_wrong_become_right(step: float, kind: Kind) -> None:
    answers = simulate(Camera(wrong=lambda k, t: step if t < 20 and k == kind else 0.0), 60)
    assert apart(answers, 28, 60) < 100  # the second right one comes at 25.9


@pytest.mark.parametrize("step", STEPS_S)
@pytest.mark.parametrize("tracks", TRACKS)
@pytest.mark.parametrize("pause", [0.0, 1.0])
def test_media_times_step_and_reports_say_so(step: float, tracks: tuple[Kind, ...], pause: float) -> None:
    camera = Camera(media=lambda kind, t: t + (step if t >= 100 and kind in tracks else 0.0))
    camera.silent = lambda kind, t: 100 - pause < t < 100 + pause
    answers = simulate(camera, 160)
    assert apart(answers, 5, 98) < 40
    assert apart(answers, 108, 160) < 100  # the second report comes at 105.9


@pytest.mark.parametrize("away", [1.5, 3.0, 4.9])
@pytest.mark.parametrize("reported", [0.0, 1e9])
def test_single_pictures_that_are_seconds_ahead_move_nothing(away: float, reported: float) -> None:
    camera = Camera(media=lambda kind, t: t + (away if kind == "video" and round(t * 5) % 50 == 20 else 0.0))
    camera.report_from = reported
    assert apart(simulate(camera, 200), 5, 200) < 150


@pytest.mark.parametrize("flushed", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("skipped", [-0.9, -0.7, -0.3, 0.0, 0.3, 0.7])
def test_a_camera_that_comes_back_has_its_sound_and_picture_together(flushed: float, skipped: float) -> None:
    """It sends its last `flushed` seconds at once, and after two seconds goes on with other pictures (another SSRC)."""
    placement, placed = Placement(("audio", "video")), list[PlacedUnit]()
    for kind, rate in RATE.items():
        placed += placement.begin(kind, rate)
    for tick in range(25 * 20):
        t, anew = tick / 25, tick >= 225
        now = t if t < 9 - flushed else 9 - flushed + tick / 1e4 if not anew else t + 2
        if tick == 225:
            placed += placement.begin("video", RATE["video"])
        for kind, rate in RATE.items():
            media_time = int(t * rate) + (99_999 if anew and kind == "video" else 0)
            if tick % 25 == 5 and not 9 - flushed <= t < 9:
                # the media clock went on while the camera was away, less or more than that
                ntp = int((3_000_000_000 + t + (2 + skipped if anew else 0)) * 2**32)
                placed += placement.on_sender_report(kind, ntp, media_time, now=now)
            unit = Unit(media_time, b"", True, tick, False, 0, None)
            placed += placement.push(kind, unit, now=now + 0.03, wall_us=WALL + int((now + 0.03) * 1e6))
    times = {(one.track, one.unit.index): one.wall_us for one in placed}
    assert len(times) == 2 * 500
    for tick in (*range(200), *range(300, 500)):
        assert abs(times["audio", tick] - times["video", tick]) < 100_000
