"""The identity of the door's clients: from a request or a login to claims.

Owns the rule for servers that ask nobody. Never decides about a message.
"""

from __future__ import annotations

import math
from typing import Final

from aiohttp import web

from sfu.access.authority import Authority
from sfu.access.rights import EVERYWHERE, Claims, Right, Use
from sfu.access.tokens import TokenError

EVERYBODY: Final = Claims("everybody", (EVERYWHERE,), frozenset(Right), math.inf, "", Use.SESSION)
"""The claims of all who come while `access.mode` is open."""


class DoorIdentity:
    """The judge of the door's clients; without an authority, everybody may do everything."""

    def __init__(self, authority: Authority | None) -> None:
        self._authority = authority

    def who(self, _request: web.Request, /) -> Claims | None:
        """See `Identity`."""
        return EVERYBODY if self._authority is None else None

    async def judge(self, _request: web.Request, _username: str | None, password: str, /) -> Claims | None:
        """See `Identity`."""
        if self._authority is None:
            return EVERYBODY
        try:
            return self._authority.read(password)
        except TokenError:
            return None

    def fault(self, claims: Claims) -> str | None:
        """See `Identity`."""
        return None if self._authority is None else self._authority.fault(claims)
