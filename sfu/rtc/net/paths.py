"""Where datagrams leave, as C wants to be told: one transport's path, and those of all that get the same bursts.

Owns the addresses that the kernel reads. Never sends.
"""

from __future__ import annotations

import socket
import struct
import sys
from array import array
from collections.abc import Sequence

from pylibsrtp import _binding as _srtp

from sfu.rtc.net.srtp import SrtpContext


class Path:
    """Where datagrams of one transport leave: our socket and the remote address, also as a C `sockaddr`."""

    __slots__ = ("address", "name", "socket")

    def __init__(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self.socket = sock
        self.address = address
        self.name = _sockaddr(sock.family, address)

    def __repr__(self) -> str:
        return f"Path({self.address[0]} {self.address[1]})"


class Targets:
    """Transports that get the same bursts: of one socket and one SRTP overhead. Keeps their keys and paths alive.

    What a burst reads of each lies side by side here, copied: strewn over all memory it would cost a cache miss each.
    """

    __slots__ = ("_keys", "_storage", "handles", "names", "overhead", "paths", "socket")

    def __init__(self, pairs: Sequence[tuple[Path, SrtpContext]]) -> None:
        """At least one pair."""
        self.paths = [path for path, _ in pairs]
        self.socket = self.paths[0].socket
        self._storage = _srtp.ffi.new("unsigned char[]", b"".join([path.name for path in self.paths]))
        first, size = int(_srtp.ffi.cast("uintptr_t", self._storage)), len(self.paths[0].name)
        self.names = array("Q", range(first, first + size * len(pairs), size))
        """Where the C `sockaddr` of each is."""
        self._keys = [keys for _, keys in pairs]
        self.handles = _srtp.ffi.unpack(_srtp.ffi.new("srtp_t[]", [keys.handle for keys in self._keys]), len(pairs))
        self.overhead = self._keys[0].overhead


def _sockaddr(family: int, address: tuple[str, int]) -> bytes:
    """`struct sockaddr_in` or `sockaddr_in6`; the family is 16 bits in host order, on BSDs a length and 8 bits."""
    size = 28 if family == socket.AF_INET6 else 16
    start = struct.pack("=H", family) if sys.platform == "linux" else bytes((size, family))
    host, port = address
    if family == socket.AF_INET6:
        host, _, zone = host.partition("%")
        scope = socket.if_nametoindex(zone) if zone else 0
        return start + struct.pack(">HI", port, 0) + socket.inet_pton(family, host) + struct.pack("=I", scope)
    return start + struct.pack(">H", port) + socket.inet_pton(family, host) + bytes(8)
