"""The media before an event: enough of it, beginning with a key frame, within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recorder.capture.preroll import Preroll
from recorder.depacketize.units import CodecParameters, PlacedUnit, Unit
from sfu.rtc.sdp.codec import Kind

SECOND = 1_000_000
PICTURE = CodecParameters("VP8", 90000, 320, 180)


def moment(at: float, track: Kind = "video", *, key: bool = False, size: int = 100) -> PlacedUnit:
    audio = track == "audio"
    unit = Unit(0, bytes(size), key or audio, 0, False, 0, PICTURE if key else None)
    return PlacedUnit(track, unit, round(at * SECOND))


def test_it_begins_with_the_key_frame_before_what_is_wanted() -> None:
    preroll = Preroll(10 * SECOND)
    wanted = [preroll.push(moment(tick / 10, key=tick % 40 == 0)) for tick in range(1000)]
    times = [at.wall_us / SECOND for at in preroll.replay()]
    assert not any(wanted)
    assert (times[0], times[-1]) == (88.0, 99.9)
    assert len(times) == 120
    assert preroll.replay() == []
    assert preroll.size == 0


def test_a_camera_that_sends_no_key_frames_is_to_be_asked_for_one() -> None:
    preroll = Preroll(2 * SECOND)
    assert preroll.push(moment(0))
    assert not preroll.push(moment(0.1, key=True))
    assert not preroll.push(moment(2.1))
    assert preroll.push(moment(2.2))
    assert not preroll.push(moment(2.3, key=True))
    assert [at.wall_us for at in preroll.replay()] == [100_000, 2_100_000, 2_200_000, 2_300_000]


def test_sound_alone_is_remembered_as_long() -> None:
    preroll = Preroll(5 * SECOND)
    for tick in range(1000):
        assert not preroll.push(moment(tick / 50, "audio"))
    times = [at.wall_us / SECOND for at in preroll.replay()]
    assert 13.9 <= times[0] <= 14.98
    assert times[-1] == 19.98


def test_too_many_bytes_cost_the_oldest_key_frames_first() -> None:
    preroll = Preroll(60 * SECOND, max_bytes=1000)
    for tick in range(40):
        preroll.push(moment(tick / 10, key=tick % 4 == 0))
        assert preroll.size <= 1000
    times = [at.wall_us / SECOND for at in preroll.replay()]
    assert (times[0], len(times)) == (3.2, 8)


def test_a_key_frame_that_never_ends_is_given_up() -> None:
    preroll = Preroll(60 * SECOND, max_bytes=1000)
    asked = [preroll.push(moment(tick / 10, key=tick == 0)) for tick in range(20)]
    assert asked == [False] * 10 + [True] * 10
    assert preroll.replay() == []


@given(
    st.lists(
        st.tuples(st.sampled_from(["video", "key", "audio"]), st.floats(-2.0, 4.0), st.integers(1, 400)), max_size=60
    )
)
def test_whatever_comes_it_stays_in_bounds_and_in_order(steps: list[tuple[str, float, int]]) -> None:
    preroll = Preroll(5 * SECOND, max_bytes=2000)
    at, pushed = 100.0, []
    for what, elapsed, size in steps:
        at += elapsed
        pushed.append(moment(at, "audio" if what == "audio" else "video", key=what == "key", size=size))
        preroll.push(pushed[-1])
        assert 0 <= preroll.size <= 2000
    remembered = preroll.replay()
    order = [next(n for n, one in enumerate(pushed) if one.unit is m.unit) for m in remembered]
    assert order == sorted(order)
    assert not order or order[-1] == len(pushed) - 1 or pushed[-1].track == "video"
    first = next((m for m in remembered if m.track == "video"), None)
    assert first is None or first.unit.key


def test_a_clock_set_back_moves_what_came_before_it() -> None:
    preroll = Preroll(2 * SECOND)
    for tick in range(100):
        preroll.push(moment(3600 + tick / 10, key=tick % 10 == 0))
    for tick in range(15):
        preroll.push(moment(10 + tick / 10, key=tick % 10 == 0))
    times = [at.wall_us / SECOND for at in preroll.replay()]
    assert times == sorted(times)
    assert times[0] > 10 - 2.5
    assert times[-1] == 11.4


def test_a_clock_set_back_costs_no_memory() -> None:
    preroll = Preroll(2 * SECOND, max_bytes=1 << 30)
    for minute in range(60):
        for tick in range(100):
            preroll.push(moment(3600 * (60 - minute) + tick / 10, key=tick % 10 == 0, size=1000))
    assert preroll.size < 40_000
