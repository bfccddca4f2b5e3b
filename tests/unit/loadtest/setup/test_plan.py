"""The plan distributes viewers over cameras and rooms, and rejects impossible numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.loadtest.setup.plan import Plan


@given(st.integers(1, 20), st.integers(1, 50), st.integers(1, 20))
def test_viewers_go_round_the_cameras_of_their_room(publishers: int, viewers: int, rooms: int) -> None:
    plan = Plan(publishers=publishers, viewers=viewers, rooms=min(rooms, publishers))
    watched = [plan.watched(number) for number in range(viewers)]
    for number, camera in enumerate(watched):
        assert camera is not None
        assert plan.camera(camera).room == plan.viewer(number).room
    per_room = [
        [camera for number, camera in enumerate(watched) if number % plan.rooms == r] for r in range(plan.rooms)
    ]
    for cameras in per_room:
        seen = [cameras.count(camera) for camera in set(cameras)]
        assert not seen or max(seen) - min(seen) <= 1
    assert not list(plan.faults())


def test_leaves_are_all_different() -> None:
    plan = Plan(publishers=5, viewers=7, rooms=2)
    leaves = [*plan.cameras(), *(plan.viewer(number) for number in range(plan.viewers))]
    assert len({str(leaf) for leaf in leaves}) == 12
    assert {leaf.room for leaf in leaves} == {"load/1", "load/2"}


@pytest.mark.parametrize(
    "plan",
    [
        Plan(viewers=0),
        Plan(rooms=2),
        Plan(ramp=0),
        Plan(seconds=0),
        Plan(bitrate=10),
        Plan(publishers=-1),
        Plan(publishers=0, rooms=2),
    ],
)
def test_an_impossible_plan_says_why(plan: Plan) -> None:
    assert list(plan.faults())
