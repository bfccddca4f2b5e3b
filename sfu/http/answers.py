"""Error answers of the API: JSON with a code.

Owns `Refusal` and the conversion of exceptions of handlers into responses. Never decides what is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

FRESH: Final = {"Cache-Control": "no-store"}
"""Headers of a response that must not be cached."""


SEES: Final[web.RequestKey[Callable[[str], bool]]] = web.RequestKey("sees")
"""Key of a request's rule for rooms: a function that returns True for those that may be listed."""
SUFFIX: Final = web.RequestKey("suffix", str)
"""Key of what a request's handler adds to URLs of media, for a player that can send nothing but URLs."""


class Refusal(Exception):  # noqa: N818 - it is an answer
    """An error answer to a request: HTTP status, code, text, and the seconds after which to try again."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after

    def response(self) -> web.Response:
        """Returns the response, with the body `{"error":{"code","message"}}`."""
        extra = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        body = {"error": {"code": self.code, "message": str(self)}}
        return web.json_response(body, status=self.status, headers={**FRESH, **extra})


def answered(handler: Handler) -> Handler:
    """Returns the handler with its refusals, and its errors of the disk (503), turned into responses."""

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


def sees(request: web.Request, room: str) -> bool:
    """Returns True if a list for this request may have the room."""
    judge = request.get(SEES)
    return judge is None or judge(room)


def media_suffix(request: web.Request) -> str:
    """Returns the query that a URL of media needs in an answer to this request; mostly empty."""
    suffix: str = request.get(SUFFIX, "")
    return suffix
