"""The identity of the door's clients on servers that ask nobody. Never decides about a message."""

from __future__ import annotations

import math
from typing import Final

from aiohttp import web

from sfu.access.rights import EVERYWHERE, Claims, Right, Use

EVERYBODY: Final = Claims("everybody", (EVERYWHERE,), frozenset(Right), math.inf, "", Use.SESSION)
"""The claims of all who come while `access.mode` is open."""


class DoorIdentity:
    """The judge of the door's clients on a server that asks nobody: all may do everything."""

    def who(self, _request: web.Request, /) -> Claims | None:
        """See `Identity`."""
        return EVERYBODY

    async def judge(self, _request: web.Request, _username: str | None, _password: str, /) -> Claims | None:
        """See `Identity`."""
        return EVERYBODY

    def fault(self, _claims: Claims) -> str | None:
        """See `Identity`."""
        return None
