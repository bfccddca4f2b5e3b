"""Where datagrams leave, in the form that C reads: one transport's path, and those of all that get the same bursts.

Owns the addresses that the kernel reads. Never sends.
"""

from __future__ import annotations

import socket
import struct
import sys
from array import array
from collections.abc import Sequence

from sfu.rtc.net.srtp import SrtpContext, bare_handles, ffi


class Path:
    """The way out of one transport: our socket and the remote address, also as a C `sockaddr`."""

    __slots__ = ("address", "name", "socket")

    def __init__(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self.socket = sock
        self.address = address
        self.name = _sockaddr(sock.family, address)
        """The address as bytes of a `sockaddr`."""

    def __repr__(self) -> str:
        return f"Path({self.address[0]} {self.address[1]})"


class Targets:
    """Transports that get the same bursts: of one socket and one SRTP overhead. Keeps their keys and paths alive.

    Everything that a burst reads of each target is copied here, side by side: scattered over all memory it would cost
    a cache miss each.
    """

    __slots__ = ("_keys", "_storage", "handles", "names", "overhead", "paths", "socket")

    def __init__(self, pairs: Sequence[tuple[Path, SrtpContext]]) -> None:
        """Takes the path and the outbound keys of each transport; at least one pair."""
        self.paths = [path for path, _ in pairs]
        self.socket = self.paths[0].socket
        self._storage = ffi.new("unsigned char[]", b"".join([path.name for path in self.paths]))
        first, size = int(ffi.cast("uintptr_t", self._storage)), len(self.paths[0].name)
        self.names = array("Q", range(first, first + size * len(pairs), size))
        """The memory address of each target's C `sockaddr`."""
        self._keys = [keys for _, keys in pairs]
        self.handles = bare_handles(self._keys)
        """libsrtp's handle of each target's keys."""
        self.overhead = self._keys[0].overhead
        """Bytes that encryption adds to an RTP packet."""


def _sockaddr(family: int, address: tuple[str, int]) -> bytes:
    """Returns a `struct sockaddr_in` or `sockaddr_in6`.

    The family is 16 bits in host order; on BSDs a length of 8 bits and a family of 8 bits.
    """
    size = 28 if family == socket.AF_INET6 else 16
    start = struct.pack("=H", family) if sys.platform == "linux" else bytes((size, family))
    host, port = address
    if family == socket.AF_INET6:
        host, _, zone = host.partition("%")
        scope = socket.if_nametoindex(zone) if zone else 0
        return start + struct.pack(">HI", port, 0) + socket.inet_pton(family, host) + struct.pack("=I", scope)
    return start + struct.pack(">H", port) + socket.inet_pton(family, host) + bytes(8)
