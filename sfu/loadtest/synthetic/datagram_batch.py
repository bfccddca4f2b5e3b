"""Many datagrams read by one call and examined in columns, so that a thousand viewers cost little CPU.

Owns the buffers of one `recvmmsg`, each datagram at its own multiple of `STRIDE`. A column (all SSRCs, all sequence
numbers) is one strided slice, so that Python takes a few steps for a burst instead of a few for each packet. Never
interprets the bytes. Used by the load test only; the server reads its one port in `receive`.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import time
from array import array
from typing import Final

from sfu.rtc.net.linux import IOVEC, LINUX_64, MMSGHDR, SO_TIMESTAMPNS, SOL_UDP, UDP_GRO, recvmmsg
from sfu.rtc.net.srtp import ffi

STRIDE: Final = 2048
"""Bytes from one datagram to the next; longer datagrams are truncated."""
BATCH: Final = 64
_NAME: Final = 32
_CONTROL: Final = 64
_MEMINFO: Final = 55  # SO_MEMINFO
_MEMINFO_DROPS: Final = 8
_RECEIVE_BUFFER_FORCE: Final = 33  # SO_RCVBUFFORCE
_IPV4: Final = struct.Struct("=H2x4s")
_PORT: Final = struct.Struct(">H")


def prepare(sock: socket.socket, buffer_bytes: int) -> None:
    """Makes the receive buffer of `sock` large, and lets the kernel note when each datagram arrived.

    Turns off `UDP_GRO`: the kernel delivers single datagrams even if the sender used GSO, as it does to a viewer behind
    a network card, where the segmentation is the sender's cost too.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    if LINUX_64:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(SOL_UDP, UDP_GRO, 0)
        with contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, buffer_bytes)


def dropped(sock: socket.socket) -> int:
    """Returns the datagrams that the kernel dropped because the socket's buffer was full; 0 if unknown."""
    if not LINUX_64:
        return 0
    counts = array("I", sock.getsockopt(socket.SOL_SOCKET, _MEMINFO, 4 * (_MEMINFO_DROPS + 1)))
    return counts[_MEMINFO_DROPS]


class DatagramBatch:
    """Up to `BATCH` datagrams of one socket. Its contents are valid until the next `read` of any socket."""

    def __init__(self) -> None:
        self._arena = bytearray(STRIDE * BATCH)
        self._bytes = memoryview(self._arena)
        self._halves = self._bytes.cast("H")
        self._words = self._bytes.cast("I")
        self._names = bytearray(_NAME * BATCH)
        self._controls = bytearray(_CONTROL * BATCH)
        self._times = memoryview(self._controls).cast("q")
        self._messages = bytearray(self._prepared())
        self._template = bytes(self._messages)
        self._fields = memoryview(self._messages).cast("I")
        self._messages_c = ffi.from_buffer(self._messages)
        self._used = 0
        self._read_at = 0

    def read(self, sock: socket.socket) -> int:
        """Reads waiting datagrams of `sock`, at most `BATCH`; returns their number, 0 if there are none."""
        if not LINUX_64:
            return self._read_singly(sock)
        used = self._used * MMSGHDR.size  # the kernel has overwritten the lengths in the headers it used
        self._messages[:used] = self._template[:used]
        count: int = recvmmsg(sock.fileno(), self._messages_c, BATCH, socket.MSG_DONTWAIT, ffi.NULL)
        self._used = max(count, 0)
        return self._used

    def lengths(self, count: int) -> list[int]:
        """Returns the bytes of each of the first `count` datagrams."""
        return self._fields[14 : 16 * count : 16].tolist()

    def words(self, index: int, count: int) -> bytes:
        """Returns the 4 bytes at offset `4 * index` of each of the first `count` datagrams, joined."""
        return self._words[index : STRIDE // 4 * count : STRIDE // 4].tobytes()

    def halves(self, index: int, count: int) -> array[int]:
        """Returns the 16-bit big-endian number at offset `2 * index` of each of the first `count` datagrams."""
        column = array("H", self._halves[index : STRIDE // 2 * count : STRIDE // 2].tobytes())
        if sys.byteorder == "little":
            column.byteswap()
        return column

    def datagram(self, number: int) -> bytes:
        """Returns a copy of one datagram."""
        start = number * STRIDE
        return bytes(self._bytes[start : start + min(self._fields[14 + 16 * number], STRIDE)])

    def received_at(self, number: int) -> int:
        """Returns the time at which the kernel received a datagram, in nanoseconds since 1970."""
        if not LINUX_64:
            return self._read_at
        at = number * _CONTROL // 8
        return self._times[at + 2] * 1_000_000_000 + self._times[at + 3]

    def source(self, number: int) -> tuple[str, int]:
        """Returns the sender's address and port."""
        at = number * _NAME
        (port,) = _PORT.unpack_from(self._names, at + 2)
        family, packed = _IPV4.unpack_from(self._names, at)
        if family == socket.AF_INET6:
            return socket.inet_ntop(socket.AF_INET6, self._names[at + 8 : at + 24]), port
        return socket.inet_ntoa(packed), port

    def _prepared(self) -> bytes:
        """Returns the message headers, each with pointers to its own name, vector, buffer and control message."""
        self._vectors = bytearray(IOVEC.size * BATCH)
        arena, names, controls, vectors = map(_address, (self._arena, self._names, self._controls, self._vectors))
        headers = []
        for number in range(BATCH):
            IOVEC.pack_into(self._vectors, number * IOVEC.size, arena + number * STRIDE, STRIDE)
            name, control = names + number * _NAME, controls + number * _CONTROL
            vector = vectors + number * IOVEC.size
            headers.append(MMSGHDR.pack(name, _NAME, vector, 1, control, _CONTROL, 0, 0))
        return b"".join(headers)

    def _read_singly(self, sock: socket.socket) -> int:
        """Reads into the same columns without `recvmmsg`: one call for each datagram, arrival times by our clock."""
        count = 0
        self._read_at = time.time_ns()
        for number in range(BATCH):
            try:
                size, address = sock.recvfrom_into(self._bytes[number * STRIDE : (number + 1) * STRIDE])
            except OSError:
                break
            self._fields[14 + 16 * number] = size
            packed = socket.inet_pton(sock.family, address[0])
            at = number * _NAME
            _IPV4.pack_into(self._names, at, sock.family, packed[:4])
            _PORT.pack_into(self._names, at + 2, address[1])
            if len(packed) == 16:
                self._names[at + 8 : at + 24] = packed
            count += 1
        return count


def _address(buffer: bytearray) -> int:
    """Returns the memory address of a buffer. The buffer must live as long as its batch and never be resized."""
    return int(ffi.cast("uintptr_t", ffi.from_buffer(buffer)))
