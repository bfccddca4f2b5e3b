"""Targets: transports that get the same bursts, as C wants them.

Owns copies of their addresses and handles, side by side in memory. Never sends.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import cffi
from pylibsrtp import _binding as _srtp

from sfu.rtc.native import Path, SrtpContext

_ffi = cffi.FFI()


class Targets:
    """Transports that get the same bursts: of one socket and one SRTP overhead. Keeps their keys and paths alive.

    What a burst reads of each lies side by side here, copied: strewn over all memory it would cost a cache miss each.
    """

    __slots__ = ("_keys", "_storage", "handles", "names", "overhead", "paths", "socket")

    def __init__(self, pairs: Sequence[tuple[Path, SrtpContext]]) -> None:
        """At least one pair."""
        self.paths = [path for path, _ in pairs]
        self.socket = self.paths[0].socket
        self._storage = _ffi.new("unsigned char[]", b"".join([path.name for path in self.paths]))
        first, size = int(_ffi.cast("uintptr_t", self._storage)), len(self.paths[0].name)
        self.names = array("Q", range(first, first + size * len(pairs), size))
        """Where the C `sockaddr` of each is."""
        self._keys = [keys for _, keys in pairs]
        self.handles = _srtp.ffi.unpack(_srtp.ffi.new("srtp_t[]", [keys.handle for keys in self._keys]), len(pairs))
        self.overhead = self._keys[0].overhead
