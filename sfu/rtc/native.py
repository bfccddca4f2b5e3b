"""The seam to C for one transport: its socket address, and libsrtp on bytes we own.

Owns every pointer that leaves Python. The rule that keeps the interpreter alive: whatever C is given by address (an
SRTP context, a socket address, a buffer) is referenced by the object that hands it out, for as long as that object
can still be used; nothing here is kept across an event loop turn except by such an owner.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pylibsrtp
from pylibsrtp import _binding as _srtp

MAX_DATAGRAM: Final = 2048
"""Bytes of the largest RTP or RTCP packet that is encrypted or decrypted here, tag included."""
TRAILER: Final = 148
"""SRTP_MAX_TRAILER_LEN with the SRTCP index: bytes that protect may add."""

_allocator: Final = ThreadPoolExecutor(1, "srtp contexts")


def keep_together(create: Callable[[], None]) -> None:
    """Runs `create` (raises what that raises) in a thread whose only work is to create SRTP contexts.

    glibc allocates for each thread from a region of its own, so they lie side by side there. A burst to a hundred
    viewers reads a hundred contexts; strewn among all else they cost twice the cache and TLB misses.
    """
    _allocator.submit(create).result()


class Path:
    """Where datagrams of one transport leave: our socket and the remote address, also as a C `sockaddr`."""

    __slots__ = ("address", "name", "socket")

    def __init__(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self.socket = sock
        self.address = address
        self.name = _sockaddr(sock.family, address)

    def __repr__(self) -> str:
        return f"Path({self.address[0]} {self.address[1]})"


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


class SrtpContext:
    """One direction of one transport's SRTP keys. Keeps the pylibsrtp session, and with it the C context, alive."""

    __slots__ = ("_buffer", "_length", "_session", "_view", "handle", "overhead")

    def __init__(self, session: pylibsrtp.Session, overhead: int) -> None:
        self._session = session
        self.handle = session._srtp[0]  # noqa: SLF001  # the only way to libsrtp without a copy for each call
        self._buffer = _srtp.ffi.new("unsigned char[]", MAX_DATAGRAM)
        self._view = _srtp.ffi.buffer(self._buffer)
        self._length = _srtp.ffi.new("int *")
        self.overhead = overhead
        """Bytes that encryption adds to an RTP packet: the profile's authentication tag (RFC 3711, RFC 7714)."""

    def protect(self, packet: bytes) -> bytes | None:
        """The SRTP packet, or None when libsrtp refuses or it is longer than `MAX_DATAGRAM` allows."""
        return self._run(_srtp.lib.srtp_protect, packet, MAX_DATAGRAM - TRAILER)

    def protect_rtcp(self, packet: bytes) -> bytes | None:
        """The SRTCP packet, or None as in `protect`."""
        return self._run(_srtp.lib.srtp_protect_rtcp, packet, MAX_DATAGRAM - TRAILER)

    def unprotect(self, packet: bytes) -> bytes | None:
        """The RTP packet, or None when it is forged, replayed or malformed."""
        return self._run(_srtp.lib.srtp_unprotect, packet, MAX_DATAGRAM)

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """The RTCP compound, or None when it is forged, replayed or malformed."""
        return self._run(_srtp.lib.srtp_unprotect_rtcp, packet, MAX_DATAGRAM)

    def _run(self, function: Callable[..., int], packet: bytes, limit: int) -> bytes | None:
        size = len(packet)
        if size > limit:
            return None
        self._view[0:size] = packet
        self._length[0] = size
        if function(self.handle, self._buffer, self._length):
            return None
        result: bytes = self._view[0 : self._length[0]]
        return result
