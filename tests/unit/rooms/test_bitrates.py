"""The bitrates that cameras are asked for, by room."""

from __future__ import annotations

import pytest

from sfu.rooms.bitrates import RoomBitrates


def test_a_room_has_the_bounds_of_the_nearest_one_around_it() -> None:
    bitrates = RoomBitrates(4_000_000, {"site": (50_000, 2_000_000), "site/gate": (0, 100_000)}, 9)
    assert bitrates.of("hall") == (150_000, 4_000_000, 9)
    assert bitrates.of("site") == bitrates.of("site/yard/east") == (50_000, 2_000_000, 9)
    assert bitrates.of("site/gate") == bitrates.of("site/gate/north") == (100_000, 100_000, 9)
    assert bitrates.of("sites") == (150_000, 4_000_000, 9)


def test_a_name_that_no_room_can_have_is_told() -> None:
    with pytest.raises(ValueError, match="site//gate"):
        RoomBitrates(1, {"site//gate": (0, 1)}, 9)
