"""Batched socket calls of 64-bit Linux, the structures that they read and write, and numbers of socket options.

Owns the only declarations of C functions outside libsrtp: recvmmsg(2), sendmmsg(2). Never holds memory: callers of the
functions keep everything whose address they pass referenced until the call has returned.
"""

from __future__ import annotations

import struct
import sys
from typing import Any, Final

import cffi

SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104
SO_TIMESTAMPNS: Final = 35

MMSGHDR: Final = struct.Struct("=QI4xQQQQi4xI4x")
"""struct mmsghdr: name, namelen, iov, iovlen, control, controllen, flags, bytes sent or received."""
IOVEC: Final = struct.Struct("=QQ")
"""struct iovec: address, bytes."""

_ffi = cffi.FFI()
_ffi.cdef(
    """
    int recvmmsg(int fd, void *messages, unsigned int count, int flags, void *timeout);
    int sendmmsg(int fd, void *messages, unsigned int count, int flags);
    """
)
_libc = _ffi.dlopen(None)

LINUX_64: Final = (
    sys.platform == "linux" and sys.maxsize > 2**32 and hasattr(_libc, "recvmmsg") and hasattr(_libc, "sendmmsg")
)
"""True if the structures above are this system's and both functions exist."""
recvmmsg: Final[Any] = _libc.recvmmsg if LINUX_64 else None
"""Reads up to `count` messages; returns how many, or -1 (then `ffi.errno` of `sfu.rtc.net.srtp` has the reason)."""
sendmmsg: Final[Any] = _libc.sendmmsg if LINUX_64 else None
"""Sends up to `count` messages; returns how many, or -1 as `recvmmsg`."""
