"""The calls to C on the way in: many datagrams of one socket in one system call.

Owns the memory that the kernel writes to, for as long as the socket is read. SRTP is decrypted there, and packets are
handed out as copies. Never lets a pointer into that memory out, and never reads more of a datagram than its first two
bytes.
"""

from __future__ import annotations

import mmap
import socket
import struct
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Final

from sfu.rtc.net.linux import IOVEC, LINUX_64, MMSGHDR, SO_TIMESTAMPNS, SOL_UDP, UDP_GRO, recvmmsg
from sfu.rtc.net.srtp import MAX_DATAGRAM_BYTES, SrtpContext, ffi, srtp_unprotect
from sfu.rtc.net.stun import Address

BATCH_MESSAGES: Final = 16
"""Messages read by one call. Where the kernel joins datagrams (`UDP_GRO`), one message holds many."""
_MAX_MESSAGE_BYTES: Final = 65_535
"""The longest UDP message."""
_STRIDE_BYTES: Final = 65_536 + 4096 + 64
"""From one message to the next: not a power of two, or all of them would compete for the same few cache lines."""
_NAME_STRIDE_BYTES: Final = 32
"""From one sender's address to the next: fits sockaddr_in6, the longer of the two, and is a multiple of 8."""
_IPV6_NAME_BYTES: Final = 28
_IPV4_NAME_BYTES: Final = 16
MAX_KNOWN_SENDERS: Final = 4096
"""Senders whose address is kept as text; the table is cleared when it is full."""
_SEGMENT: Final = struct.Struct("=QiiI4x")
"""A cmsghdr with one int, padded to its alignment: the segment size."""
_TIMESTAMP: Final = struct.Struct("=Qiiqq")
"""A cmsghdr with a timespec: seconds, nanoseconds."""
_RESULT: Final = struct.Struct("=40xQ8xI4x")
"""The fields of an mmsghdr that the kernel fills: bytes of the control messages, bytes of the message."""
_CONTROL_BYTES: Final = _TIMESTAMP.size + _SEGMENT.size
"""Room for the control messages of one message: first the timestamp, then the segment size if there is one."""
MIN_SRTP_BYTES: Final = 12
"""The length of an RTP header. Every SRTCP packet is longer."""

_IPV4: Final = struct.Struct(">2xH4s")
"""A sockaddr_in: port, host."""
_IPV6: Final = struct.Struct(">2xH4x16s")
"""A sockaddr_in6: port, host; its scope follows in host order."""


Arrived = Callable[[], Sequence[float]]
"""Returns the kernel receive time of each packet of one batch (seconds, monotonic clock); empty if unknown."""


def unknown_arrival() -> Sequence[float]:
    """Returns an empty sequence: the arrival times are not available; use the current time."""
    return ()


