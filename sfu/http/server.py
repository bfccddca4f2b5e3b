"""The HTTP server: the wall, the embedded player, the door for browsers, health, metrics and the list of rooms.

Owns the routes. Never touches media, rooms or MQTT: callables give it the values to show.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from sfu.access.rights import EVERYWHERE, Claims, Right
from sfu.http import headers
from sfu.http.answers import FRESH, sees
from sfu.http.assets import Assets, AssetsMissing
from sfu.http.connections import ConnectionLimits, Connections
from sfu.http.door.door import Door
from sfu.http.door.newcomers import PER_ADDRESS
from sfu.http.entry.credentials import CLAIMS
from sfu.http.entry.entry import Entry
from sfu.http.guard import Guard
from sfu.http.names import Names, own_names
from sfu.http.refusals import Refusals
from sfu.signaling.topics import valid_room

_log = logging.getLogger(__name__)

_YEAR = "public, max-age=31536000, immutable"
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ANYBODY = "page"
"""Stands for the person where nobody logs in."""
_STOP_S = 2.0
"""For requests that are being answered to end when the server stops; what is left then is cut off."""


class HttpError(OSError):
    """The server cannot listen at the address of the settings; the text has the reason and a remedy."""


@dataclass(frozen=True, slots=True)
class PageInfo:
    """The page's configuration, which it reads before it connects to `/mqtt`; served as `/config.json`."""

    base: str
    version: str
    name: str = "sfu"
    ice_servers: Callable[[str], Sequence[Mapping[str, object]]] = lambda _name: ()
    """Returns the RTCIceServer dictionaries (W3C webrtc-pc section 4.2.3) for a person of this name."""
    recordings: bool = False
    """True if the server has the API of recordings: the page then offers to show them."""


