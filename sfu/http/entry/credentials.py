"""From a request to claims: bearer token, login, cookie, a proxy's headers, token of the query, in this order.

Owns the order, and which use of a token is taken where. Never decides what the claims allow.
"""

from __future__ import annotations

import contextlib
from typing import Final

from aiohttp import web

from sfu.access.authority import Authority
from sfu.access.rights import Claims, Use
from sfu.access.tokens import TokenError
from sfu.http.answers import Refusal
from sfu.http.entry import shown
from sfu.http.entry.logins import Logins
from sfu.http.entry.proxies import Proxies

CLAIMS: Final = web.RequestKey("claims", Claims)
"""Key of the claims of a request, once they are known."""


class Credentials:
    """The reader of the credentials of one server's requests. It is the `Identity` of the door, too."""

    def __init__(self, authority: Authority, logins: Logins, proxies: Proxies) -> None:
        self._authority = authority
        self._logins = logins
        self.proxies = proxies

    async def claims(self, request: web.Request, *, media: bool) -> Claims | None:
        """Returns the claims of a request; None if it shows none that hold. Raises Refusal 429.

        `media`: a token in the query counts. A password is tried last: that takes long, and a proxy may have a login
        of its own in front of us, whose header comes through to here.
        """
        headers = request.headers.getall("Authorization", [])
        logins = [login for login in map(shown.basic_of, headers) if login is not None]
        tokens = [token for token in map(shown.bearer_of, headers) if token] + [login.password for login in logins]
        for found in (
            self._first(tokens, Use.ACCESS),
            self.session(request),
            self.proxies.claims(request),
            self._first(request.query.getall("token", [])[:1], Use.ACCESS, Use.MEDIA) if media else None,
        ):
            if found is not None:
                return found
        for login in logins[:1]:
            return await self._logins.claims(login, self.proxies.address(request)) if login.user else None
        return None

    def session(self, request: web.Request) -> Claims | None:
        """Returns the claims of the cookie; None if there is none that holds."""
        return self._first(shown.sessions_of(request.headers.getall("Cookie", [])), Use.SESSION)

    def who(self, request: web.Request, /) -> Claims | None:
        """See `Identity`. The claims were found before the door was asked."""
        return request.get(CLAIMS)

    async def judge(self, request: web.Request, username: str | None, password: str, /) -> Claims | None:
        """See `Identity`. The password is a token, whatever the name is, or that of a user."""
        found = self._first([password], Use.ACCESS)
        if found is not None or not username:
            return found
        with contextlib.suppress(Refusal):
            return await self._logins.claims(shown.Login(username, password), self.proxies.address(request))
        return None

    def fault(self, claims: Claims) -> str | None:
        """See `Identity`."""
        return self._authority.fault(claims)

    def _first(self, tokens: list[str], *uses: Use) -> Claims | None:
        for token in tokens:
            with contextlib.suppress(TokenError):
                return self._authority.read(token, *uses)
        return None


def is_shown(request: web.Request) -> bool:
    """Returns True if a request shows credentials, good or bad."""
    sessions = shown.sessions_of(request.headers.getall("Cookie", []))
    return "Authorization" in request.headers or "token" in request.query or bool(sessions)
