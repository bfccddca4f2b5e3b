"""The seam to C on the way in: many datagrams of one socket in one system call.

Owns the memory that the kernel writes to, for as long as the socket is read. What it hands out are copies: nobody
outside holds a pointer into it. Never looks at what a datagram says.
"""

from __future__ import annotations

import mmap
import socket
import struct
import sys
from typing import Final

import cffi

from sfu.rtc.linux import IOVEC, LINUX_64, MMSGHDR, SOL_UDP, UDP_GRO
from sfu.rtc.stun import Address

BATCH: Final = 16
"""Messages read by one call; with segments joined by the kernel a message is many datagrams."""
_LONGEST: Final = 65_535
_STRIDE: Final = 65_536 + 4096 + 64
"""Bytes between two messages: not a power of two, or all of them would compete for the same few cache lines."""
_NAME: Final = 28  # sockaddr_in6, the longer of the two
_MAX_KNOWN: Final = 4096
_CONTROL: Final = struct.Struct("=QiiI4x")  # cmsghdr with one int, padded to its alignment
_CONTROL_LENGTH: Final = _CONTROL.size - 4

_ffi = cffi.FFI()
_ffi.cdef(
    """
    struct mmsghdr;
    int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, void *timeout);
    """
)
_libc = _ffi.dlopen(None)
_LINUX_64: Final = LINUX_64 and hasattr(_libc, "recvmmsg")

_RECEIVED: Final = struct.Struct("=8xI28xQ8xI4x")  # of an mmsghdr: namelen, controllen, received length
_IPV4: Final = struct.Struct(">2xH4s")
_IPV6: Final = struct.Struct(">2xH4x16s")


class Ingress:
    """What arrives at one socket. By one `recvmmsg` for up to `BATCH` messages, on other systems one by one.

    The kernel is asked to hand over a sender's burst of equal datagrams as one message (`UDP_GRO`, udp(7)), which then
    crosses its IP stack once; it is taken apart here.
    """

    def __init__(self, sock: socket.socket, *, batched: bool = _LINUX_64) -> None:
        self.drained = True
        """Whether the last `read` left nothing behind."""
        self.joined = batched and _join_segments(sock)
        """Whether the kernel joins datagrams."""
        self._socket = sock
        self._batched = batched
        self._ipv6 = sock.family == socket.AF_INET6
        self._known: dict[bytes, Address] = {}
        if batched:
            self._allocate()

    def _allocate(self) -> None:
        """All memory the kernel ever writes to, and the headers that say so."""
        self._arena = mmap.mmap(-1, BATCH * _STRIDE)  # its pages come when touched: few of this megabyte ever are
        self._view = memoryview(self._arena)
        self._names = bytearray(BATCH * _NAME)
        self._names_view = memoryview(self._names)
        self._controls = bytearray(BATCH * _CONTROL.size)
        self._vectors = bytearray(BATCH * IOVEC.size)
        self._headers = bytearray(BATCH * MMSGHDR.size)
        self._headers_view = memoryview(self._headers)
        buffers = (self._arena, self._names, self._controls, self._vectors, self._headers)
        self._pinned = [_ffi.from_buffer(buffer) for buffer in buffers]  # may not be resized while C knows them
        arena, names, controls, vectors, _ = [int(_ffi.cast("uintptr_t", pinned)) for pinned in self._pinned]
        for index in range(BATCH):
            IOVEC.pack_into(self._vectors, index * IOVEC.size, arena + index * _STRIDE, _LONGEST)
            vector, name = vectors + index * IOVEC.size, names + index * _NAME
            header = (name, _NAME, vector, 1, controls + index * _CONTROL.size, _CONTROL.size, 0, 0)
            MMSGHDR.pack_into(self._headers, index * MMSGHDR.size, *header)
        self._fresh = bytes(self._headers)
        self._used = 0
        self._headers_c = _ffi.cast("struct mmsghdr *", self._pinned[-1])

    def read(self) -> list[tuple[Address, list[bytes]]]:
        """Datagrams that wait, in order: senders, each with what it sent without another's between.

        None when none wait or the socket is closed.
        """
        if not self._batched:
            return self._read_singly()
        used = self._used * MMSGHDR.size  # the kernel has overwritten the lengths of what it filled
        self._headers_view[:used] = self._fresh[:used]
        count: int = _libc.recvmmsg(self._socket.fileno(), self._headers_c, BATCH, socket.MSG_DONTWAIT, _ffi.NULL)
        self._used = max(count, 0)
        self.drained = count < BATCH
        runs: list[tuple[Address, list[bytes]]] = []
        if count <= 0:  # nothing there, or an ICMP error that belongs to an earlier send
            return runs
        start, sender = 0, b""
        datagrams: list[bytes] = []
        received = self._headers_view[: count * MMSGHDR.size]
        for index, (name_length, control_length, size) in enumerate(_RECEIVED.iter_unpack(received)):
            at = index * _NAME
            name = self._names_view[at : at + name_length].tobytes()
            if name != sender:
                sender, datagrams = name, []
                runs.append((self._address(name), datagrams))
            data = self._view[start : start + size].tobytes()
            segment = self._segment(index) if control_length >= _CONTROL_LENGTH else size
            if segment >= size:
                datagrams.append(data)
            else:
                datagrams += [data[first : first + segment] for first in range(0, size, segment)]
            start += _STRIDE
        return runs

    def _segment(self, index: int) -> int:
        """Bytes of each datagram in a message (the last may be shorter); 0 is never said by the kernel."""
        _, level, kind, segment = _CONTROL.unpack_from(self._controls, index * _CONTROL.size)
        return segment if (level, kind) == (SOL_UDP, UDP_GRO) and segment > 0 else _LONGEST

    def _address(self, name: bytes) -> Address:
        """The sender; made once for each, of as many as fit a bounded table."""
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[name] = _unpacked(name, ipv6=self._ipv6)
        return known

    def _read_singly(self) -> list[tuple[Address, list[bytes]]]:
        runs: list[tuple[Address, list[bytes]]] = []
        self.drained = False
        for _ in range(BATCH):
            try:
                data, sender = self._socket.recvfrom(_LONGEST)
            except OSError:
                self.drained = True
                break
            address = _without_flow(sender) if self._ipv6 else sender
            if not runs or runs[-1][0] != address:
                runs.append((address, []))
            runs[-1][1].append(data)
        return runs


def _join_segments(sock: socket.socket) -> bool:
    try:
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)
    except OSError:  # kernels before 5.0
        return False
    return True


def _unpacked(name: bytes, *, ipv6: bool) -> Address:
    """Of a `struct sockaddr_in` or `sockaddr_in6`."""
    if not ipv6:
        port, host = _IPV4.unpack_from(name)
        return socket.inet_ntop(socket.AF_INET, host), port
    port, host = _IPV6.unpack_from(name)
    return _without_flow((socket.inet_ntop(socket.AF_INET6, host), port, 0, int.from_bytes(name[24:28], sys.byteorder)))


def _without_flow(address: tuple[str, int, int, int]) -> Address:
    host, port, _, scope = address
    return (f"{host}%{socket.if_indextoname(scope)}", port) if scope else (host, port)
