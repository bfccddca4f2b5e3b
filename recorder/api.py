"""Recordings and snapshots over HTTP: lists, media, playlists, clips, thumbnails, protection, present pictures.

Owns the addresses, their parameters and the JSON (docs/openapi.yaml). Slow work runs in a few threads, never in the
event loop; when those have enough to do, a request is refused with 503. Never opens a path from a request: files are
found by `Store.find`. Knows of the HTTP server only how to refuse (`sfu.http.answers`).
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final, ParamSpec, TypeVar
from urllib.parse import quote

import aiofiles
from aiofiles.threadpool.binary import AsyncBufferedReader
from aiohttp import web

from recorder.lanes import Lane, LaneFull
from recorder.playback import clip
from recorder.playback.clip import ClipError, ClipSpan, OpenClip
from recorder.playback.clip_rules import ClipRules
from recorder.playback.listing import MEDIA_TYPES, ListedSegment
from recorder.playback.queries import Playback
from recorder.playback.space import NoSpaceError, Space
from recorder.sending import CHUNK_BYTES, STALL_S, send_file
from recorder.snapshots import Busy, NoCamera, NoPicture, Snapshot, SnapshotError
from recorder.store.directory import Segment
from sfu.http.answers import FRESH, Refusal, answered, media_suffix, sees
from sfu.signaling.topics import valid_room
from sfu.units import parse_rfc3339, rfc3339

_P = ParamSpec("_P")
_T = TypeVar("_T")

_log = logging.getLogger(__name__)

_UNCHANGING: Final = {"Cache-Control": "private, max-age=31536000, immutable"}
"""Headers of answers that never change: finished segments and their pictures."""
_MAX_PLAYLIST_US: Final = 86_400_000_000
_MAX_WAITING: Final = 60
"""Requests of one client that wait for a thread; more are refused."""
_MAX_CLIPS: Final = 2
"""Clips that are made at the same time, each in a process of its own."""
_CLIP_REFUSALS: Final = {
    "nothing": (404, "not_found"),
    "conflict": (409, "conflict"),
    "full": (507, "no_space"),
    "failed": (503, "unavailable"),
}
"""Status and code by the reason of a ClipError."""
_MIN_WIDTH, _MAX_WIDTH = 16, 4096
_WIDTH_DIGITS: Final = 10
"""A longer number is refused unread."""
_MEDIA_PATH: Final = "api/recordings/media/"


class RecordingsApi:
    """The routes for the recordings of one store. `wall_us` returns the wall time in microseconds since 1970.

    `clips`: the bounds of clips. `stall_s`: seconds after which a reader that takes nothing is disconnected.
    """

    def __init__(
        self,
        playback: Playback,
        *,
        clips: ClipRules | None = None,
        stall_s: float = STALL_S,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._rules = clips or ClipRules()
        self._stall_s = stall_s
        self._playback = playback
        self._wall_us = wall_us
        self._lists = Lane("recordings", threads=3, waiting=_MAX_WAITING)
        self._pictures = Lane("thumbnails", threads=2, waiting=_MAX_WAITING)
        self._clips = 0

    def routes(self) -> list[web.RouteDef]:
        """Returns the routes, for `web.Application.add_routes`."""
        protected = "/api/recordings/protected/{name:.+}"
        return [
            web.get("/api/recordings", answered(self._list)),
            web.get(f"/{_MEDIA_PATH}{{name:.+}}", answered(self._media)),
            web.get("/api/recordings/hls/{room:.+}/{peer:[^/]+}.m3u8", answered(self._playlist)),
            web.get("/api/recordings/thumbnail", answered(self._thumbnail)),
            web.get("/api/recordings/export", answered(self._export), allow_head=False),
            web.put(protected, answered(functools.partial(self._protect, on=True))),
            web.delete(protected, answered(functools.partial(self._protect, on=False))),
        ]

    async def close(self) -> None:
        """Starts no more work in the threads."""
        self._lists.close()
        self._pictures.close()

    async def _list(self, request: web.Request) -> web.StreamResponse:
        room, peer = request.query.get("room"), request.query.get("peer")
        if peer is None:
            found = await _run(self._lists, request, self._playback.overview, room)
            return _json({"recordings": [entry.json() for entry in found if sees(request, entry.room)]})
        if room is None:
            raise Refusal(400, "bad_request", "room is missing: a peer is listed together with its room")
        since_us, until_us = _moment(request, "start"), _moment(request, "end")
        if since_us is not None and until_us is not None and until_us < since_us:
            raise Refusal(400, "bad_request", "end is before start")
        listing = await _run(self._lists, request, self._playback.listing, room, peer, since_us, until_us)
        if listing is None:
            raise Refusal(404, "room_not_found", f"there are no recordings of {room}/{peer}")
        return _json(listing.json(_url_of))

    async def _media(self, request: web.Request) -> web.StreamResponse:
        segment = await self._segment(request)
        content_type = {"Content-Type": MEDIA_TYPES[segment.path.suffix]}
        size = await _run(self._lists, request, self._playback.whole_bytes, segment)
        if size is None:
            return web.FileResponse(segment.path, chunk_size=CHUNK_BYTES, headers={**_UNCHANGING, **content_type})
        first, end = _range(request, size)
        status = 200 if (first, end) == (0, size) and "Range" not in request.headers else 206
        response = web.StreamResponse(status=status, headers={**FRESH, **content_type, "Accept-Ranges": "bytes"})
        if status == 206:
            response.headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
        async with aiofiles.open(segment.path, "rb") as file:
            return await self._send(request, response, file, first, end)

    async def _playlist(self, request: web.Request) -> web.StreamResponse:
        room, peer = request.match_info["room"], request.match_info["peer"]
        since_us, until_us = _span(request)
        if until_us - since_us > _MAX_PLAYLIST_US:
            raise Refusal(400, "bad_request", "a playlist covers at most one day: ask for a shorter time span")
        # URLs are relative to the playlist, since a reverse proxy may serve all this below a path of its own.
        up = "../" * (request.rel_url.raw_path.count("/") - _MEDIA_PATH.count("/"))
        text = await _run(
            self._lists,
            request,
            self._playback.playlist,
            room,
            peer,
            since_us,
            until_us,
            url=lambda name: f"{up}media/{quote(name)}{media_suffix(request)}",
            now_us=self._wall_us(),
            webm=request.query.get("webm") == "1",
        )
        if text is None:
            raise Refusal(404, "not_found", f"no MP4 of {room}/{peer} was recorded in this time span")
        response = web.Response(text=text, content_type="application/vnd.apple.mpegurl", headers=FRESH)
        response.enable_compression()  # hundreds of entries repeat the same URL
        return response

    async def _thumbnail(self, request: web.Request) -> web.StreamResponse:
        at_us = _moment(request, "at")
        if at_us is None:
            raise Refusal(400, "bad_request", "at is missing")
        room, peer, width = _required(request, "room"), _required(request, "peer"), _width(request)
        found = await _run(self._pictures, request, self._playback.thumbnail, room, peer, at_us, width)
        if found is None:
            raise Refusal(404, "not_found", f"no picture of {room}/{peer} was recorded at this time")
        jpeg, final = found
        return web.Response(body=jpeg, content_type="image/jpeg", headers=_UNCHANGING if final else FRESH)

    async def _export(self, request: web.Request) -> web.StreamResponse:
        room, peer = _required(request, "room"), _required(request, "peer")
        since_us, until_us = _span(request)
        if until_us - since_us > self._rules.longest_us:
            longest = f"{self._rules.longest_us / 3_600_000_000:g} h (SFU_RECORDING__MAX_CLIP)"
            raise Refusal(400, "bad_request", f"a clip covers at most {longest}: ask for a shorter time span")
        if request.query.get("check") == "1":
            return await self._check_clip(request, ClipSpan(room, peer, since_us, until_us))
        if self._clips >= _MAX_CLIPS:
            raise Refusal(503, "busy", f"{_MAX_CLIPS} other clips are being made: try again later", retry_after=10)
        span = ClipSpan(room, peer, since_us, until_us)
        async with AsyncExitStack() as held:
            made = await self._make_clip(request, span, held)
            size = await made.file.seek(0, 2)
            name = f"{room.replace('/', '-')}-{peer}-{rfc3339(since_us).replace(':', '-')}{made.suffix}"
            attachment = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
            headers = {**FRESH, "Content-Type": MEDIA_TYPES[made.suffix], "Content-Disposition": attachment}
            return await self._send(request, web.StreamResponse(headers=headers), made.file, 0, size)

    async def _check_clip(self, request: web.Request, span: ClipSpan) -> web.StreamResponse:
        """Answers 204 if the clip can be made: a page shows the reason of a refusal, a browser's download does not."""
        directory = self._playback.store.directory
        try:
            space = Space.of(self._rules.scratch or directory, directory, self._rules.keep_free)
            found = await _run(self._lists, request, self._playback.check_clip, *span, space)
        except NoSpaceError as error:
            raise Refusal(507, "no_space", str(error)) from error
        if not found:
            raise Refusal(404, "not_found", f"nothing of {span.room}/{span.peer} was recorded in this time span")
        return web.Response(status=204, headers=FRESH)

    async def _make_clip(self, request: web.Request, span: ClipSpan, held: AsyncExitStack) -> OpenClip:
        """Makes a clip, which lasts as long as `held`. Raises Refusal."""

        def wanted() -> bool:
            return request.transport is not None and not request.transport.is_closing()

        self._clips += 1  # only while they are made: who reads slowly keeps nobody else from a clip
        try:
            making = clip.made(self._playback.store.directory, span, self._rules, wanted=wanted)
            return await held.enter_async_context(making)
        except ClipError as error:
            status, code = _CLIP_REFUSALS[error.reason]
            raise Refusal(status, code, str(error), retry_after=60 if status == 503 else None) from error
        finally:
            self._clips -= 1

    async def _send(
        self, request: web.Request, response: web.StreamResponse, file: AsyncBufferedReader, at: int, end: int
    ) -> web.StreamResponse:
        """Sends the bytes [at, end) of a file. A fault on the way ends the connection: the answer has begun."""
        response.content_length = end - at
        try:
            await response.prepare(request)
            if request.transport is not None and request.method != "HEAD":
                await send_file(file, at, end, response.write, request.transport, stall_s=self._stall_s)
        except ConnectionError as error:
            _log.debug("%s: %s", request.rel_url.path, error)
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _protect(self, request: web.Request, *, on: bool) -> web.StreamResponse:
        segment = await self._segment(request)
        await _run(self._lists, request, segment.protect, on)
        return web.Response(status=204, headers=FRESH)

    async def _segment(self, request: web.Request) -> Segment:
        segment = await _run(self._lists, request, self._playback.store.find, request.match_info["name"])
        if segment is None:
            raise Refusal(404, "not_found", "there is no recording of this name")
        return segment


