"""Logins at TURN servers that end by themselves, as coturn checks them with `use-auth-secret`.

Pure. Source: draft-uberti-behave-turn-rest-00, section 2.2.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

LOGIN_S: Final = 12 * 3600.0
_TURN: Final = ("turn:", "turns:")


def public_servers(urls: Sequence[str]) -> list[dict[str, object]]:
    """Returns the RTCIceServer dictionaries (W3C webrtc-pc section 4.2.3) of the URLs that need no login."""
    return [{"urls": [url]} for url in urls if not needs_login(url)]


def servers_for(urls: Sequence[str], secret: str, name: str, now: float) -> list[dict[str, object]]:
    """Returns the RTCIceServer dictionaries for one person, with a login of 12 h at each TURN server.

    `now` is in seconds since 1970. Without a secret there are no TURN servers: browsers take none without a login.
    """
    turn = [url for url in urls if needs_login(url)]
    if not (turn and secret):
        return public_servers(urls)
    username = f"{int(now + LOGIN_S)}:{name}"
    # SHA-1 is what coturn and the draft take. As an HMAC it is not broken.
    digest = hmac.digest(secret.encode(), username.encode(), hashlib.sha1)
    login = {"username": username, "credential": base64.b64encode(digest).decode()}
    return [*public_servers(urls), {"urls": turn, **login}]


def needs_login(url: str) -> bool:
    """Returns True if the URL is that of a TURN server."""
    return url.lower().startswith(_TURN)
