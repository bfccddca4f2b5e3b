"""Snapshots over HTTP: a room's camera as one JPEG.

Owns the address and the error answers; `take` comes in. Never touches media.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from recorder.snapshots import Busy, NoCamera, Shot, SnapshotError
from sfu.http.answers import FRESH, Refusal, answered
from sfu.signaling.topics import valid_room


class SnapshotsApi:
    """`take(room, peer)`: raises SnapshotError."""

    def __init__(self, take: Callable[[str, str | None], Awaitable[Shot]]) -> None:
        self._take = take

    def routes(self) -> list[web.RouteDef]:
        """For `web.Application.add_routes`."""
        return [web.get("/api/rooms/{room:.+}/snapshot.jpg", answered(self._snapshot))]

    async def close(self) -> None:
        """Nothing is held."""

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        room = request.match_info["room"]
        if not valid_room(room):
            raise Refusal(404, "room_not_found", "no such room")
        try:
            shot = await self._take(room, request.query.get("peer"))
        except NoCamera as error:
            raise Refusal(404, "not_found", str(error)) from error
        except SnapshotError as error:
            code = "busy" if isinstance(error, Busy) else "unavailable"
            raise Refusal(503, code, str(error), retry_after=2) from error
        return web.Response(body=shot.full, content_type="image/jpeg", headers=FRESH)
