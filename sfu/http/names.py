"""The names of this server: which `Host` a request may name, and which origins are its own pages.

Owns both rules. A page of anybody can give its own name the address of this machine (DNS rebinding); its requests then
look like those of our page, apart from the name. So only known names are served.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Iterable, Set
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PORT = re.compile(r":[0-9]{0,5}$")


class Names:
    """The names that `own` holds, and those of the settings `SFU_HOSTS` and `SFU_ORIGINS`."""

    def __init__(self, *, own: Set[str], hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        """`own` may grow later. `hosts`: names at which a proxy serves us. `origins`: sites that may use `/mqtt`."""
        self._own = own
        self._hosts = frozenset(map(_bare, hosts))
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._origin_names = frozenset(_name_of_origin(origin) for origin in self._origins)

    def host_taken(self, host: str) -> bool:
        """Returns True if a request may name this host: an address, this machine, or a name of the settings."""
        name = _bare(host)
        if not name:
            return False
        own = name == "localhost" or name.endswith(".localhost") or name in self._own
        return own or name in self._hosts or name in self._origin_names or _is_address(name)

    def origin_taken(self, origin: str | None, *, host: str, fetch_site: str | None = None) -> bool:
        """Returns True if a page of `origin` may change things and use the broker, in a request to `host`.

        A request without an origin is allowed: it comes from a program, which could connect to the broker directly.
        Only browsers can be made to send requests by the pages of others, and browsers send an origin. `null`
        (sandboxed frames, files) is not allowed. `fetch_site`: the header Sec-Fetch-Site, in which a browser says what
        it compared itself: that stays right behind a proxy that changes `Host`.
        """
        if origin is None or fetch_site == "same-origin":
            return True
        # RFC 6454 section 6.1: a serialized origin is scheme "://" host [":" port] and nothing more.
        scheme, _, netloc = origin.lower().partition("://")
        if scheme in _DEFAULT_PORTS and (_with_port(netloc, scheme) == _with_port(host, scheme)):
            return True
        if scheme in _DEFAULT_PORTS and _bare(netloc) in self._hosts:
            return True
        return origin.rstrip("/").lower() in self._origins


def own_names() -> set[str]:
    """Returns this machine's names. The one that the resolver knows is added a little later.

    Without a network the resolver may take many seconds, so that nobody waits for it.
    """
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    names = {name, short, f"{short}.local"} if short else set()
    threading.Thread(target=lambda: names.add(socket.getfqdn().lower()), name="own names", daemon=True).start()
    return names


def _bare(host: str) -> str:
    """Returns a host without its port, in small letters; an IPv6 address without its brackets."""
    name = _PORT.sub("", host.strip().lower()) if not host.endswith("]") else host.lower()
    return name[1:-1] if name.startswith("[") and name.endswith("]") else name.removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _name_of_origin(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def _with_port(netloc: str, scheme: str) -> str:
    bare = netloc.lower()
    return bare if re.search(r":\d+$", bare) else f"{bare}:{_DEFAULT_PORTS[scheme]}"
