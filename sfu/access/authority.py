"""The authority of one server: it makes tokens, and says whose they are and whether they still hold.

Owns the order of the checks: signature, use, expiry, revocation, the user behind a session. Never knows what a request
or a message asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from sfu.access.revoked import Revoked
from sfu.access.rights import Claims, Right, Use
from sfu.access.tokens import Keys, TokenError, mint, read

_EXPIRED: Final = "the token has expired: get a new one"
_REVOKED: Final = "the token was revoked"
_USER_CHANGED: Final = "the user was changed or removed: log in again"


class UserStamps(Protocol):
    """The users, as far as sessions depend on them."""

    def stamp(self, name: str) -> str | None:
        """Returns what changes with a user's password or roles; None for an unknown user."""
        ...

    def refresh(self) -> None:
        """Reads the users again if their file has changed."""


class Authority:
    """The maker and the judge of all tokens of one server."""

    def __init__(
        self,
        keys: Keys,
        *,
        revoked: Revoked,
        users: UserStamps,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        """`clock`: seconds since 1970. `new_id`: returns a new random id for a token."""
        self.keys = keys
        self.revoked = revoked
        self.users = users
        self._clock = clock
        self._new_id = new_id

    def read(self, token: str, *uses: Use) -> Claims:
        """Returns the claims of a token that is for one of these uses (by default: for access). Raises TokenError."""
        claims = read(self.keys, token, self._clock())
        if claims.use not in (uses or (Use.ACCESS,)):
            raise TokenError(f"this token is for another use ({claims.use})")
        if (fault := self.fault(claims)) is not None:
            raise TokenError(fault)
        return claims

    def fault(self, claims: Claims) -> str | None:
        """Returns why these claims hold no more; None while they do. Cheap: for each tick of each session."""
        if claims.until <= self._clock():
            return _EXPIRED
        # The id of what was opened with a token begins with the token's own id and a dot: it ends with the token.
        if claims.jti in self.revoked or claims.jti.partition(".")[0] in self.revoked:
            return _REVOKED
        if claims.stamp is not None and claims.stamp != self.users.stamp(claims.sub):
            return _USER_CHANGED
        return None

    def mint(
        self,
        sub: str,
        room: Iterable[str],
        can: Iterable[Right],
        *,
        lasts_s: float,
        use: Use = Use.ACCESS,
        stamp: str | None = None,
    ) -> tuple[str, Claims]:
        """Returns a new token and its claims. Raises ValueError for names, rooms and times that no token may have."""
        now = self._clock()
        claims = Claims(sub, tuple(room), frozenset(can), now + lasts_s, self._new_id(), use, now, stamp)
        return mint(self.keys.current, claims), claims

    def revoke(self, claims: Claims) -> bool:
        """Ends a token. Returns False if it was revoked before: of two that redeem one link, one gets False."""
        return self.revoked.add(claims.jti, claims.until)

    def refresh(self) -> None:
        """Takes over what commands have written about users and revoked tokens; to be called each second."""
        self.revoked.refresh()
        self.users.refresh()
