"""Security headers.

Owns Content-Security-Policy and the headers of every response. Pure: never knows a request.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")

COMMON = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PERMISSIONS = "camera=(self), microphone=(self), fullscreen=(self), display-capture=(), geolocation=()"


def content_policy(*, host: str, frame_ancestors: Sequence[str]) -> str:
    """Returns the Content-Security-Policy of a document; `host`: the host it is served as."""
    connect = ["'self'"]
    if _HOST.fullmatch(host):
        # Safari before 15.4: 'self' does not include WebSockets to the same host.
        connect += [f"ws://{host}", f"wss://{host}"]
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


def seal(headers: MutableMapping[str, str]) -> None:
    """Adds the headers of every response, and replaces the versions of Python and aiohttp."""
    for name, value in COMMON.items():
        headers.setdefault(name, value)
    headers["Server"] = "sfu"
