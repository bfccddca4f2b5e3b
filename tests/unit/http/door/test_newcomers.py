"""Places for clients that have said nothing yet: shares, and who goes when all are taken."""

from __future__ import annotations

from sfu.http.door.newcomers import Newcomers


def test_the_oldest_goes_when_all_places_are_taken() -> None:
    newcomers = Newcomers(total=3, per_address=0)
    first, second, third, fourth = (newcomers.admit("a") for _ in range(4))
    assert first
    assert second
    assert third
    assert fourth
    assert [one.turned_away.is_set() for one in (first, second, third, fourth)] == [True, False, False, False]
    assert len(newcomers) == 3
    newcomers.leave(second)
    newcomers.leave(second)
    assert newcomers.admit("a")
    assert not third.turned_away.is_set()


def test_an_address_has_a_share_and_a_proxy_on_this_machine_none() -> None:
    newcomers = Newcomers(total=9, per_address=2)
    mine = [newcomers.admit("a") for _ in range(3)]
    assert mine[2] is None
    assert newcomers.admit("b")
    assert all(newcomers.admit(None) for _ in range(5))
    assert mine[0]
    newcomers.leave(mine[0])
    assert newcomers.admit("a")
