"""Candidates as text, and the policy for remote ones: which of them a full agent may send checks to. Pure.

Owns that policy. A check is a packet to an address that somebody else chose: without a policy an offer could make us
scan a network or send to a group (RFC 8445 section 19.5.1). Never resolves names: a lookup is such a packet too.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from aioice import Candidate

MAX_LENGTH: Final = 512
"""The longest candidate that is parsed, in characters."""
_HOST_PREFERENCE: Final = 126 << 24  # type preference of host candidates (RFC 8445 section 5.1.2.1)
_LOWEST_PORT: Final = 1024
"""Lower ports are those of services; NATs map to higher ones (RFC 4787 REQ-3)."""
_TYPES: Final = ("host", "srflx", "relay")


class RefusedError(Exception):
    """A remote candidate that gets no check; its text is the reason in one word."""


def host_candidates(hosts: Sequence[str], port: int) -> tuple[str, ...]:
    """Returns candidates of our own addresses, the first preferred, as behind `a=candidate:` (RFC 8839 section 5.1)."""
    return tuple(
        f"{index + 1} 1 udp {_HOST_PREFERENCE | (0xFFFF - index) << 8 | 255} {host} {port} typ host"
        for index, host in enumerate(hosts)
    )


def parse(text: str, *, allow_private: bool) -> Candidate:
    """Returns the candidate, its host in canonical form.

    Raises RefusedError if it is malformed ("junk"), is not of component 1, UDP and a known type ("kind"), or has an
    address that gets no check (see `allowed_host`).
    """
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
    """Returns `host` in canonical form.

    Raises RefusedError if it gets no check: "mdns", "name", "address", "private" or "port".
    """
    if host.lower().endswith(".local"):
        raise RefusedError("mdns")
    if "%" in host:  # a zone is valid on its own machine only, and the socket layer would look it up
        raise RefusedError("address")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise RefusedError("name") from None
    if not _LOWEST_PORT <= port <= 65535:
        raise RefusedError("port")
    reserved = address.is_reserved and not address.is_loopback  # ::1 is both
    if address.is_multicast or address.is_unspecified or reserved or _embeds_ipv4(address):
        raise RefusedError("address")
    if not allow_private and not address.is_global:
        raise RefusedError("private")
    return str(address)


def _embeds_ipv4(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Returns True for an IPv6 address with an IPv4 address inside, which rules for either could miss.

    See CVE-2026-27624 of coturn.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return False
    return address.ipv4_mapped is not None or address.sixtofour is not None or address.teredo is not None
