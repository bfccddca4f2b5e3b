"""The HTTP server: the wall, the embedded player, the broker's door, health, metrics and the list of rooms.

Owns the listening socket and the routes; what it shows comes in as callables. Never touches media, rooms or MQTT.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from sfu.http import headers
from sfu.http.assets import Assets, AssetsMissing
from sfu.http.broker_proxy import BrokerProxy, Connector
from sfu.signaling.topics import valid_room

_log = logging.getLogger(__name__)

_YEAR = "public, max-age=31536000, immutable"
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class HttpError(OSError):
    """The server cannot listen where it was told to; the text says why in a user's words."""


@dataclass(frozen=True, slots=True)
class PageInfo:
    """What the page must know before it speaks to the broker; served as `/config.json`."""

    base: str
    version: str
    name: str = "sfu"
    websocket: str | None = None
    """A `ws(s)://` URL of the broker's own WebSocket listener; None: through our `/mqtt`."""
    ice_servers: Sequence[Mapping[str, object]] = ()
    """RTCIceServer dictionaries (W3C webrtc-pc section 4.2.3)."""
    recordings: bool = False
    """Whether there is an API of recordings, so that the page offers to show them."""


class Routes(Protocol):
    """A part of the server that lives in a file of its own."""

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """What it answers."""

    async def close(self) -> None:
        """The server stops."""


class HttpServer:
    """Serves one page and its resources on one address, from `start` to `stop`."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        page: PageInfo,
        connect_broker: Connector,
        ready: Callable[[], bool],
        metrics: Callable[[], bytes],
        rooms: Callable[[], object],
        origins: Sequence[str] = (),
        frame_ancestors: Sequence[str] = ("*",),
        parts: Sequence[Routes] = (),
    ) -> None:
        """`port` 0 takes a free one. `ready`: the broker is connected. `metrics`: Prometheus text. `rooms`: JSON-ready.

        `origins` are pages of others that may use `/mqtt`; `frame_ancestors` are CSP sources that may frame `/embed`.
        `parts` bring more routes; without a part its addresses are not found.
        """
        self._host = host
        self._port = port
        self._page = page
        self._ready = ready
        self._metrics = metrics
        self._rooms = rooms
        self._origins = frozenset(origins)
        self._frame_ancestors = tuple(frame_ancestors)
        self._parts = tuple(parts)
        self._assets = _find_assets()
        self.proxy = BrokerProxy(connect_broker)
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port listened on; the wanted one before `start`."""
        if self._runner and self._runner.addresses:
            return int(self._runner.addresses[0][1])
        return self._port

    @property
    def url(self) -> str:
        """The wall's address as a person on this machine would open it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(self._host, self._host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{self.port}/"

    async def start(self) -> None:
        """Listens; HttpError when the address cannot be had."""
        runner = web.AppRunner(self._application(), handle_signals=False, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise HttpError(_listen_problem(self._host, self._port, error)) from error
        self._runner = runner

    async def stop(self) -> None:
        """Ends every connection, those to the broker included; may be called twice."""
        runner, self._runner = self._runner, None
        if runner:
            await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=64 * 1024)
        application.add_routes(
            [
                web.get("/", self._wall),
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
        application.on_shutdown.append(self._shut_door)
        return application

    async def _shut_door(self, _application: web.Application) -> None:
        await self.proxy.close()
        for part in self._parts:
            await part.close()

    async def _wall(self, request: web.Request) -> web.Response:
        return self._document(request, "wall", root="./", frame_ancestors=["'self'"])

    async def _embed(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        if not valid_room(room):
            raise web.HTTPNotFound(text="no such room\n")
        # Relative, so that the page also works below a path of somebody's reverse proxy.
        return self._document(
            request, "embed", root="../" * (room.count("/") + 1), frame_ancestors=self._frame_ancestors
        )

    def _document(self, request: web.Request, name: str, *, root: str, frame_ancestors: Sequence[str]) -> web.Response:
        if self._assets is None:
            raise web.HTTPServiceUnavailable(text="the page was not built: install the package with pip\n")
        policy = headers.content_policy(
            host=request.host, websocket=self._page.websocket, frame_ancestors=frame_ancestors
        )
        return web.Response(
            text=self._assets.document(name, root=root),
            content_type="text/html",
            headers={
                "Cache-Control": "no-cache",
                "Content-Security-Policy": policy,
                "Permissions-Policy": headers.PERMISSIONS,
            },
        )

    async def _config(self, _request: web.Request) -> web.Response:
        page = self._page
        return _json(
            {
                "name": page.name,
                "version": page.version,
                "base": page.base,
                "websocket": page.websocket or "mqtt",
                "ice_servers": list(page.ice_servers),
                "recordings": page.recordings,
            }
        )

    async def _static(self, request: web.Request) -> web.FileResponse:
        found = self._assets and self._assets.file(request.match_info["name"])
        if not self._assets or not found:
            raise web.HTTPNotFound(text="not found\n")
        path, content_type = found
        # The documents ask with the bundle's version: that address never changes its content.
        cache = _YEAR if request.query.get("v") == self._assets.version else "no-cache"
        return web.FileResponse(path, headers={"Cache-Control": cache, "Content-Type": content_type})

    async def _mqtt(self, request: web.Request) -> web.StreamResponse:
        if not headers.origin_allowed(request.headers.get("Origin"), host=request.host, allowed=self._origins):
            self.proxy.counters["foreign_origin"] += 1
            raise web.HTTPForbidden(text="pages of this origin may not use the broker\n")
        return await self.proxy.handle(request)

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

    async def _rooms_list(self, _request: web.Request) -> web.Response:
        return _json(self._rooms())


async def _seal(_request: web.Request, response: web.StreamResponse) -> None:
    """Puts on what every response carries, and takes off the versions of Python and aiohttp."""
    for name, value in headers.COMMON.items():
        response.headers.setdefault(name, value)
    response.headers.popall("Server", None)
    response.headers["Server"] = "sfu"


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
        errno.EADDRINUSE: f"{where} is taken by another program: end it, or choose another port with SFU_HTTP",
        errno.EADDRNOTAVAIL: f"{host} is not an address of this machine",
        errno.EACCES: f"this user may not listen on {where} (ports below 1024 need rights)",
    }
    return reasons.get(error.errno or 0, f"cannot listen on {where}: {error.strerror or error}")
