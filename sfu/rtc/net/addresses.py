"""The addresses that we announce in candidates, as they are now.

A machine's addresses change while a process lives for months: the network comes later than the service, DHCP gives
another address, a dynamic DNS name moves. So nothing is kept for longer than a few seconds.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

import ifaddr

_log: Final = logging.getLogger(__name__)

READ_INTERVAL_S: Final = 1.0
"""Time for which the addresses of the machine are kept: reading them takes about 0.3 ms."""
RESOLVE_INTERVAL_S: Final = 30.0
"""Time between two lookups of names."""


def host_addresses() -> tuple[str, ...]:
    """Returns this machine's addresses for candidates, IPv4 first, loopback last, without link-local IPv6."""
    found = {
        ip.ip if isinstance(ip.ip, str) else ip.ip[0]
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if isinstance(ip.ip, str) or ip.ip[2] == 0
    }
    addresses = [ipaddress.ip_address(host) for host in found]
    usable = [address for address in addresses if not address.is_link_local and not address.is_unspecified]
    return tuple(str(a) for a in sorted(usable, key=lambda a: (a.is_loopback, a.version, int(a))))


class OwnAddresses:
    """The addresses to announce: given ones and what given names resolve to, or else those of this machine."""

    def __init__(
        self,
        given: Sequence[str] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        read: Callable[[], tuple[str, ...]] = host_addresses,
    ) -> None:
        self._given = tuple(given)
        self._clock = clock
        self._read = read
        self._read_at: float | None = None
        self._machine: tuple[str, ...] = ()
        self._resolved: dict[str, tuple[str, ...]] = {}

    def current(self) -> tuple[str, ...]:
        """Returns the addresses, the first preferred. A name that was never resolved is left out."""
        if self._given:
            return tuple(dict.fromkeys(a for host in self._given for a in self._resolved.get(host, _literal(host))))
        now = self._clock()
        if self._read_at is None or now - self._read_at >= READ_INTERVAL_S:
            self._machine, self._read_at = self._read(), now
        return self._machine

    @property
    def names(self) -> tuple[str, ...]:
        """Returns the given names that are no IP addresses."""
        return tuple(host for host in self._given if not _literal(host))

    async def follow_names(self) -> None:
        """Resolves the given names every 30 s, until cancelled."""
        while True:
            for name in self.names:
                await self._resolve(name)
            await asyncio.sleep(RESOLVE_INTERVAL_S)

    async def _resolve(self, name: str) -> None:
        """Keeps the last addresses of a name that is not found now."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            _log.warning(
                "cannot resolve %s of media.announce: %s; trying again in %.0f s", name, error, RESOLVE_INTERVAL_S
            )
            return
        addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
        if addresses != self._resolved.get(name):
            _log.info("announcing %s as %s", name, ", ".join(addresses))
        self._resolved[name] = addresses


def _literal(host: str) -> tuple[str, ...]:
    """Returns the address alone if `host` is one; nothing for a name."""
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        return ()