class Datagrams:
    """Consecutive datagrams of one sender, where the kernel wrote them. Valid until the next `Ingress.read`."""

    __slots__ = ("_ingress", "places", "sender")

    def __init__(self, ingress: Ingress, sender: Address) -> None:
        self.sender = sender
        self.places: list[tuple[int, int]] = []
        """Start in the arena and length in bytes of each datagram."""
        self._ingress = ingress

    def is_media(self) -> bool:
        """Returns True if all of them look like SRTP packets (RFC 7983 section 7, RFC 5761 section 4)."""
        arena = self._ingress.arena
        for start, size in self.places:
            if size < MIN_SRTP_BYTES or not 128 <= arena[start] < 192 or 192 <= arena[start + 1] < 224:
                return False
        return True

    def copies(self) -> list[bytes]:
        """Returns a copy of each datagram."""
        arena = self._ingress.arena
        return [arena[start : start + size] for start, size in self.places]

    def decrypted(self, keys: SrtpContext) -> list[bytes]:
        """Returns the RTP packets, without those that libsrtp refuses or that exceed `MAX_DATAGRAM_BYTES`.

        Call it once: it decrypts in place.
        """
        packets = []
        arena, base, length = self._ingress.arena, self._ingress.base, self._ingress.length
        unprotect, handle = srtp_unprotect, keys.handle
        for start, size in self.places:
            length[0] = size
            if size <= MAX_DATAGRAM_BYTES and not unprotect(handle, base + start, length):
                packets.append(arena[start : start + length[0]])
        return packets

    def arrived(self) -> list[float]:
        """Returns the kernel receive time of each datagram (seconds, monotonic clock); empty if unknown.

        These times do not depend on when this process reads: a delay here must not look to a camera's congestion
        control like a delay of its network. The first call turns kernel timestamps on, from the next read.
        """
        ingress = self._ingress
        if not ingress.timestamped:
            ingress.ask_for_timestamps()
            return []
        offset = time.time() - time.monotonic()
        return [ingress.timestamp(start // _STRIDE_BYTES) - offset for start, _ in self.places]


class Ingress:
    """The reader of one socket: one `recvmmsg` for up to `BATCH_MESSAGES` messages; on other systems one by one.

    The kernel is asked to hand over a sender's burst of equal datagrams as one message (`UDP_GRO`, udp(7)), which then
    crosses its IP stack once; it is taken apart here.
    """

    def __init__(self, sock: socket.socket, *, batched: bool = LINUX_64) -> None:
        self.drained = True
        """True if the last `read` left nothing in the socket."""
        self.joined = batched and _accepts(sock, SOL_UDP, UDP_GRO)
        """True if the kernel joins datagrams."""
        self.timestamped = False
        """True if the messages of the last `read` carry the kernel's receive time."""
        # Timestamps are off until the first request for them: they cost a tenth of a packet's way in.
        self._asked = not batched
        self._timestamping = False
        # One megabyte, but pages take memory when they are touched, and few ever are.
        self.arena = mmap.mmap(-1, BATCH_MESSAGES * _STRIDE_BYTES)
        self._view = memoryview(self.arena)
        self.base = ffi.from_buffer("unsigned char[]", self.arena) + 0
        """The arena's address, for C."""
        self.length = ffi.new("int *")
        """The length of the packet that libsrtp works on; it writes the new length here."""
        self._socket = sock
        self._batched = batched
        self._ipv6 = sock.family == socket.AF_INET6
        self._known: dict[int | bytes, Address] = {}
        self._pinned = [ffi.from_buffer(self.arena)]  # keeps the buffers that C knows from being resized or freed
        if batched:
            self._allocate()

    def _allocate(self) -> None:
        """Makes the rest of the memory that the kernel writes to, and the message headers that point to it."""
        self._names = memoryview(bytearray(BATCH_MESSAGES * _NAME_STRIDE_BYTES))
        self._ipv4_names = self._names.cast("Q")[:: _NAME_STRIDE_BYTES // 8]  # a whole address: family, port, host
        self._controls = bytearray(BATCH_MESSAGES * _CONTROL_BYTES)
        self._vectors = bytearray(BATCH_MESSAGES * IOVEC.size)
        self._headers = bytearray(BATCH_MESSAGES * MMSGHDR.size)
        self._results = memoryview(self._headers)
        self._control_lengths = self._results.cast("Q")[5 :: MMSGHDR.size // 8]
        self._full_lengths = memoryview(array("Q", [_CONTROL_BYTES] * BATCH_MESSAGES))
        """The room for control messages, to be restored after each read: the kernel overwrites it."""
        self._pinned += [ffi.from_buffer(each) for each in (self._names, self._controls, self._vectors, self._headers)]
        arena, names, controls, vectors, _ = [int(ffi.cast("uintptr_t", pinned)) for pinned in self._pinned]
        name_length = _IPV6_NAME_BYTES if self._ipv6 else _IPV4_NAME_BYTES
        for index in range(BATCH_MESSAGES):
            IOVEC.pack_into(self._vectors, index * IOVEC.size, arena + index * _STRIDE_BYTES, _MAX_MESSAGE_BYTES)
            vector, name = vectors + index * IOVEC.size, names + index * _NAME_STRIDE_BYTES
            header = (name, name_length, vector, 1, controls + index * _CONTROL_BYTES, _CONTROL_BYTES, 0, 0)
            MMSGHDR.pack_into(self._headers, index * MMSGHDR.size, *header)
        self._headers_at = self._pinned[-1]

    @property
    def known_senders(self) -> int:
        """Senders whose address is remembered, `MAX_KNOWN_SENDERS` at most."""
        return len(self._known)

    def read(self) -> list[Datagrams]:
        """Returns the waiting datagrams in order; empty if there are none or the socket is closed."""
        if not self._batched:
            return self._read_singly()
        self.timestamped = self._timestamping
        count: int = recvmmsg(self._socket.fileno(), self._headers_at, BATCH_MESSAGES, socket.MSG_DONTWAIT, ffi.NULL)
        self.drained = count < BATCH_MESSAGES
        if count <= 0:  # -1 also reports an ICMP error that belongs to an earlier send
            return []
        senders: list[Datagrams] = []
        sender, plain = None, _TIMESTAMP.size if self.timestamped else 0
        for index, (control, size) in enumerate(_RESULT.iter_unpack(self._results[: count * MMSGHDR.size])):
            name = self._name(index) if self._ipv6 else self._ipv4_names[index]
            if name != sender:
                sender, datagrams = name, Datagrams(self, self._known.get(name) or self._learn(name, index))
                senders.append(datagrams)
            start = index * _STRIDE_BYTES
            if control <= plain or (segment := self._segment(index, plain)) >= size:
                datagrams.places.append((start, size))
            else:
                end = start + size
                datagrams.places += [(first, min(segment, end - first)) for first in range(start, end, segment)]
        self._control_lengths[:count] = self._full_lengths[:count]
        return senders

    def _segment(self, index: int, at: int) -> int:
        """Returns the bytes of each datagram in a message (the last may be shorter), from the control message there."""
        _, level, kind, segment = _SEGMENT.unpack_from(self._controls, index * _CONTROL_BYTES + at)
        return segment if (level, kind) == (SOL_UDP, UDP_GRO) and segment > 0 else _MAX_MESSAGE_BYTES

    def ask_for_timestamps(self) -> None:
        """Turns the kernel's receive times on, from the next read."""
        if not self._asked:
            self._asked = True
            self._timestamping = _accepts(self._socket, socket.SOL_SOCKET, SO_TIMESTAMPNS)

    def timestamp(self, index: int) -> float:
        """Returns the kernel receive time of message `index` of the last read, in Unix seconds."""
        _, _, _, seconds, nanoseconds = _TIMESTAMP.unpack_from(self._controls, index * _CONTROL_BYTES)
        return float(seconds + nanoseconds / 1e9)

    def _name(self, index: int) -> bytes:
        return self._names[index * _NAME_STRIDE_BYTES : index * _NAME_STRIDE_BYTES + _IPV6_NAME_BYTES].tobytes()

    def _learn(self, name: int | bytes, index: int) -> Address:
        """Returns a sender's address and remembers it by `name`, so that it is made once for each sender."""
        if len(self._known) >= MAX_KNOWN_SENDERS:
            self._known.clear()
        known = self._known[name] = unpack_address(self._name(index), ipv6=self._ipv6)
        return known

    def _read_singly(self) -> list[Datagrams]:
        senders: list[Datagrams] = []
        self.drained = False
        for index in range(BATCH_MESSAGES):
            start = index * _STRIDE_BYTES
            try:
                size, sender = self._socket.recvfrom_into(self._view[start : start + _MAX_MESSAGE_BYTES])
            except OSError:
                self.drained = True
                break
            sender = _without_flow(sender) if self._ipv6 else sender
            if not senders or senders[-1].sender != sender:
                senders.append(Datagrams(self, sender))
            senders[-1].places.append((start, size))
        return senders


def _accepts(sock: socket.socket, level: int, option: int) -> bool:
    """Turns a socket option on; returns False if the kernel refuses (UDP_GRO needs 5.0)."""
    try:
        sock.setsockopt(level, option, 1)
    except OSError:
        return False
    return True


def unpack_address(name: bytes, *, ipv6: bool) -> Address:
    """Returns the address in a `struct sockaddr_in` or `sockaddr_in6`."""
    if not ipv6:
        port, host = _IPV4.unpack_from(name)
        return socket.inet_ntop(socket.AF_INET, host), port
    port, host = _IPV6.unpack_from(name)
    return _without_flow((socket.inet_ntop(socket.AF_INET6, host), port, 0, int.from_bytes(name[24:28], sys.byteorder)))


def _without_flow(address: tuple[str, int, int, int]) -> Address:
    host, port, _, scope = address
    return (f"{host}%{socket.if_indextoname(scope)}", port) if scope else (host, port)
