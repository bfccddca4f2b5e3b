"""Sender reports of nonsense: they never move a track far from the arrival of its packets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from recorder.timeline.clocks import CameraClock, MediaAxis
from recorder.timeline.timeline import Timeline

WALL = 1_790_000_000_000_000
RATES = (48_000, 90_000)
NTP_1900 = 2_208_988_800
EDGE_64 = st.sampled_from([0, 1, 1 << 63, (1 << 64) - 1, NTP_1900 << 32]) | st.integers(0, (1 << 64) - 1)
EDGE_32 = st.sampled_from([0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF]) | st.integers(0, 0xFFFF_FFFF)


@given(st.lists(st.tuples(st.sampled_from([0, 1]), EDGE_64, st.none() | EDGE_32, st.integers(1, 25)), max_size=30))
def test_whatever_is_reported_pictures_and_sound_stay_near_their_arrival(
    reports: list[tuple[int, int, int | None, int]],
) -> None:
    """A media time of None is the right one."""
    timeline = Timeline()
    tracks = [timeline.track(rate) for rate in RATES]
    frames, now = 0, 1.0
    for which, ntp, media_time, count in reports:
        for _ in range(count):
            frames += 1
            now = 1 + frames / 25
            for track, rate in zip(tracks, RATES, strict=True):
                placed = track.at(int(now * rate) & 0xFFFF_FFFF, now=now, wall_us=WALL + int(now * 1e6))
                assert abs(placed - WALL - now * 1e6) < 60e6
        right = int(now * RATES[which]) & 0xFFFF_FFFF
        tracks[which].on_sender_report(ntp, right if media_time is None else media_time, now=now)


def test_a_report_far_from_what_a_track_sends_is_known_by_its_media_time() -> None:
    axis = MediaAxis(90_000)
    assert not axis.reaches(0, 0)
    axis.advance(0xFFFF_0000, 1_000_000)
    for seconds, reached in ((0, True), (9, True), (-9, True), (11, False), (-11, False), (20_000, False)):
        assert axis.reaches(0xFFFF_0000 + seconds * 90_000 & 0xFFFF_FFFF, 1_000_000) is reached
    assert axis.reaches(0xFFFF_0000 + 600 * 90_000 & 0xFFFF_FFFF, 601_000_000), "it was silent for ten minutes"


def test_the_times_of_reports_go_on_when_64_bits_wrap() -> None:
    camera = CameraClock()
    found = [camera.unwrapped_us((1 << 64) + at * (1 << 32) & (1 << 64) - 1) for at in range(-3, 4)]
    assert [b - a for a, b in pairwise(found)] == [1_000_000] * 6
