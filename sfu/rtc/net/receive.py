"""The seam to C on the way in: many datagrams of one socket in one system call.

Owns the memory that the kernel writes to, for as long as the socket is read. SRTP is decrypted in it; what is handed
out then are copies: nobody outside holds a pointer into it. Of what a datagram says it reads the first two bytes.
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

import cffi
from pylibsrtp import _binding as _srtp

from sfu.rtc.net.linux import IOVEC, LINUX_64, MMSGHDR, SO_TIMESTAMPNS, SOL_UDP, UDP_GRO
from sfu.rtc.net.srtp import MAX_DATAGRAM, SrtpContext
from sfu.rtc.net.stun import Address

BATCH: Final = 16
"""Messages read by one call; with segments joined by the kernel a message is many datagrams."""
_LONGEST: Final = 65_535
_STRIDE: Final = 65_536 + 4096 + 64
"""Bytes between two messages: not a power of two, or all of them would compete for the same few cache lines."""
_NAME: Final = 32  # bytes from one sender's address to the next; sockaddr_in6, the longer of the two, has 28
_IPV6_NAME: Final = 28
_IPV4_NAME: Final = 16
_MAX_KNOWN: Final = 4096
_SEGMENT: Final = struct.Struct("=QiiI4x")  # cmsghdr with one int, padded to its alignment
_STAMP: Final = struct.Struct("=Qiiqq")  # cmsghdr with a timespec
_RESULT: Final = struct.Struct("=40xQ8xI4x")  # of an mmsghdr: bytes of control messages, and of the message
_CONTROL: Final = _STAMP.size + _SEGMENT.size
"""Bytes of control messages for each message: first the stamp, then the segment size if there is one."""
SHORTEST: Final = 12
"""Bytes of an RTP header; no SRTCP packet is as short."""

_ffi = cffi.FFI()
_ffi.cdef(
    """
    struct mmsghdr;
    int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, void *timeout);
    """
)
_libc = _ffi.dlopen(None)
_LINUX_64: Final = LINUX_64 and hasattr(_libc, "recvmmsg")

_IPV4: Final = struct.Struct(">2xH4s")
_IPV6: Final = struct.Struct(">2xH4x16s")


Arrived = Callable[[], Sequence[float]]
"""Says of packets that came together when each of them did, in seconds of the monotonic clock; or nothing of any."""


def unknown_arrival() -> Sequence[float]:
    """Nobody knows when they came, but that it was lately."""
    return ()


class Datagrams:
    """Datagrams of one sender, without another's between, where the kernel wrote them: good until the next `read`."""

    __slots__ = ("_ingress", "places", "sender")

    def __init__(self, ingress: Ingress, sender: Address) -> None:
        self.sender = sender
        self.places: list[tuple[int, int]] = []
        """Of each: where it starts in the arena, and its length in bytes."""
        self._ingress = ingress

    def is_media(self) -> bool:
        """Whether all of them look like SRTP packets (RFC 7983 section 7, RFC 5761 section 4)."""
        arena = self._ingress.arena
        for start, size in self.places:
            if size < SHORTEST or not 128 <= arena[start] < 192 or 192 <= arena[start + 1] < 224:
                return False
        return True

    def copies(self) -> list[bytes]:
        """The datagrams."""
        arena = self._ingress.arena
        return [arena[start : start + size] for start, size in self.places]

    def decrypted(self, keys: SrtpContext) -> list[bytes]:
        """The RTP packets, less those that libsrtp refuses and those above `MAX_DATAGRAM`.

        To be called once: what was here is gone then.
        """
        packets = []
        arena, base, length = self._ingress.arena, self._ingress.base, self._ingress.length
        unprotect, handle = _srtp.lib.srtp_unprotect, keys.handle
        for start, size in self.places:
            length[0] = size
            if size <= MAX_DATAGRAM and not unprotect(handle, base + start, length):
                packets.append(arena[start : start + length[0]])
        return packets

    def arrived(self) -> list[float]:
        """When the kernel took in each of them, in seconds of the monotonic clock; none where it does not tell.

        However late they are read: a camera must not think that its line was held up, or carried all at once, when only
        this process was. The kernel tells once it is asked to: from the next read after the first call of this.
        """
        ingress = self._ingress
        if not ingress.stamped:
            ingress.ask_for_stamps()
            return []
        offset = time.time() - time.monotonic()
        return [ingress.stamp(start // _STRIDE) - offset for start, _ in self.places]


class Ingress:
    """What arrives at one socket. By one `recvmmsg` for up to `BATCH` messages, on other systems one by one.

    The kernel is asked to hand over a sender's burst of equal datagrams as one message (`UDP_GRO`, udp(7)), which then
    crosses its IP stack once; it is taken apart here.
    """

    def __init__(self, sock: socket.socket, *, batched: bool = _LINUX_64) -> None:
        self.drained = True
        """Whether the last `read` left nothing behind."""
        self.joined = batched and _accepts(sock, SOL_UDP, UDP_GRO)
        """Whether the kernel joins datagrams."""
        self.stamped = False
        """Whether the kernel said of the messages read last when it took them in."""
        self._asked = not batched  # not before somebody wants to know: it costs a tenth of a packet's way in
        self._stamping = False
        self.arena = mmap.mmap(-1, BATCH * _STRIDE)  # its pages come when touched: few of this megabyte ever are
        self._view = memoryview(self.arena)
        self.base = _srtp.ffi.from_buffer("unsigned char[]", self.arena) + 0
        """Where the arena is, for C."""
        self.length = _srtp.ffi.new("int *")
        """For C to say how much it has left of a packet."""
        self._socket = sock
        self._batched = batched
        self._ipv6 = sock.family == socket.AF_INET6
        self._known: dict[int | bytes, Address] = {}
        self._pinned = [_ffi.from_buffer(self.arena)]  # may not be resized while C knows them
        if batched:
            self._allocate()

    def _allocate(self) -> None:
        """All memory the kernel ever writes to but for the arena, and the headers that say so."""
        self._names = memoryview(bytearray(BATCH * _NAME))
        self._ports_and_hosts = self._names.cast("Q")[:: _NAME // 8]  # an IPv4 sender's whole address
        self._controls = bytearray(BATCH * _CONTROL)
        self._vectors = bytearray(BATCH * IOVEC.size)
        self._headers = bytearray(BATCH * MMSGHDR.size)
        self._results = memoryview(self._headers)
        self._control_lengths = self._results.cast("Q")[5 :: MMSGHDR.size // 8]
        self._rooms = memoryview(array("Q", [_CONTROL] * BATCH))
        """What the kernel wants to know each time: what room there is."""
        self._pinned += [_ffi.from_buffer(each) for each in (self._names, self._controls, self._vectors, self._headers)]
        arena, names, controls, vectors, _ = [int(_ffi.cast("uintptr_t", pinned)) for pinned in self._pinned]
        name_length = _IPV6_NAME if self._ipv6 else _IPV4_NAME
        for index in range(BATCH):
            IOVEC.pack_into(self._vectors, index * IOVEC.size, arena + index * _STRIDE, _LONGEST)
            vector, name = vectors + index * IOVEC.size, names + index * _NAME
            header = (name, name_length, vector, 1, controls + index * _CONTROL, _CONTROL, 0, 0)
            MMSGHDR.pack_into(self._headers, index * MMSGHDR.size, *header)
        self._headers_c = _ffi.cast("struct mmsghdr *", self._pinned[-1])

    def read(self) -> list[Datagrams]:
        """Datagrams that wait, in order; none when none wait or the socket is closed."""
        if not self._batched:
            return self._read_singly()
        self.stamped = self._stamping
        count: int = _libc.recvmmsg(self._socket.fileno(), self._headers_c, BATCH, socket.MSG_DONTWAIT, _ffi.NULL)
        self.drained = count < BATCH
        if count <= 0:  # less than none: an ICMP error that belongs to an earlier send
            return []
        senders: list[Datagrams] = []
        sender, plain = None, _STAMP.size if self.stamped else 0
        for index, (control, size) in enumerate(_RESULT.iter_unpack(self._results[: count * MMSGHDR.size])):
            name = self._name(index) if self._ipv6 else self._ports_and_hosts[index]
            if name != sender:
                sender, datagrams = name, Datagrams(self, self._known.get(name) or self._learnt(name, index))
                senders.append(datagrams)
            start = index * _STRIDE
            if control <= plain or (segment := self._segment(index, plain)) >= size:
                datagrams.places.append((start, size))
            else:
                end = start + size
                datagrams.places += [(first, min(segment, end - first)) for first in range(start, end, segment)]
        self._control_lengths[:count] = self._rooms[:count]
        return senders

    def _segment(self, index: int, at: int) -> int:
        """Bytes of each datagram in a message (the last may be shorter), from its control message there."""
        _, level, kind, segment = _SEGMENT.unpack_from(self._controls, index * _CONTROL + at)
        return segment if (level, kind) == (SOL_UDP, UDP_GRO) and segment > 0 else _LONGEST

    def ask_for_stamps(self) -> None:
        """From the next read on."""
        if not self._asked:
            self._asked = True
            self._stamping = _accepts(self._socket, socket.SOL_SOCKET, SO_TIMESTAMPNS)

    def stamp(self, index: int) -> float:
        """When the kernel took in the message that was read last in this place, in Unix seconds."""
        _, _, _, seconds, nanoseconds = _STAMP.unpack_from(self._controls, index * _CONTROL)
        return float(seconds + nanoseconds / 1e9)

    def _name(self, index: int) -> bytes:
        return self._names[index * _NAME : index * _NAME + _IPV6_NAME].tobytes()

    def _learnt(self, name: int | bytes, index: int) -> Address:
        """A sender's address; made once for each, of as many as fit a bounded table."""
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        known = self._known[name] = _unpacked(self._name(index), ipv6=self._ipv6)
        return known

    def _read_singly(self) -> list[Datagrams]:
        senders: list[Datagrams] = []
        self.drained = False
        for index in range(BATCH):
            start = index * _STRIDE
            try:
                size, sender = self._socket.recvfrom_into(self._view[start : start + _LONGEST])
            except OSError:
                self.drained = True
                break
            sender = _without_flow(sender) if self._ipv6 else sender
            if not senders or senders[-1].sender != sender:
                senders.append(Datagrams(self, sender))
            senders[-1].places.append((start, size))
        return senders


def _accepts(sock: socket.socket, level: int, option: int) -> bool:
    """Turns an option on; UDP_GRO is unknown to kernels before 5.0."""
    try:
        sock.setsockopt(level, option, 1)
    except OSError:
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
