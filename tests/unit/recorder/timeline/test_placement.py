"""When units are put on their producer's timeline: once all its tracks have said where they stand, or a second on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recorder.depacketize.units import PlacedUnit, Unit
from recorder.timeline.placement import Placement
from sfu.rtc.sdp.codec import Kind

WALL = 1_790_000_000_000_000
RATE: dict[Kind, int] = {"audio": 48_000, "video": 90_000}


class Feed:
    """Units by the second they were taken and the one they came at; keeps the moments."""

    def __init__(self, *expected: Kind) -> None:
        self.placement = Placement(expected)
        self.moments: list[PlacedUnit] = []
        for kind in expected:
            self.begin(kind)

    def begin(self, kind: Kind) -> None:
        self.moments += self.placement.begin(kind, RATE[kind])

    def unit(self, kind: Kind, taken: float, came: float) -> None:
        unit = Unit(int(taken * RATE[kind]), b"", True, 0, False, 0, None)
        self.moments += self.placement.push(kind, unit, now=came, wall_us=WALL + int(came * 1e6))

    def report(self, kind: Kind, taken: float, came: float) -> None:
        ntp = int((3_000_000_000 + taken) * 2**32)
        self.moments += self.placement.on_sender_report(kind, ntp, int(taken * RATE[kind]), now=came)

    def seconds(self, kind: Kind) -> list[float]:
        return [round((moment.wall_us - WALL) / 1e6, 3) for moment in self.moments if moment.track == kind]


def test_units_wait_for_the_reports_of_both_tracks_and_then_stand_together() -> None:
    feed = Feed("audio", "video")
    for number in range(4):
        feed.unit("audio", number / 10, number / 10 + 0.03)
        feed.unit("video", number / 10, number / 10 + 0.1)
    feed.report("video", 0.4, 0.42)
    assert not feed.moments
    feed.report("audio", 0.4, 0.42)
    assert feed.seconds("audio") == feed.seconds("video") == [0.02, 0.12, 0.22, 0.32]
    feed.unit("audio", 0.4, 0.43)
    assert feed.seconds("audio")[-1] == 0.42


def test_a_second_is_waited_and_no_longer() -> None:
    feed = Feed("audio", "video")
    feed.unit("video", 0.0, 10.0)
    feed.moments += feed.placement.tick(now=10.9)
    assert not feed.moments
    feed.moments += feed.placement.tick(now=11.0)
    feed.unit("video", 1.1, 11.1)
    assert feed.seconds("video") == [10.0, 11.1]


def test_without_reports_the_least_delayed_unit_tells_for_those_before_it() -> None:
    feed = Feed("audio", "video")
    for taken, came in ((0.0, 0.4), (0.1, 0.42), (0.2, 0.25), (0.3, 0.36)):
        feed.unit("video", taken, came)
    feed.moments += feed.placement.release()
    assert feed.seconds("video") == [0.05, 0.15, 0.25, 0.35]


def test_what_lies_after_a_jump_tells_nothing_of_what_lies_before() -> None:
    feed = Feed("audio", "video")
    for taken, came in ((0.0, 0.1), (0.1, 0.2), (1000.0, 0.3)):
        feed.unit("video", taken, came)
    feed.moments += feed.placement.release()
    assert feed.seconds("video")[:2] == [0.1, 0.2]


def test_a_track_alone_waits_for_nothing() -> None:
    feed = Feed("video")
    feed.unit("video", 0.0, 0.1)
    assert feed.seconds("video") == [0.1]


def test_another_stream_of_a_track_ends_the_wait() -> None:
    feed = Feed("audio", "video")
    feed.unit("video", 0.0, 0.1)
    feed.begin("video")
    assert feed.seconds("video") == [0.1]
    feed.unit("video", 500.0, 0.2)
    assert feed.seconds("video") == [0.1, 0.2]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["unit", "report", "begin", "tick"]),
            st.sampled_from(sorted(RATE)),
            st.floats(0, 5e4),
            st.floats(0, 0.5),
        ),
        max_size=60,
    )
)
def test_every_unit_comes_out_once_in_the_order_of_its_track(steps: list[tuple[str, Kind, float, float]]) -> None:
    feed = Feed("audio", "video")
    pushed: list[tuple[Kind, int]] = []
    now = 0.0
    for what, kind, taken, passed in steps:
        now += passed
        if what == "unit":
            pushed.append((kind, int(taken * RATE[kind])))
            feed.unit(kind, taken, now)
        elif what == "report":
            feed.report(kind, taken, now)
        elif what == "begin":
            feed.begin(kind)
        else:
            feed.moments += feed.placement.tick(now=now)
    feed.moments += feed.placement.release()
    assert [(moment.track, moment.unit.media_time) for moment in feed.moments] == pushed
    for kind in RATE:
        assert feed.seconds(kind) == sorted(feed.seconds(kind))
