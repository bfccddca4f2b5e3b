"""The authority: whose token it is, for which use, and until when it holds."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from sfu.access.authority import Authority
from sfu.access.revoked import Revoked
from sfu.access.rights import Right, Use
from sfu.access.tokens import Keys, TokenError
from tests.helpers.clock import FakeTime

NOW = 1_796_000_000.0


class Stamps:
    """Users, as far as an authority asks."""

    def __init__(self) -> None:
        self.known = {"ann": "one"}
        self.refreshed = 0

    def stamp(self, name: str) -> str | None:
        return self.known.get(name)

    def refresh(self) -> None:
        self.refreshed += 1


class Place:
    """One server's authority and the world around it."""

    def __init__(self, directory: Path) -> None:
        self.clock, self.users, self.directory = FakeTime(NOW), Stamps(), directory
        self.authority = self.started(bytes(32))

    def started(self, key: bytes, old: bytes | None = None) -> Authority:
        ids = itertools.count()
        return Authority(
            Keys(key, old),
            revoked=Revoked(self.directory, self.clock),
            users=self.users,
            clock=self.clock,
            new_id=lambda: f"id-{next(ids)}",
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_token_is_read_as_it_was_made(place: Place) -> None:
    token, claims = place.authority.mint("ann", ["site"], [Right.VIEW], lasts_s=60)
    assert place.authority.read(token) == claims
    assert place.authority.fault(claims) is None
    assert place.authority.mint("ann", ["site"], [Right.VIEW], lasts_s=60)[1].jti != claims.jti


@pytest.mark.parametrize("made", Use)
@pytest.mark.parametrize("asked", [(), *[(use,) for use in Use], (Use.ACCESS, Use.SESSION)])
def test_a_token_for_one_thing_is_refused_for_another(place: Place, made: Use, asked: tuple[Use, ...]) -> None:
    token, claims = place.authority.mint("ann", ["*"], [Right.ADMIN], lasts_s=60, use=made)
    if made in (asked or (Use.ACCESS,)):
        assert place.authority.read(token, *asked).jti == claims.jti
    else:
        with pytest.raises(TokenError, match=f"for another use \\({made}\\)"):
            place.authority.read(token, *asked)


def test_a_token_and_what_was_read_of_it_end_at_its_time(place: Place) -> None:
    token, claims = place.authority.mint("ann", ["site"], [Right.VIEW], lasts_s=60)
    place.clock.now += 60
    assert place.authority.fault(claims) == "the token has expired: get a new one"
    with pytest.raises(TokenError, match="expired"):
        place.authority.read(token)


def test_a_revoked_token_ends_here_and_after_a_restart(place: Place) -> None:
    token, claims = place.authority.mint("ann", ["site"], [Right.VIEW], lasts_s=60)
    assert place.authority.revoke(claims)
    assert not place.authority.revoke(claims)
    for authority in (place.authority, place.started(bytes(32))):
        assert authority.fault(claims) == "the token was revoked"
        with pytest.raises(TokenError, match="revoked"):
            authority.read(token)


def test_what_a_command_revokes_ends_at_the_next_refresh(place: Place) -> None:
    _, claims = place.authority.mint("ann", ["site"], [Right.VIEW], lasts_s=60)
    Revoked(place.directory, place.clock).add(claims.jti, claims.until)
    place.authority.refresh()
    assert place.authority.fault(claims) == "the token was revoked"
    assert place.users.refreshed == 1


def test_a_session_ends_with_its_user(place: Place) -> None:
    token, claims = place.authority.mint("ann", ["*"], [Right.VIEW], lasts_s=60, use=Use.SESSION, stamp="one")
    assert place.authority.fault(claims) is None
    place.users.known["ann"] = "two"
    assert place.authority.fault(claims) == "the user was changed or removed: log in again"
    del place.users.known["ann"]
    with pytest.raises(TokenError, match="log in again"):
        place.authority.read(token, Use.SESSION)


def test_a_rotated_key(place: Place) -> None:
    token, claims = place.authority.mint("ann", ["site"], [Right.VIEW], lasts_s=60)
    with pytest.raises(TokenError, match="another key"):
        place.started(bytes(range(32))).read(token)
    later = place.started(bytes(range(32)), bytes(32))
    assert later.read(token) == claims
    fresh, _ = later.mint("bob", ["site"], [Right.VIEW], lasts_s=60)
    with pytest.raises(TokenError, match="another key"):
        place.authority.read(fresh)


@pytest.mark.parametrize("lasts_s", [math.inf, math.nan, 1e12])
def test_no_token_holds_for_ever(place: Place, lasts_s: float) -> None:
    with pytest.raises(ValueError, match="year 10000"):
        place.authority.mint("ann", ["site"], [Right.VIEW], lasts_s=lasts_s)
