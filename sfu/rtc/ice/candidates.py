"""Candidates as text, and which remote ones a full agent may send checks to. Pure.

A check is a packet to an address that somebody else chose: without this policy an offer could make us scan a network
or send to a group (RFC 8445 section 19.5.1). Never resolves names: a lookup is such a packet too.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from aioice import Candidate

MAX_LENGTH: Final = 512
"""Characters of the longest candidate that is parsed."""
_HOST_PREFERENCE: Final = 126 << 24  # RFC 8445 section 5.1.2.1, type preference of host candidates
_LOWEST_PORT: Final = 1024  # below are services; NATs keep to the upper range (RFC 4787 REQ-3)
_TYPES: Final = ("host", "srflx", "relay")


class RefusedError(Exception):
    """A remote candidate that gets no check; its text is the reason, one word."""


def host_candidates(hosts: Sequence[str], port: int) -> tuple[str, ...]:
    """Candidates of our own addresses, the first preferred, as in SDP behind `a=candidate:` (RFC 8839 section 5.1)."""
    return tuple(
        f"{index + 1} 1 udp {_HOST_PREFERENCE | (0xFFFF - index) << 8 | 255} {host} {port} typ host"
        for index, host in enumerate(hosts)
    )


def parse(text: str, *, allow_private: bool) -> Candidate:
    """The candidate, its host in canonical form. RefusedError when it is malformed or gets no check."""
    if len(text) > MAX_LENGTH:
        raise RefusedError("junk")
    try:
        candidate = Candidate.from_sdp(text.removeprefix("a=").removeprefix("candidate:"))
    except ValueError:
        raise RefusedError("junk") from None
    if candidate.component != 1 or candidate.transport.lower() != "udp" or candidate.type not in _TYPES:
        raise RefusedError("kind")
    candidate.host = allowed_host(candidate.host, candidate.port, allow_private=allow_private)
    return candidate


def allowed_host(host: str, port: int, *, allow_private: bool) -> str:
    """`host` in canonical form. RefusedError when it gets no check: "mdns", "name", "address", "private", "port"."""
    if host.lower().endswith(".local"):
        raise RefusedError("mdns")
    if "%" in host:  # a zone means nothing on another machine, and the socket layer would look it up
        raise RefusedError("address")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise RefusedError("name") from None
    if not _LOWEST_PORT <= port <= 65535:
        raise RefusedError("port")
    reserved = address.is_reserved and not address.is_loopback  # ::1 counts as both
    if address.is_multicast or address.is_unspecified or reserved or _embeds_ipv4(address):
        raise RefusedError("address")
    if not allow_private and not address.is_global:
        raise RefusedError("private")
    return str(address)


def _embeds_ipv4(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """IPv4 addresses written as IPv6 ones slip past rules made for either (CVE-2026-27624 of coturn)."""
    if isinstance(address, ipaddress.IPv4Address):
        return False
    return address.ipv4_mapped is not None or address.sixtofour is not None or address.teredo is not None
