"""SRTP: one transport's keys in libsrtp, which encrypts and decrypts in place in memory that we own.

Owns the contexts, their buffers, and the only use of pylibsrtp, of whose private binding other files take `ffi`,
`srtp_protect` and `srtp_unprotect` from here. All memory that C knows by its address is referenced by the object that
hands the address out, for as long as that object can be used. Never touches sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from socket import htonl
from typing import Any, Final, NamedTuple

import pylibsrtp
from pylibsrtp import Policy
from pylibsrtp import _binding as _srtp

ffi: Final[Any] = _srtp.ffi
"""Makes memory for C and addresses of it. A compiled one, which is faster than `cffi.FFI()`."""
srtp_protect: Final[Any] = _srtp.lib.srtp_protect
"""libsrtp's function (handle, address of the packet, address of its int length): encrypts in place; returns 0 if it
did. Here under its own name, since it is called once for each packet."""
srtp_unprotect: Final[Any] = _srtp.lib.srtp_unprotect
"""As `srtp_protect`: decrypts in place; returns 0 unless the packet is forged, replayed or malformed."""

MAX_DATAGRAM_BYTES: Final = 2048
"""The largest RTP or RTCP packet that is encrypted or decrypted here, authentication tag included."""
TRAILER_BYTES: Final = 148
"""SRTP_MAX_TRAILER_LEN and the SRTCP index: the most that encryption may add."""
_WINDOW_PACKETS: Final = 1024
"""Packets behind the latest that libsrtp still tells from a replay (RFC 3711 section 3.3.2)."""
_SMALL_WINDOW_PACKETS: Final = 128
"""The window where no packet is sent twice. libsrtp shifts the whole window for each packet: the large one takes 5 % of
all CPU."""

_allocator: Final = ThreadPoolExecutor(1, "srtp contexts")
"""The thread that makes all outbound contexts. glibc gives each thread memory of its own, so these contexts lie side by
side. A burst to a hundred viewers reads a hundred contexts; scattered, they cost a tenth of its CPU in cache and TLB
misses."""


class Profile(NamedTuple):
    """An SRTP protection profile (RFC 5764 section 4.1.2, RFC 7714 section 14.2); lengths in bytes."""

    name: str
    """IANA's name."""
    number: int
    """libsrtp's number."""
    key: int
    salt: int
    tag: int
    """Bytes that encryption adds to an RTP packet."""


PROFILES: Final = (
    Profile("SRTP_AEAD_AES_128_GCM", Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12, 16),
    Profile("SRTP_AEAD_AES_256_GCM", Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 32, 12, 16),
    Profile("SRTP_AES128_CM_SHA1_80", Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14, 10),
)
"""The supported profiles, the cheapest first."""


def keying_length(profile: Profile) -> int:
    """Returns the bytes of keying material that `contexts` needs."""
    return 2 * (profile.key + profile.salt)


def contexts(
    profile: Profile, material: bytes, *, server: bool, repeats: bool = True
) -> tuple[SrtpContext, SrtpContext]:
    """Returns the (inbound, outbound) contexts of the DTLS server or client (RFC 5764 section 4.2).

    `repeats` is True if packets may be sent again under their own sequence numbers. Raises pylibsrtp.Error if libsrtp
    refuses the keys.
    """
    keys, salts = material[: 2 * profile.key], material[2 * profile.key :]
    clients = keys[: profile.key] + salts[: profile.salt]
    servers = keys[profile.key :] + salts[profile.salt : 2 * profile.salt]
    inbound, outbound = (clients, servers) if server else (servers, clients)
    window = _WINDOW_PACKETS if repeats else _SMALL_WINDOW_PACKETS
    return SrtpContext(profile, inbound), SrtpContext(profile, outbound, outbound=True, window=window)


class SrtpContext:
    """One direction of one transport's SRTP keys, in libsrtp."""

    __slots__ = ("_buffer", "_length", "_view", "handle", "overhead")

    def __init__(self, profile: Profile, key: bytes, *, outbound: bool = False, window: int = _WINDOW_PACKETS) -> None:
        """Takes the master key followed by its salt, and the replay window in packets.

        Raises pylibsrtp.Error if libsrtp refuses them.
        """
        kind = Policy.SSRC_ANY_OUTBOUND if outbound else Policy.SSRC_ANY_INBOUND
        policy = Policy(key, kind, srtp_profile=profile.number)
        policy.allow_repeat_tx = True  # a viewer that asks for a packet twice gets it twice
        policy.window_size = window
        self.handle = _allocator.submit(_create, policy).result() if outbound else _create(policy)
        """The `srtp_t`. libsrtp frees its memory when the last reference to this is gone."""
        self._buffer = ffi.new("unsigned char[]", MAX_DATAGRAM_BYTES)
        self._view = ffi.buffer(self._buffer)
        self._length = ffi.new("int *")
        self.overhead = profile.tag
        """Bytes that encryption adds to an RTP packet."""

    def protect(self, packet: bytes) -> bytes | None:
        """Returns the SRTP packet, or None if libsrtp refuses it or it is longer than `MAX_DATAGRAM_BYTES` allows."""
        return self._run(srtp_protect, packet, MAX_DATAGRAM_BYTES - TRAILER_BYTES)

    def protect_rtcp(self, packet: bytes) -> bytes | None:
        """Returns the SRTCP packet, or None as in `protect`."""
        return self._run(_srtp.lib.srtp_protect_rtcp, packet, MAX_DATAGRAM_BYTES - TRAILER_BYTES)

    def unprotect(self, packet: bytes) -> bytes | None:
        """Returns the RTP packet, or None if it is forged, replayed or malformed."""
        return self._run(srtp_unprotect, packet, MAX_DATAGRAM_BYTES)

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """Returns the RTCP compound, or None if it is forged, replayed or malformed."""
        return self._run(_srtp.lib.srtp_unprotect_rtcp, packet, MAX_DATAGRAM_BYTES)

    def forget(self, ssrc: int) -> None:
        """Frees what libsrtp keeps for one SSRC: it searches a list of all that it has seen for each packet."""
        _srtp.lib.srtp_remove_stream(self.handle, htonl(ssrc))

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


def bare_handles(keys: Sequence[SrtpContext]) -> list[Any]:
    """Returns the handles of contexts as objects that lie side by side in memory and own nothing.

    Usable only while the contexts are referenced.
    """
    handles: list[Any] = ffi.unpack(ffi.new("srtp_t[]", [context.handle for context in keys]), len(keys))
    return handles


def _create(policy: Policy) -> Any:
    """Returns a `srtp_t`; libsrtp frees its memory with the last reference to it."""
    created = ffi.new("srtp_t *")
    # The context is made directly, since pylibsrtp's own Session copies each packet.
    code = _srtp.lib.srtp_create(created, policy._policy)  # noqa: SLF001
    if code:
        raise pylibsrtp.Error(f"libsrtp refuses these keys (status {code})")
    return ffi.gc(created[0], _srtp.lib.srtp_dealloc)
