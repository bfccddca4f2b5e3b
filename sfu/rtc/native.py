"""The seam to C: socket addresses, libsrtp on bytes we own, and many datagrams in one system call.

Owns every pointer that leaves Python. The rule that keeps the interpreter alive: whatever C is given by address (an
SRTP context, a socket address, a buffer) is referenced by the object that hands it out, for as long as that object
can still be used; nothing here is kept across an event loop turn except by such an owner.
"""

from __future__ import annotations

import errno
import itertools
import socket
import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from typing import Any, Final

import cffi
import pylibsrtp
from pylibsrtp import _binding as _srtp

from sfu.rtc.linux import IOVEC, LINUX_64, MMSGHDR, SOL_UDP, UDP_SEGMENT

MAX_DATAGRAM: Final = 2048
"""Bytes of the largest RTP or RTCP packet that is encrypted or decrypted here, tag included."""
_TRAILER: Final = 148  # SRTP_MAX_TRAILER_LEN with the SRTCP index: what protect may add
_SEGMENTS: Final = 64  # UDP_MAX_SEGMENTS of kernels before 6.9
_GSO_BYTES: Final = 65_000  # an IP datagram's limit, headers taken off
_ARENA_BYTES: Final = 512 * 1024  # about half a core's second level cache, so that sendmmsg reads what is still near
_MESSAGES: Final = 512
MAX_BURST: Final = 128
"""Packets that one `Burst` may hold, so that it always fits the arena."""

_ffi = cffi.FFI()
_ffi.cdef(
    """
    struct mmsghdr;
    int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags);
    """
)
_libc = _ffi.dlopen(None)
_LINUX_64: Final = LINUX_64 and hasattr(_libc, "sendmmsg")

_CMSG: Final = struct.Struct("=QiiH6x")  # cmsghdr with one 16-bit value, padded to its alignment


