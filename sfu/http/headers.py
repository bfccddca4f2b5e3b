"""Security headers and the origin rule: what a browser may do with our pages, whose pages may use the broker. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": 80, "https": 443}

COMMON = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PERMISSIONS = "camera=(self), microphone=(self), fullscreen=(self), display-capture=(), geolocation=()"


def content_policy(*, host: str, websocket: str | None, frame_ancestors: Sequence[str]) -> str:
    """The Content-Security-Policy of a document served as `host` whose page talks to `websocket` (None: to us)."""
    connect = ["'self'"]
    if _HOST.fullmatch(host):
        # Safari before 15.4 does not count a WebSocket to the same host as 'self'.
        connect += [f"ws://{host}", f"wss://{host}"]
    if websocket:
        target = urlsplit(websocket)
        connect.append(f"{target.scheme}://{target.netloc.rpartition('@')[2]}")
    rules = {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "media-src": ["'self'", "blob:", "mediastream:"],
        "connect-src": connect,
        # The MQTT library keeps time in a worker, so that keep-alives go out from tabs in the background too.
        "worker-src": ["blob:"],
        "manifest-src": ["'self'"],
        "base-uri": ["'self'"],
        "form-action": ["'none'"],
        "frame-ancestors": list(frame_ancestors) or ["'none'"],
    }
    return "; ".join(f"{name} {' '.join(values)}" for name, values in rules.items())


def origin_allowed(origin: str | None, *, host: str, allowed: Collection[str]) -> bool:
    """Whether a page of `origin` may open the broker's door at `host`.

    Only browsers send an origin, and only browsers carry someone else's page: a request without one is a program,
    which could speak to the broker anyway. `null` (sandboxed frames, files) is nobody's origin.
    """
    if origin is None:
        return True
    # RFC 6454 section 6.1: a serialized origin is scheme "://" host [":" port] and nothing more.
    scheme, _, netloc = origin.partition("://")
    if scheme in _DEFAULT_PORTS and _with_port(netloc, scheme) == _with_port(host, scheme):
        return True
    return origin.rstrip("/").lower() in {entry.rstrip("/").lower() for entry in allowed}


def _with_port(netloc: str, scheme: str) -> str:
    bare = netloc.lower()
    return bare if re.search(r":\d+$", bare) else f"{bare}:{_DEFAULT_PORTS[scheme]}"
