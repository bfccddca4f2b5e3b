"""The sessions of browsers: opened by a login, a token or a one-time link; renewed; ended.

Owns what a session may last and do, and the cookie it is kept in. Never reads a request's body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from sfu.access.authority import Authority
from sfu.access.rights import Claims, Right, Use
from sfu.access.tokens import TokenError, mint
from sfu.http.entry.logins import SESSION_S
from sfu.http.entry.shown import COOKIE

_RENEWED_AFTER_S = 12 * 3600.0
_MEDIA_S = SESSION_S + 600
_PART = "."
"""Stands between the id of a token and the rest of the id of a session that was opened with it (`Authority.fault`)."""


class Sessions:
    """The sessions of one server. `clock` returns seconds since 1970."""

    def __init__(self, authority: Authority, clock: Callable[[], float]) -> None:
        self._authority = authority
        self._clock = clock

    def by_token(self, token: str) -> tuple[str, Claims] | None:
        """Returns a session as long as the token, which ends with it too; None if the token does not hold."""
        try:
            claims = self._authority.read(token, Use.ACCESS)
        except TokenError:
            return None
        _, fresh = self._authority.mint(claims.sub, claims.room, claims.can, lasts_s=0)
        session = replace(claims, use=Use.SESSION, since=self._clock(), jti=f"{claims.jti}{_PART}{fresh.jti}")
        return mint(self._authority.keys.current, session), session

    async def by_link(self, token: str) -> tuple[str, Claims] | None:
        """Returns a session for the token of a one-time link; None if it does not hold, or was used before."""
        try:
            link = self._authority.read(token, Use.ONCE)
        except TokenError:
            return None
        # In a thread: it waits for the disk.
        if not await asyncio.to_thread(self._authority.revoke, link):
            return None
        return self._authority.mint(link.sub, link.room, link.can, lasts_s=SESSION_S, use=Use.SESSION)

    def renewed(self, claims: Claims) -> tuple[str, Claims] | None:
        """Returns an older session with a new end; None while it is new, or if it ends with a token."""
        now = self._clock()
        if now - claims.since < _RENEWED_AFTER_S or _PART in claims.jti:
            return None
        # The id stays, so that a logout ends every copy of it.
        session = replace(claims, since=now, until=now + SESSION_S)
        return mint(self._authority.keys.current, session), session

    async def end(self, claims: Claims) -> None:
        """Ends a session, with all that was opened in it, such as its connections to the door."""
        # A copy from before the last renewal may name an earlier end than another copy has.
        await asyncio.to_thread(self._authority.revoke, replace(claims, until=max(claims.until, self._longest())))

    def for_media(self, claims: Claims, room: str, right: Right) -> str:
        """Returns a token for URLs of one room, which ends with the caller's: its id begins with that one's.

        It lasts as long as the longest playlist: players load a file of it when they come to it.
        """
        until = min(claims.until, self._clock() + _MEDIA_S)
        _, fresh = self._authority.mint(claims.sub, (room,), (right,), lasts_s=0)
        jti = f"{claims.jti.partition(_PART)[0]}{_PART}{fresh.jti}"
        media = replace(fresh, use=Use.MEDIA, until=until, jti=jti, stamp=claims.stamp)
        return mint(self._authority.keys.current, media)

    def keep(self, request: web.Request, response: web.StreamResponse, session: tuple[str, Claims]) -> None:
        """Sets the cookie. It has no path: the browser takes that of the page, which a proxy may have moved."""
        token, claims = session
        lasts_s = max(0, int(claims.until - self._clock()))
        self._set(request, response, token, lasts_s)

    def forget(self, request: web.Request, response: web.StreamResponse) -> None:
        """Removes the cookie."""
        self._set(request, response, "", 0)

    def _set(self, request: web.Request, response: web.StreamResponse, value: str, lasts_s: int) -> None:
        secure = "; Secure" if _is_https(request) else ""
        response.headers.add("Set-Cookie", f"{COOKIE}={value}; Max-Age={lasts_s}; HttpOnly; SameSite=Lax{secure}")

    def _longest(self) -> float:
        return self._clock() + SESSION_S


def _is_https(request: web.Request) -> bool:
    """Returns True if the browser reached us by https. A client that says so falsely harms nobody but itself."""
    said = request.headers.get("X-Forwarded-Proto", "").strip().lower()
    return request.secure or said == "https" or request.headers.get("Origin", "").lower().startswith("https://")
