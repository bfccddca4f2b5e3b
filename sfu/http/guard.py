"""Requests that no handler gets: to a name that is not ours, or sent by the page of another site.

Owns the one middleware that refuses them, for every route. Knows no route but the few that other sites may open.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from sfu.http.answers import FRESH, Handler, Refusal
from sfu.http.names import Names
from sfu.http.refusals import Refusals

_OPEN: Final = frozenset({"/", "/login", "/embed/{room}", "/static/{name}", "/mqtt", "/healthz", "/readyz"})
"""Routes for pages of other sites: they link to documents and frame them. `/mqtt` looks at the origin itself."""
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_SHOWN: Final = 100


class Guard:
    """The checks of one server."""

    def __init__(self, names: Names, refusals: Refusals) -> None:
        self._names = names
        self._refusals = refusals

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Passes a request on, or answers 400 (no host), 421 (not our name) or 403 (a page of another site)."""
        hosts = request.headers.getall("Host", [])
        if len(hosts) > 1 or not any(hosts or [request.version < (1, 1)]):
            return web.Response(status=400, text="name one Host\n", headers=FRESH)
        for host in (*hosts, *_forwarded(request)):
            if not self._names.host_taken(host):
                return self._misdirected(host)
        try:
            self._require_own_page(request)
        except Refusal as refusal:
            return refusal.response()
        return await handler(request)

    def own_origin(self, request: web.Request) -> bool:
        """Returns True if our own page, one of `SFU_ORIGINS`, or a program sent the request. Logs a refused origin."""
        origin = request.headers.get("Origin")
        host = request.headers.get("Host", "")
        fetch_site = request.headers.get("Sec-Fetch-Site")
        if self._names.origin_taken(origin, host=host, fetch_site=fetch_site):
            return True
        shown = _shown(origin or "")
        self._refusals.once(
            "foreign_origin",
            shown,
            "refused a page of the origin %s, which asked for %s: if it is yours behind a reverse proxy, let the proxy "
            "pass the Host header, or set SFU_HOSTS to its name; if it is another site of yours, set SFU_ORIGINS=%s",
            shown,
            _shown(host),
            shown,
        )
        return False

    def _misdirected(self, host: str) -> web.Response:
        shown = _shown(host)
        self._refusals.once(
            "foreign_host",
            shown,
            "refused a request to the name %s: if this server is reached by it, set SFU_HOSTS=%s",
            shown,
            shown,
        )
        text = (
            f"This server does not know the name {shown}. If you reach it by this name, start it with\n"
            f"SFU_HOSTS={shown}\n"
            "(several names with commas). An address, such as http://127.0.0.1:8080, always works.\n"
        )
        return web.Response(status=421, text=text, headers=FRESH)

    def _require_own_page(self, request: web.Request) -> None:
        """Raises Refusal 403 for what a page of another site may not do: ask for anything but documents, or change."""
        resource = request.match_info.route.resource
        cross_site = request.headers.get("Sec-Fetch-Site") == "cross-site"
        reading = request.method in _READING
        if cross_site and (not reading or resource is None or resource.canonical not in _OPEN):
            self._refusals.count("cross_site")
            raise Refusal(403, "forbidden", "pages of other sites may not use this: open the address by itself")
        if not reading and not self.own_origin(request):
            raise Refusal(403, "forbidden", "pages of this origin may not change anything here")


def _forwarded(request: web.Request) -> list[str]:
    """Returns the hosts that proxies were asked for. They must be ours too; they never stand for `Host`.

    A rebound page can set this header itself, as it is of one origin with us in its browser's eyes.
    """
    lines = request.headers.getall("X-Forwarded-Host", [])
    return [host.strip() for line in lines for host in line.split(",") if host.strip()]


def _shown(text: str) -> str:
    """Returns the text of a stranger as it may stand in a log and in plain text."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:_MAX_SHOWN]) or "(empty)"
