"""Security headers, and the rule for origins whose pages may use the broker.

Owns Content-Security-Policy and the comparison of origins. Pure: never knows a request.
"""

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
    """Returns the Content-Security-Policy of a document.

    `host`: the host it is served as. `websocket`: URL of the broker's WebSocket; None for our own proxy.
    """
    connect = ["'self'"]
    if _HOST.fullmatch(host):
        # Safari before 15.4: 'self' does not include WebSockets to the same host.
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
        # The MQTT library has its timer in a worker, so that tabs in the background send keep-alives too.
        "worker-src": ["blob:"],
        "manifest-src": ["'self'"],
        "base-uri": ["'self'"],
        "form-action": ["'none'"],
        "frame-ancestors": list(frame_ancestors) or ["'none'"],
    }
    return "; ".join(f"{name} {' '.join(values)}" for name, values in rules.items())


def origin_allowed(origin: str | None, *, host: str, allowed: Collection[str]) -> bool:
    """Returns True if a page of `origin` may connect to the broker through `host`.

    A request without an origin is allowed: it comes from a program, which could connect to the broker directly. Only
    browsers can be made to send requests by the pages of others, and browsers send an origin. `null` (sandboxed frames,
    files) is not allowed.
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
