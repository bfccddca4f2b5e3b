"""SRTP: one transport's keys in libsrtp, which encrypts and decrypts in place on bytes we own.

Owns the contexts and the buffers it shows to C. Whatever C is given by address is referenced by the object that hands
it out, for as long as that object can still be used. Never touches sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import pylibsrtp
from pylibsrtp import Policy
from pylibsrtp import _binding as _srtp

MAX_DATAGRAM: Final = 2048
"""Bytes of the largest RTP or RTCP packet that is encrypted or decrypted here, tag included."""
TRAILER: Final = 148
"""SRTP_MAX_TRAILER_LEN with the SRTCP index: bytes that protect may add."""
_WINDOW: Final = 1024
"""Packets behind the latest that are still told from a replay (RFC 3711 section 3.3.2)."""
_SMALL_WINDOW: Final = 128
"""Where none is sent twice. libsrtp moves the whole window for each packet: 5 % of all CPU with the large one."""

_allocator: Final = ThreadPoolExecutor(1, "srtp contexts")
"""glibc gives each thread memory of its own, so what this one allocates lies side by side. A burst to a hundred viewers
reads a hundred contexts, and strewn among all else they cost a tenth of all its CPU in cache and TLB misses."""


class Profile(NamedTuple):
    """An SRTP protection profile (RFC 5764 section 4.1.2, RFC 7714 section 14.2); lengths in bytes."""

    name: str
    """IANA's."""
    number: int
    """libsrtp's."""
    key: int
    salt: int
    tag: int
    """What encryption adds to an RTP packet."""


PROFILES: Final = (
    Profile("SRTP_AEAD_AES_128_GCM", Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12, 16),
    Profile("SRTP_AEAD_AES_256_GCM", Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 32, 12, 16),
    Profile("SRTP_AES128_CM_SHA1_80", Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14, 10),
)
"""Those we speak, the cheapest first."""


def keying_length(profile: Profile) -> int:
    """Bytes of keying material that `contexts` needs."""
    return 2 * (profile.key + profile.salt)


def contexts(
    profile: Profile, material: bytes, *, server: bool, repeats: bool = True
) -> tuple[SrtpContext, SrtpContext]:
    """For what comes in, for what goes out, of the DTLS server or client (RFC 5764 section 4.2).

    `repeats` says whether packets may go out again under their own numbers.
    """
    keys, salts = material[: 2 * profile.key], material[2 * profile.key :]
    clients = keys[: profile.key] + salts[: profile.salt]
    servers = keys[profile.key :] + salts[profile.salt : 2 * profile.salt]
    inbound, outbound = (clients, servers) if server else (servers, clients)
    window = _WINDOW if repeats else _SMALL_WINDOW
    return SrtpContext(profile, inbound), SrtpContext(profile, outbound, outbound=True, window=window)


class SrtpContext:
    """One direction of one transport's SRTP keys, in libsrtp."""

    __slots__ = ("_buffer", "_length", "_view", "handle", "overhead")

    def __init__(self, profile: Profile, key: bytes, *, outbound: bool = False, window: int = _WINDOW) -> None:
        """`key` is the master key and salt, `window` in packets; pylibsrtp.Error if libsrtp does not take them."""
        kind = Policy.SSRC_ANY_OUTBOUND if outbound else Policy.SSRC_ANY_INBOUND
        policy = Policy(key, kind, srtp_profile=profile.number)
        policy.allow_repeat_tx = True  # whoever asks twice gets it twice
        policy.window_size = window
        self.handle = _allocator.submit(_create, policy).result() if outbound else _create(policy)
        self._buffer = _srtp.ffi.new("unsigned char[]", MAX_DATAGRAM)
        self._view = _srtp.ffi.buffer(self._buffer)
        self._length = _srtp.ffi.new("int *")
        self.overhead = profile.tag
        """Bytes that encryption adds to an RTP packet."""

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


def _create(policy: Policy) -> Any:
    """A `srtp_t`; libsrtp's memory for it goes with the last reference to what is returned here."""
    created = _srtp.ffi.new("srtp_t *")
    code = _srtp.lib.srtp_create(created, policy._policy)  # noqa: SLF001  # pylibsrtp's sessions copy each packet
    if code:
        raise pylibsrtp.Error(f"libsrtp does not take these keys: {code}")
    return _srtp.ffi.gc(created[0], _srtp.lib.srtp_dealloc)
