"""How the API says no: JSON with a code, whatever went wrong.

Owns `Refusal` and the way from what handlers raise to what clients read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from sfu.http import headers

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

FRESH: Final = {"Cache-Control": "no-store"}
"""Headers of what may be different the next time."""


class Refusal(Exception):  # noqa: N818 - it is an answer
    """What a request is answered with instead."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after

    def response(self) -> web.Response:
        """`{"error":{"code","message"}}`."""
        extra = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        body = {"error": {"code": self.code, "message": str(self)}}
        return web.json_response(body, status=self.status, headers={**FRESH, **extra})


def answered(handler: Handler) -> Handler:
    """The handler, whose refusals and trouble with the disk (503) become answers."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refusal as refusal:
            return refusal.response()
        except ConnectionError:  # the client went away
            raise
        except OSError as error:
            return Refusal(503, "unavailable", error.strerror or str(error), retry_after=10).response()

    return answer


def require_own_origin(request: web.Request) -> None:
    """Raises Refusal 403 if a page of another origin sent the request. Programs send no origin, and are let through."""
    if not headers.origin_allowed(request.headers.get("Origin"), host=request.host, allowed=()):
        raise Refusal(403, "forbidden", "pages of this origin may not change anything here")