class Routes(Protocol):
    """A group of routes from another file."""

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Returns the routes with their handlers."""

    async def close(self) -> None:
        """Ends the requests that are being answered: the server stops."""


class HttpServer:
    """A server of the page and its resources on one address, from `start` to `stop`."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        page: PageInfo,
        door: Door,
        ready: Callable[[], bool],
        metrics: Callable[[], bytes],
        rooms: Callable[[], Mapping[str, object]],
        hosts: Sequence[str] = (),
        origins: Sequence[str] = (),
        frame_ancestors: Sequence[str] = ("*",),
        parts: Sequence[Routes] = (),
        limits: ConnectionLimits | None = None,
        access: Entry | None = None,
    ) -> None:
        """`port`: 0 takes a free one. `ready`: returns True if the broker is connected. `metrics`: Prometheus text.

        `rooms`: returns a JSON value by room. `hosts`: names at which proxies serve us. `origins`: origins of other
        sites whose pages may use `/mqtt`. `frame_ancestors`: CSP sources that may frame `/embed`. `parts`: more
        routes. `access`: None lets everybody do everything.
        """
        self._host = host
        self._port = port
        self._page = page
        self._ready = ready
        self._metrics = metrics
        self._rooms = rooms
        self._frame_ancestors = tuple(frame_ancestors)
        self._access = access
        self._parts = tuple(parts) if access is None else (access, *parts)
        self._assets = _find_assets()
        self._refusals = Refusals(time.monotonic)
        self._guard = Guard(Names(own=own_names(), hosts=hosts, origins=origins), self._refusals)
        limits = limits or ConnectionLimits()
        self.connections = Connections(limits, self._refusals)
        self.door = door
        door.newcomers.per_address = min(PER_ADDRESS, limits.per_address)
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port of the listening socket; before `start`, the port of the settings."""
        return self.connections.port or self._port

    @property
    def counters(self) -> Counter[str]:
        """Refusals and failures, by event."""
        return self._refusals.counters + self.door.counters

    @property
    def url(self) -> str:
        """URL of the wall, for a browser on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(self._host, self._host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{self.port}/"

    @property
    def routes(self) -> frozenset[tuple[str, str]]:
        """Returns (method, path pattern) of every route; none before `start`."""
        routes = self._runner.app.router.routes() if self._runner else ()
        return frozenset((route.method, route.resource.canonical) for route in routes if route.resource)

    async def start(self) -> None:
        """Starts to listen. Raises HttpError if it cannot."""
        runner = web.AppRunner(self._application(), handle_signals=False, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await self.connections.listen(self._host, self._port)
        except OSError as error:
            await runner.cleanup()
            raise HttpError(_listen_problem(self._host, self._port, error)) from error
        if runner.server is not None:
            self.connections.serve(runner.server)
        self._runner = runner

    async def stop(self) -> None:
        """Ends every connection, including those at `/mqtt`, within a few seconds. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        await self.connections.stop_accepting()
        cleanup = asyncio.ensure_future(runner.cleanup())
        await asyncio.wait([cleanup], timeout=_STOP_S)
        self.connections.abort()
        await cleanup

    def _application(self) -> web.Application:
        middlewares = [self._guard.middleware]
        if self._access is not None:
            middlewares.append(self._access.middleware)
        application = web.Application(client_max_size=64 * 1024, middlewares=middlewares)
        application.add_routes(
            [
                web.get("/", self._wall),
                web.get("/login", self._login),
                web.get("/embed/{room:.+}", self._embed),
                web.get("/config.json", self._config),
                web.get("/static/{name}", self._static),
                web.get("/mqtt", self._mqtt),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics_text),
                web.get("/api/rooms", self._rooms_list),
            ]
        )
        for part in self._parts:
            application.add_routes(part.routes())
        application.on_response_prepare.append(_seal)
        if self._access is not None:
            application.on_response_prepare.append(self._access.prepare)
        application.on_shutdown.append(self._close_parts)
        return application

    async def _close_parts(self, _application: web.Application) -> None:
        await self.door.close()
        for part in self._parts:
            await part.close()

    async def _wall(self, request: web.Request) -> web.Response:
        return self._document(request, "wall", root="./", frame_ancestors=["'self'"])

    async def _login(self, request: web.Request) -> web.Response:
        if self._access is None:
            return web.Response(status=303, headers={"Location": "./", **FRESH})
        return self._document(request, "login", root="./", frame_ancestors=["'self'"])

    async def _embed(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        if not valid_room(room):
            raise web.HTTPNotFound(text="no such room\n")
        # Relative, so that the page also works below a path of a reverse proxy.
        return self._document(
            request, "embed", root="../" * (room.count("/") + 1), frame_ancestors=self._frame_ancestors
        )

    def _document(self, request: web.Request, name: str, *, root: str, frame_ancestors: Sequence[str]) -> web.Response:
        if self._assets is None or not self._assets.has(name):
            raise web.HTTPServiceUnavailable(text="the page was not built: install the package with pip\n")
        policy = headers.content_policy(host=request.headers.get("Host", ""), frame_ancestors=frame_ancestors)
        return web.Response(
            text=self._assets.document(name, root=root),
            content_type="text/html",
            headers={
                "Cache-Control": "no-cache",
                "Content-Security-Policy": policy,
                "Permissions-Policy": headers.PERMISSIONS,
            },
        )

    async def _config(self, request: web.Request) -> web.Response:
        page = self._page
        claims: Claims | None = request.get(CLAIMS)
        return _json(
            {
                "name": page.name,
                "version": page.version,
                "base": page.base,
                "websocket": "mqtt",
                "ice_servers": list(page.ice_servers(_ANYBODY if claims is None else claims.sub)),
                "recordings": page.recordings,
                **_person(claims),
            }
        )

    async def _static(self, request: web.Request) -> web.FileResponse:
        found = self._assets and self._assets.file(request.match_info["name"])
        if not self._assets or not found:
            raise web.HTTPNotFound(text="not found\n")
        path, content_type = found
        # The documents add the bundle's version: the content at such a URL never changes.
        cache = _YEAR if request.query.get("v") == self._assets.version else "no-cache"
        return web.FileResponse(path, headers={"Cache-Control": cache, "Content-Type": content_type})

    async def _mqtt(self, request: web.Request) -> web.StreamResponse:
        if not self._guard.own_origin(request):
            raise web.HTTPForbidden(text="pages of this origin may not come in here: see SFU_HOSTS and SFU_ORIGINS\n")
        return await self.door.handle(request, lambda client: self.connections.keep(client.protocol))

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n", headers={"Cache-Control": "no-store"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        ready = self._ready()
        return web.Response(
            status=200 if ready else 503,
            text="ready\n" if ready else "the broker is not connected\n",
            headers={"Cache-Control": "no-store"},
        )

    async def _metrics_text(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": _METRICS_TYPE, "Cache-Control": "no-store"})

    async def _rooms_list(self, request: web.Request) -> web.Response:
        return _json({room: state for room, state in self._rooms().items() if sees(request, room)})


async def _seal(_request: web.Request, response: web.StreamResponse) -> None:
    headers.seal(response.headers)


def _person(claims: Claims | None) -> dict[str, object]:
    """Returns what the page knows of its person; None: nobody is asked, and everybody may do everything."""
    if claims is None:
        rights = sorted(Right)
        return {"access": "open", "user": None, "peer": None, "rooms": [EVERYWHERE], "can": rights, "expires": None}
    return {
        "access": "on",
        "user": claims.sub,
        "peer": claims.sub,
        "rooms": list(claims.room),
        "can": sorted(claims.can),
        "expires": int(claims.until),
    }


def _json(data: object) -> web.Response:
    return web.json_response(data, headers={"Cache-Control": "no-store"})


def _find_assets() -> Assets | None:
    try:
        return Assets()
    except AssetsMissing as error:
        _log.error("%s", error)
        return None


def _listen_problem(host: str, port: int, error: OSError) -> str:
    where = f"{host or '*'}:{port}"
    reasons = {
        errno.EADDRINUSE: f"{where} is used by another program: end that, or choose another port with SFU_HTTP",
        errno.EADDRNOTAVAIL: f"{host} is not an address of this machine",
        errno.EACCES: f"this user may not listen on {where}: use a port from 1024 on, or give the process the right",
    }
    return reasons.get(error.errno or 0, f"cannot listen on {where}: {error.strerror or error}")