class Path:
    """Where datagrams of one transport leave: our socket and the remote address, also as a C `sockaddr`."""

    __slots__ = ("_storage", "address", "length", "pointer", "socket")

    def __init__(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self.socket = sock
        self.address = address
        packed = _sockaddr(sock.family, address)
        self._storage = _ffi.new("unsigned char[]", packed)
        self.pointer = int(_ffi.cast("uintptr_t", self._storage))
        self.length = len(packed)

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


def _segments_supported(sock: socket.socket) -> bool:
    if not _LINUX_64:
        return False
    try:
        sock.setsockopt(SOL_UDP, UDP_SEGMENT, 0)  # 0 leaves it to each message; kernels before 4.18 refuse
    except OSError:
        return False
    return True


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
        return self._run(_srtp.lib.srtp_protect, packet, MAX_DATAGRAM - _TRAILER)

    def protect_rtcp(self, packet: bytes) -> bytes | None:
        """The SRTCP packet, or None as in `protect`."""
        return self._run(_srtp.lib.srtp_protect_rtcp, packet, MAX_DATAGRAM - _TRAILER)

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


Run = tuple[int, int, int, int]
"""Datagrams side by side that leave as one message: start, end, size of each but the last, and their number."""


class _Layout:
    """One burst laid out for encryption in place: each packet followed by the room that its SRTP tag needs."""

    __slots__ = ("offsets", "plain", "runs", "singles", "size", "sizes")

    def __init__(self, packets: Sequence[bytes], overhead: int) -> None:
        room = bytes(overhead)
        self.plain = b"".join([part for packet in packets for part in (packet, room)])
        self.size = len(self.plain)
        sizes = [len(packet) for packet in packets]
        self.sizes = array("i", sizes).tobytes()
        """Of each packet in plain text, as C's int."""
        ends = list(itertools.accumulate(size + overhead for size in sizes))
        self.offsets = [0, *ends[:-1]]
        self.singles: list[Run] = [(start, end, end - start, 1) for start, end in zip(self.offsets, ends, strict=False)]
        self.runs = _runs(self.singles)


def _runs(singles: Sequence[Run]) -> list[Run]:
    """Neighbours of one size joined, as `UDP_SEGMENT` allows (udp(7)): only the last of a message may be shorter."""
    runs: list[Run] = []
    joinable = False
    for start, end, size, _ in singles:
        if joinable:
            first, _, segment, count = runs[-1]
            if size <= segment and count < _SEGMENTS and end - first <= _GSO_BYTES:
                runs[-1] = (first, end, segment, count + 1)
                joinable = size == segment
                continue
        runs.append((start, end, size, 1))
        joinable = True
    return runs


class Burst:
    """Packets that go to several transports alike, in plain text; laid out once for each SRTP overhead."""

    def __init__(self, packets: Sequence[bytes]) -> None:
        """At most `MAX_BURST` packets; those too large for a datagram are left out and counted."""
        self.packets = [packet for packet in packets if len(packet) <= MAX_DATAGRAM - _TRAILER]
        self.refused = len(packets) - len(self.packets)
        self._layouts: dict[int, _Layout] = {}

    def layout(self, overhead: int) -> _Layout:
        """For SRTP that adds `overhead` bytes to each packet."""
        known = self._layouts.get(overhead)
        if known is None:
            known = self._layouts[overhead] = _Layout(self.packets, overhead)
        return known


class Egress:
    """Datagrams of one socket on their way out: encrypted in place in one arena, sent by as few calls as possible.

    Packets of one burst to one viewer that have one size (the last may be shorter) become one message with
    `UDP_SEGMENT`, which crosses the kernel's IP stack once; messages of all viewers leave in one `sendmmsg`. Without
    that call (macOS) or where the kernel refuses segments, one `sendto` a packet.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sent = 0
        """Datagrams the kernel took."""
        self.refused: dict[str, int] = {}
        """Datagrams it did not take, by errno name."""
        self.segmented = _segments_supported(sock)
        """Whether bursts leave as GSO segments; turned off when a device refuses them."""
        self._socket = sock
        self._arena = _srtp.ffi.new("unsigned char[]", _ARENA_BYTES)
        self._view = memoryview(_srtp.ffi.buffer(self._arena))
        self._base = int(_srtp.ffi.cast("uintptr_t", self._arena))
        self._lengths = _srtp.ffi.new("int[]", MAX_BURST)
        self._lengths_view = memoryview(_srtp.ffi.buffer(self._lengths))
        self._each_length = [self._lengths + index for index in range(MAX_BURST)]
        self._used = 0
        self._messages = bytearray(MMSGHDR.size * _MESSAGES)
        self._vectors = bytearray(IOVEC.size * _MESSAGES)
        self._messages_c = _ffi.from_buffer(self._messages)
        self._vectors_at = int(_ffi.cast("uintptr_t", _ffi.from_buffer(self._vectors)))
        self._controls: dict[int, tuple[Any, int]] = {}
        self._queued: list[tuple[Path, Run]] = []

    def write(self, path: Path, srtp: SrtpContext, burst: Burst) -> int:
        """Encrypts a burst for one transport and queues it; returns how many packets libsrtp or their size refused."""
        layout = burst.layout(srtp.overhead)
        start = self._used
        if start + layout.size > _ARENA_BYTES:
            self.flush()
            start = 0
        # One copy for the whole burst; then `map` goes from packet to packet without a step of the interpreter.
        self._view[start : start + layout.size] = layout.plain
        self._lengths_view[: len(layout.sizes)] = layout.sizes
        self._used = start + layout.size
        arena = self._arena + start
        places = [arena + offset for offset in layout.offsets]
        codes = list(map(_srtp.lib.srtp_protect, itertools.repeat(srtp.handle), places, self._each_length))
        runs = layout.runs if self.segmented else layout.singles
        failed = len(codes) - codes.count(0)
        if failed:
            runs = [run for run, code in zip(layout.singles, codes, strict=True) if not code]
        for first, end, segment, count in runs:
            self._queue(path, (start + first, start + end, segment, count))
        return failed + burst.refused

    def _queue(self, path: Path, run: Run) -> None:
        index = len(self._queued)
        if index == _MESSAGES:
            self._send()
            index = 0
        if _LINUX_64:
            start, end, segment, count = run
            control, control_length = self._control(segment) if count > 1 else (0, 0)
            vector = self._vectors_at + index * IOVEC.size
            IOVEC.pack_into(self._vectors, index * IOVEC.size, self._base + start, end - start)
            header = (path.pointer, path.length, vector, 1, control, control_length, 0, 0)
            MMSGHDR.pack_into(self._messages, index * MMSGHDR.size, *header)
        self._queued.append((path, run))

    def _control(self, segment: int) -> tuple[int, int]:
        """Address and length of the control message that says `segment`; made once for each size."""
        known = self._controls.get(segment)
        if known is None:
            buffer = _ffi.new("unsigned char[]", _CMSG.pack(_CMSG.size - 6, SOL_UDP, UDP_SEGMENT, segment))
            known = self._controls[segment] = (buffer, int(_ffi.cast("uintptr_t", buffer)))
        return known[1], _CMSG.size

    def flush(self) -> None:
        """Sends what is queued. What the kernel does not take at once is counted and gone: media does not wait."""
        if self._queued:
            self._send()
        self._used = 0

    def _send(self) -> None:
        queued, done = self._queued, 0
        if not _LINUX_64:
            for path, run in queued:
                self._send_singly(path, run)
            done = len(queued)
        while done < len(queued):
            pointer = self._messages_c + done * MMSGHDR.size
            taken = _libc.sendmmsg(
                self._socket.fileno(), _ffi.cast("struct mmsghdr *", pointer), len(queued) - done, socket.MSG_DONTWAIT
            )
            if taken > 0:
                self.sent += sum([run[3] for _, run in queued[done : done + taken]])
                done += taken
                continue
            self._on_error(_ffi.errno, *queued[done])
            done += 1
        queued.clear()

    def _on_error(self, number: int, path: Path, run: Run) -> None:
        """What sendmmsg stopped at. A path whose MTU is below the segment, or a device, may refuse only segments."""
        if run[3] > 1 and number in (errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP):
            if number in (errno.EIO, errno.EOPNOTSUPP):
                self.segmented = False
            self._send_singly(path, run)
        else:
            self._refuse(number, run[3])

    def _send_singly(self, path: Path, run: Run) -> None:
        start, end, segment, _ = run
        for at in range(start, end, segment):
            try:
                self._socket.sendto(self._view[at : min(at + segment, end)], path.address)
                self.sent += 1
            except OSError as error:
                self._refuse(error.errno or 0, 1)

    def _refuse(self, number: int, count: int) -> None:
        name = errno.errorcode.get(number, str(number))
        self.refused[name] = self.refused.get(name, 0) + count