class SnapshotsApi:
    """The route for the present picture of a camera. `take(room, peer)` is that of `Snapshots`."""

    def __init__(self, take: Callable[[str, str | None], Awaitable[Snapshot]]) -> None:
        self._take = take

    def routes(self) -> list[web.RouteDef]:
        """Returns the route, for `web.Application.add_routes`."""
        return [web.get("/api/rooms/{room:.+}/snapshot.jpg", answered(self._snapshot))]

    async def close(self) -> None:
        """Does nothing: there is nothing to end."""

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        room = request.match_info["room"]
        if not valid_room(room):
            raise Refusal(404, "room_not_found", "this is not a valid room name")
        try:
            snapshot = await self._take(room, request.query.get("peer"))
        except (NoCamera, NoPicture) as error:
            raise Refusal(404, "not_found", str(error)) from error
        except SnapshotError as error:
            code = "busy" if isinstance(error, Busy) else "unavailable"
            raise Refusal(503, code, str(error), retry_after=2) from error
        return web.Response(body=snapshot.full, content_type="image/jpeg", headers=FRESH)


async def _run(lane: Lane, request: web.Request, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Calls a slow function for the client of a request. Raises Refusal 503 if too many calls wait."""
    try:
        return await lane.run(request.remote or "", function, *args, **kwargs)
    except LaneFull as error:
        raise Refusal(503, "busy", str(error), retry_after=2) from error


def _range(request: web.Request, size: int) -> tuple[int, int]:
    """Returns the bytes [first, end) that a request asks for (RFC 9110 section 14.1.2). Raises Refusal 416."""
    unsatisfiable = Refusal(416, "bad_request", f"the range is outside of the {size} bytes")
    try:
        wanted = request.http_range
    except ValueError:
        raise unsatisfiable from None
    first, end, _ = slice(wanted.start, wanted.stop).indices(size)
    if first >= end:
        raise unsatisfiable
    return first, end


def _moment(request: web.Request, name: str) -> int | None:
    """Returns a time of the query in microseconds since 1970; None if it is missing. Raises Refusal 400."""
    text = request.query.get(name)
    try:
        return None if text is None else parse_rfc3339(text)
    except ValueError as error:
        raise Refusal(400, "bad_request", f"{name}: {error}") from None


def _span(request: web.Request) -> tuple[int, int]:
    """Returns the `start` and `end` of the query in microseconds since 1970. Raises Refusal 400."""
    since_us, until_us = _moment(request, "start"), _moment(request, "end")
    if since_us is None or until_us is None or until_us <= since_us:
        raise Refusal(400, "bad_request", "start and end are required, and end must be after start")
    return since_us, until_us


def _required(request: web.Request, name: str) -> str:
    text = request.query.get(name)
    if not text:
        raise Refusal(400, "bad_request", f"{name} is missing")
    return text


def _width(request: web.Request) -> int | None:
    text = request.query.get("width")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _WIDTH_DIGITS and _MIN_WIDTH <= int(text) <= _MAX_WIDTH):
        raise Refusal(400, "bad_request", f"width must be a number of pixels from {_MIN_WIDTH} to {_MAX_WIDTH}")
    return int(text)


def _url_of(segment: ListedSegment) -> dict[str, str]:
    return {"url": _MEDIA_PATH + quote(segment.name)}


def _json(data: object) -> web.Response:
    return web.json_response(data, headers=FRESH)
