"""Recordings over HTTP: lists, media by byte ranges, playlists, clips, thumbnails, protection.

Owns the addresses, the JSON and the error answers (CONTRACT, "HTTP"). What is slow runs in a few threads of its own,
never in the event loop; whoever comes when those have work enough is told to come back. Files are reached by
`Store.find` alone.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar
from urllib.parse import quote

import aiofiles
from aiofiles.threadpool.binary import AsyncBufferedReader
from aiohttp import web

from recorder.playback import clip
from recorder.playback.clip import ClipError, ClipSpan
from recorder.playback.listing import MEDIA_TYPES, ListedSegment
from recorder.playback.queries import Playback
from recorder.snapshots import Busy, NoCamera, Snapshot, SnapshotError
from recorder.store.directory import Segment
from sfu.http import headers
from sfu.http.answers import FRESH, Refusal, answered
from sfu.signaling.topics import valid_room
from sfu.units import parse_rfc3339, rfc3339

_P = ParamSpec("_P")
_T = TypeVar("_T")

_KEPT: Final = {"Cache-Control": "private, max-age=31536000, immutable"}
_LONGEST_PLAYLIST_US: Final = 86_400_000_000
_COPIES: Final = 2  # clips at once
_NO_CLIP: Final = {"nothing": (404, "not_found"), "conflict": (409, "conflict"), "failed": (503, "unavailable")}
_CHUNK: Final = 256 * 1024
_MEDIA: Final = "api/recordings/media/"


class BoundedExecutor:
    """Threads for one kind of work, `threads` at once and `waiting` more in line; Refusal 503 beyond."""

    def __init__(self, name: str, *, threads: int, waiting: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = threads + waiting
        self._count = 0

    async def do(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Does `work` in one of the threads."""
        if self._count >= self._most:
            raise Refusal(503, "busy", "others are being served: try again", retry_after=2)
        self._count += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, functools.partial(work, *args, **kwargs))
        finally:
            self._count -= 1

    def close(self) -> None:
        """Forgets what waits; what is at work ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class RecordingsApi:
    """The routes of one store's recordings."""

    def __init__(self, playback: Playback, *, wall_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._playback = playback
        self._wall_us = wall_us
        self._looking = BoundedExecutor("recordings", threads=3, waiting=60)
        self._copies = 0

    def routes(self) -> list[web.RouteDef]:
        """For `web.Application.add_routes`."""
        protected = "/api/recordings/protected/{name:.+}"
        return [
            web.get("/api/recordings", answered(self._list)),
            web.get(f"/{_MEDIA}{{name:.+}}", answered(self._media)),
            web.get("/api/recordings/hls/{room:.+}/{peer:[^/]+}.m3u8", answered(self._playlist)),
            web.get("/api/recordings/thumbnail", answered(self._thumbnail)),
            web.get("/api/recordings/export", answered(self._export), allow_head=False),
            web.put(protected, answered(functools.partial(self._protect, on=True))),
            web.delete(protected, answered(functools.partial(self._protect, on=False))),
        ]

    async def close(self) -> None:
        """Starts nothing more."""
        self._looking.close()

    async def _list(self, request: web.Request) -> web.StreamResponse:
        room, peer = request.query.get("room"), request.query.get("peer")
        if peer is None:
            found = await self._looking.do(self._playback.overview, room)
            return _json({"recordings": [entry.json() for entry in found]})
        if room is None:
            raise Refusal(400, "bad_request", "a peer is one of a room: room is missing")
        since_us, until_us = _moment(request, "start"), _moment(request, "end")
        if since_us is not None and until_us is not None and until_us < since_us:
            raise Refusal(400, "bad_request", "end is before start")
        listing = await self._looking.do(self._playback.listing, room, peer, since_us, until_us)
        if listing is None:
            raise Refusal(404, "room_not_found", f"nothing of {room}/{peer} was ever recorded")
        return _json(listing.json(_where))

    async def _media(self, request: web.Request) -> web.StreamResponse:
        segment = await self._segment(request)
        content_type = {"Content-Type": MEDIA_TYPES[segment.path.suffix]}
        whole = await self._looking.do(self._playback.written, segment)
        if whole is None:
            return web.FileResponse(segment.path, chunk_size=_CHUNK, headers={**_KEPT, **content_type})
        first, end = _range(request, whole)
        status = 200 if (first, end) == (0, whole) and "Range" not in request.headers else 206
        response = web.StreamResponse(status=status, headers={**FRESH, **content_type, "Accept-Ranges": "bytes"})
        if status == 206:
            response.headers["Content-Range"] = f"bytes {first}-{end - 1}/{whole}"
        async with aiofiles.open(segment.path, "rb") as file:
            return await _send(request, response, file, first, end)

    async def _playlist(self, request: web.Request) -> web.StreamResponse:
        room, peer = request.match_info["room"], request.match_info["peer"]
        since_us, until_us = _edges(request)
        if until_us - since_us > _LONGEST_PLAYLIST_US:
            raise Refusal(400, "bad_request", "a playlist holds a day at most")
        # Relative to the playlist, whatever path of somebody's reverse proxy stands before it.
        up = "../" * (request.rel_url.raw_path.count("/") - _MEDIA.count("/"))
        text = await self._looking.do(
            self._playback.playlist,
            room,
            peer,
            since_us,
            until_us,
            url=lambda name: f"{up}media/{quote(name)}",
            now_us=self._wall_us(),
            webm=request.query.get("webm") == "1",
        )
        if text is None:
            raise Refusal(404, "not_found", f"no MP4 of {room}/{peer} was recorded in that time")
        response = web.Response(text=text, content_type="application/vnd.apple.mpegurl", headers=FRESH)
        response.enable_compression()  # the same address in each of its hundreds of segments
        return response

    async def _thumbnail(self, request: web.Request) -> web.StreamResponse:
        at_us = _moment(request, "at")
        if at_us is None:
            raise Refusal(400, "bad_request", "at is missing")
        room, peer, width = _wanted(request, "room"), _wanted(request, "peer"), _width(request)
        found = await self._looking.do(self._playback.thumbnail, room, peer, at_us, width)
        if found is None:
            raise Refusal(404, "not_found", f"no picture of {room}/{peer} was recorded then")
        picture, lasting = found
        return web.Response(body=picture, content_type="image/jpeg", headers=_KEPT if lasting else FRESH)

    async def _export(self, request: web.Request) -> web.StreamResponse:
        room, peer = _wanted(request, "room"), _wanted(request, "peer")
        since_us, until_us = _edges(request)
        if self._copies >= _COPIES:
            raise Refusal(503, "busy", "other clips are being made: try again", retry_after=10)
        self._copies += 1
        try:
            return await self._send_clip(request, ClipSpan(room, peer, since_us, until_us))
        finally:
            self._copies -= 1

    async def _send_clip(self, request: web.Request, span: ClipSpan) -> web.StreamResponse:
        def wanted() -> bool:
            return request.transport is not None and not request.transport.is_closing()

        try:
            file, suffix = await clip.make(self._playback.store.directory, span, wanted=wanted)
        except ClipError as error:
            status, code = _NO_CLIP[error.reason]
            raise Refusal(status, code, str(error), retry_after=60 if status == 503 else None) from error
        try:
            size = await file.seek(0, 2)
            name = f"{span.room.replace('/', '-')}-{span.peer}-{rfc3339(span.since_us).replace(':', '-')}{suffix}"
            attachment = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
            told = {**FRESH, "Content-Type": MEDIA_TYPES[suffix], "Content-Disposition": attachment}
            return await _send(request, web.StreamResponse(headers=told), file, 0, size)
        finally:
            await file.close()

    async def _protect(self, request: web.Request, *, on: bool) -> web.StreamResponse:
        if not headers.origin_allowed(request.headers.get("Origin"), host=request.host, allowed=()):
            raise Refusal(403, "forbidden", "pages of this origin may not do that")
        segment = await self._segment(request)
        await self._looking.do(segment.protect, on)
        return web.Response(status=204, headers=FRESH)

    async def _segment(self, request: web.Request) -> Segment:
        segment = await self._looking.do(self._playback.store.find, request.match_info["name"])
        if segment is None:
            raise Refusal(404, "not_found", "no such recording")
        return segment


async def _send(
    request: web.Request, response: web.StreamResponse, file: AsyncBufferedReader, at: int, end: int
) -> web.StreamResponse:
    """Bytes [at, end) of a file."""
    response.content_length = end - at
    await response.prepare(request)
    await file.seek(at)
    while at < end and request.method != "HEAD":
        data = await file.read(min(_CHUNK, end - at))
        if not data:
            raise ConnectionError("the file became shorter")
        await response.write(data)
        at += len(data)
    await response.write_eof()
    return response


def _range(request: web.Request, size: int) -> tuple[int, int]:
    """The bytes [first, end) that a request asks for (RFC 9110 section 14.1.2); Refusal 416."""
    unsatisfiable = Refusal(416, "bad_request", f"there are {size} bytes")
    try:
        wanted = request.http_range
    except ValueError:
        raise unsatisfiable from None
    first, end, _ = slice(wanted.start, wanted.stop).indices(size)
    if first >= end:
        raise unsatisfiable
    return first, end


def _moment(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    try:
        return None if text is None else parse_rfc3339(text)
    except ValueError as error:
        raise Refusal(400, "bad_request", f"{name}: {error}") from None


def _edges(request: web.Request) -> tuple[int, int]:
    since_us, until_us = _moment(request, "start"), _moment(request, "end")
    if since_us is None or until_us is None or until_us <= since_us:
        raise Refusal(400, "bad_request", "start and end are needed, in this order")
    return since_us, until_us


def _wanted(request: web.Request, name: str) -> str:
    text = request.query.get(name)
    if not text:
        raise Refusal(400, "bad_request", f"{name} is missing")
    return text


def _width(request: web.Request) -> int | None:
    text = request.query.get("width")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 16 <= int(text[:5]) <= 4096):
        raise Refusal(400, "bad_request", "width: 16 to 4096 pixels")
    return int(text)


def _where(entry: ListedSegment) -> dict[str, str]:
    return {"url": _MEDIA + quote(entry.name)}


def _json(data: object) -> web.Response:
    return web.json_response(data, headers=FRESH)


class SnapshotsApi:
    """`take(room, peer)`: raises SnapshotError."""

    def __init__(self, take: Callable[[str, str | None], Awaitable[Snapshot]]) -> None:
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
