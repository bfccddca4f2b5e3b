"""The entry of the HTTP server: asks the rule of each request's route, and lets people log in and out.

Owns the order of these checks and the answers to those who are not let in. The guard has looked at host and origin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiohttp import web

from sfu.access.audit import Audit
from sfu.access.authority import Authority
from sfu.access.rights import Claims, Right, Use
from sfu.http.answers import FRESH, SEES, SUFFIX, Handler, Refusal, answered
from sfu.http.entry import shown
from sfu.http.entry.credentials import CLAIMS, Credentials, is_shown
from sfu.http.entry.logins import Logins
from sfu.http.entry.proxies import Proxies
from sfu.http.entry.rules import Rule, Verdict, rule_of
from sfu.http.entry.sessions import Sessions

_LOG_IN: Final = (
    "log in first: /login in a browser, else send Authorization: Bearer <token> (make one with `sfu token`)"
)
_WRONG: Final = "this login does not hold: user, password, token or link are wrong, used up or too old"
_HIDDEN: Final = "there is nothing at this address that you may see"
_MISSING: Final = "you may not do this: the right {right} is missing"
_PICTURE_S: Final = 24 * 3600.0
_PRIVATE: Final = "private, no-cache"


class Entry:
    """The entry of one server."""

    def __init__(
        self, authority: Authority, *, logins: Logins, proxies: Proxies, audit: Audit, clock: Callable[[], float]
    ) -> None:
        """`clock` returns seconds since 1970."""
        self._authority = authority
        self._logins = logins
        self._sessions = Sessions(authority, clock)
        self._audit = audit
        self.identity = Credentials(authority, logins, proxies)

    def routes(self) -> list[web.RouteDef]:
        """Returns the routes of login and logout, for `web.Application.add_routes`."""
        return [web.post("/login", answered(self._login)), web.post("/logout", answered(self._logout))]

    async def close(self) -> None:
        """Starts no more logins."""
        self._logins.close()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Passes a request on, or answers 303 (to the login), 401, 403, 404 or 429."""
        resource = request.match_info.route.resource
        pattern = None if resource is None else resource.canonical
        rule = rule_of(request.method, pattern)
        media = rule is not None and rule.media and request.method in ("GET", "HEAD")
        try:
            claims = await self.identity.claims(request, media=media)
            verdict = Verdict.FORBIDDEN if rule is None else rule.judge(claims, request.match_info, request.query)
            if verdict is Verdict.NO_SESSION and pattern == "/":
                return web.Response(status=303, headers={"Location": "login", **FRESH})
            self._require(verdict, rule, request, claims)
        except Refusal as refusal:
            return _challenged(refusal.response())
        self._note(request, rule, claims)
        return await handler(request)

    def picture_token(self, room: str) -> str:
        """Returns a token for pictures of one room, for URLs that programs load which can send nothing else."""
        rights = (Right.VIEW,)
        return self._authority.mint("snapshot", (room,), rights, lasts_s=_PICTURE_S, use=Use.MEDIA)[0]

    async def prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Renews an old session, and keeps media out of shared caches and of those that outlast a login."""
        if "immutable" in response.headers.get("Cache-Control", "") and request.path.count("/") > 2:
            response.headers["Cache-Control"] = _PRIVATE
        # A cookie without a path belongs to the folder of the request: only the root's reaches all routes.
        if request.path.count("/") != 1 or request.method not in ("GET", "HEAD"):
            return
        session = self.identity.session(request)
        renewed = None if session is None else self._sessions.renewed(session)
        if renewed is not None:
            self._sessions.keep(request, response, renewed)

    def _require(self, verdict: Verdict, rule: Rule | None, request: web.Request, claims: Claims | None) -> None:
        """Raises Refusal unless the verdict is good."""
        if verdict is Verdict.GOOD:
            return
        if verdict is not Verdict.NO_SESSION or is_shown(request):
            address = self.identity.proxies.address(request)
            self._audit("refused", claims, reason=verdict.name.lower(), path=request.path, address=address)
        if verdict is Verdict.NO_SESSION:
            raise Refusal(401, "unauthorized", _LOG_IN)
        if verdict is Verdict.HIDDEN:
            raise Refusal(404, "not_found", _HIDDEN)
        raise Refusal(403, "forbidden", _MISSING.format(right=rule.right if rule is not None else "to this address"))

    def _note(self, request: web.Request, rule: Rule | None, claims: Claims | None) -> None:
        """Notes the claims for handlers: of lists, of playlists and of the door."""
        if claims is None or rule is None:
            return
        request[CLAIMS] = claims
        request[SEES] = claims.knows
        if rule.media and "token" in request.query and "room" in request.match_info:
            token = self._sessions.for_media(claims, request.match_info["room"], Right.PLAYBACK)
            request[SUFFIX] = f"?token={token}"
        if rule.audited is not None:
            address = self.identity.proxies.address(request)
            self._audit(rule.audited, claims, path=request.path, address=address, **_asked(request))

    async def _login(self, request: web.Request) -> web.Response:
        fields = await _fields(request)
        address = self.identity.proxies.address(request)
        if "token" in fields:
            session = self._sessions.by_token(fields["token"])
        elif "once" in fields:
            session = await self._sessions.by_link(fields["once"])
        else:
            session = await self._logins.session(shown.Login(fields["user"], fields["password"]), address)
        how = "password" if "password" in fields else next(iter(fields))
        if session is None:
            self._audit("login_refused", by=how, address=address)
            raise Refusal(401, "unauthorized", _WRONG)
        self._audit("login", session[1], by=how, address=address)
        response = web.json_response({"user": session[1].sub}, headers=FRESH)
        self._sessions.keep(request, response, session)
        return response

    async def _logout(self, request: web.Request) -> web.Response:
        session = self.identity.session(request)
        if session is not None:
            await self._sessions.end(session)
            self._audit("logout", session, address=self.identity.proxies.address(request))
        response = web.Response(status=204, headers=FRESH)
        self._sessions.forget(request, response)
        return response


async def _fields(request: web.Request) -> dict[str, str]:
    """Returns the fields of a login. Raises Refusal 400."""
    try:
        # One more byte than is taken, so that a longer body is seen to be too long.
        body = b""
        while len(body) <= shown.MAX_BODY_BYTES and (part := await request.content.read(shown.MAX_BODY_BYTES + 1)):
            body += part
        if request.content_type != "application/json":
            raise shown.LoginBodyError("send the login with Content-Type: application/json")
        return shown.login_of(body)
    except shown.LoginBodyError as error:
        raise Refusal(400, "bad_request", str(error)) from None


def _asked(request: web.Request) -> dict[str, str]:
    """Returns the parts of a query that an audit line may have: never a token."""
    return {name: request.query[name] for name in ("room", "peer", "start", "end") if name in request.query}


def _challenged(response: web.Response) -> web.Response:
    if response.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="sfu"'
    return response
