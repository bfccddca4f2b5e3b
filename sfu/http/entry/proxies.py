"""Proxies that log people in: the networks they are in, and what their headers mean.

Owns the trust in headers: those of anybody else are not looked at.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from aiohttp import web

from sfu.access.rights import EVERYWHERE, Claims, Use, rights_of, valid_name

EVERYBODY_GROUP: Final = "*"
_LASTS_S: Final = 24 * 3600
_MAX_HEADER: Final = 4096
_MAX_HOPS: Final = 32
_BETWEEN: Final = re.compile(r"[,;|]")


class Proxies:
    """The proxies of one server. `clock` returns seconds since 1970."""

    def __init__(
        self,
        networks: Sequence[str],
        *,
        user_header: str,
        groups_header: str,
        groups: Mapping[str, str],
        clock: Callable[[], float],
    ) -> None:
        """`groups`: by the proxy's group its roles, several with `+`. Raises ValueError for an unknown role."""
        self._networks = [ipaddress.ip_network(text) for text in networks]
        self._user_header = user_header
        self._groups_header = groups_header
        self._rights = {group: rights_of(roles.split("+")) for group, roles in groups.items()}
        self._clock = clock

    def claims(self, request: web.Request) -> Claims | None:
        """Returns the claims of the person whom a listed proxy names; None if there is none, or no role for them."""
        if not self._listed(request.remote or ""):
            return None
        users = request.headers.getall(self._user_header, [])
        if len(users) != 1 or not users[0].strip() or len(users[0]) > _MAX_HEADER:
            return None
        lines = request.headers.getall(self._groups_header, [])
        named = {group.strip() for line in lines for group in _BETWEEN.split(line[:_MAX_HEADER])}
        roles = [rights for group, rights in self._rights.items() if group == EVERYBODY_GROUP or group in named]
        can = frozenset().union(*roles)
        until = self._clock() + _LASTS_S
        return Claims(_name_of(users[0].strip()), (EVERYWHERE,), can, until, "proxy", Use.SESSION) if can else None

    def address(self, request: web.Request) -> str:
        """Returns the address of the client: behind listed proxies, the last one that is none of them."""
        address = request.remote or ""
        hops = [hop.strip() for line in request.headers.getall("X-Forwarded-For", []) for hop in line.split(",")]
        for hop in reversed(hops[-_MAX_HOPS:]):
            if not self._listed(address) or _address(hop) is None:
                break
            address = hop
        return address

    def _listed(self, address: str) -> bool:
        found = _address(address)
        return found is not None and any(found in network for network in self._networks)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _name_of(user: str) -> str:
    """Returns the name as peers' ids can have it. Another name gets a part of its digest, so that no two are one."""
    if valid_name(user):
        return user
    plain = re.sub(r"[^A-Za-z0-9]+", "_", user)[:24] or "user"
    return f"{plain}-{hashlib.sha256(user.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
