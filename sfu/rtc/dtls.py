"""The DTLS handshake of one association (RFC 5763, RFC 5764): aiortc's, with our order of SRTP profiles and our keys.

Owns the certificate and the way of DTLS records. The only file beside `ice.aioice_agent` that touches private names of
aiortc or aioice. Never sees RTP or RTCP.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final, Literal, cast

from aiortc.rtcdtlstransport import (
    SRTP_PROFILES,
    RTCCertificate,
    RTCDtlsParameters,
    RTCDtlsTransport,
    SRTPProtectionProfile,
    State,
)
from aiortc.rtcicetransport import RTCIceTransport
from OpenSSL import SSL, crypto

from sfu.rtc.ice.agent import IceAgent
from sfu.rtc.net import srtp

_MAX_RECORDS: Final = 64
"""Datagrams with DTLS records that wait for the handshake: a flight has fewer than ten."""
PREFERENCE: Final = [profile.name.encode() for profile in srtp.PROFILES]
CIPHERS: Final = b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384"
"""AEAD alone (RFC 9325 section 4.2): aiortc would take CBC with SHA-1 too."""
_LEAST_RSA_BITS: Final = 2048
_RENEWED_S: Final = 7 * 86_400.0
"""Age at which a certificate is no longer shown to new peers; it is valid for 30 days."""


class _SharedContextCertificate(RTCCertificate):
    """aiortc's certificate with one OpenSSL context for all its connections: a fresh context costs 0.3 ms."""

    def __init__(self, key: Any, cert: Any) -> None:
        super().__init__(key=key, cert=cert)
        self._contexts: dict[tuple[bytes, ...], SSL.Context] = {}

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        names = tuple(profile.openssl_profile for profile in srtp_profiles)
        context = self._contexts.get(names)
        if context is None:
            context = self._contexts[names] = super()._create_ssl_context(srtp_profiles)
            context.set_cipher_list(CIPHERS)
            context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # no peer resumes a session, and a cache would grow
            context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # DTLS is silent once SRTP has its keys
        return context


class Certificate:
    """The self-signed certificate that a process shows to all its peers."""

    def __init__(self, certificate: RTCCertificate) -> None:
        self.rtc = certificate
        fingerprints = certificate.getFingerprints()
        self.fingerprint: str = next(f.value for f in fingerprints if f.algorithm == "sha-256")
        """Its SHA-256, as in SDP after `a=fingerprint:sha-256`."""

    @classmethod
    def generate(cls) -> Certificate:
        """Makes a fresh P-256 key and certificate, valid for 30 days."""
        return cls(_SharedContextCertificate.generateCertificate())


class Certificates:
    """The certificate of a process that lives for months: a new one each week, for new peers."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` counts seconds."""
        self._clock = clock
        self._made_at = clock()
        self._current = Certificate.generate()

    def current(self) -> Certificate:
        """Returns the certificate to show to a new peer."""
        now = self._clock()
        if now - self._made_at >= _RENEWED_S:
            self._made_at, self._current = now, Certificate.generate()
        return self._current


class RecordPipe:
    """The part of an ICE transport that aiortc's DTLS uses: records in, records out."""

    role = "controlled"
    state = "completed"

    def __init__(self, agent: IceAgent) -> None:
        self._agent = agent
        self._records: asyncio.Queue[bytes] = asyncio.Queue(_MAX_RECORDS)

    def put(self, data: bytes) -> bool:
        """Queues one datagram with records; False if too many wait."""
        try:
            self._records.put_nowait(data)
        except asyncio.QueueFull:
            return False
        return True

    async def _recv(self) -> bytes:
        return await self._records.get()

    async def _send(self, data: bytes) -> None:
        self._agent.send(data)


class Dtls(RTCDtlsTransport):
    """aiortc's DTLS with a given role, our order of SRTP profiles, our SRTP contexts, and fatal alerts noticed."""

    def __init__(self, pipe: RecordPipe, certificate: Certificate, role: Literal["server", "client"]) -> None:
        super().__init__(cast("RTCIceTransport", pipe), [certificate.rtc])
        self.take_role(role)
        self.repeats = True
        # The DTLS server chooses, by the order of its own list (RFC 5764 section 4.1.1 leaves it to the server).
        self._srtp_profiles = sorted(SRTP_PROFILES, key=lambda p: PREFERENCE.index(p.openssl_profile))

    def take_role(self, role: Literal["server", "client"]) -> None:
        """Takes a role, before the handshake."""
        self._set_role(role)

    def _validate_peer_identity(self, remoteParameters: RTCDtlsParameters) -> None:  # noqa: N803  # aiortc's name
        """Refuses short RSA keys too: who breaks one can speak as the peer (RFC 9325 section 4.5)."""
        super()._validate_peer_identity(remoteParameters)
        certificate = cast("SSL.Connection", self._ssl).get_peer_certificate()
        key = None if certificate is None else certificate.get_pubkey()
        if key is None or (key.type() == crypto.TYPE_RSA and key.bits() < _LEAST_RSA_BITS):
            self._set_state(State.FAILED)

    def _setup_srtp(self) -> None:
        """Makes SRTP contexts of ours: aiortc's sessions copy each packet."""
        profile = next((each for each in srtp.PROFILES if each.name == self.profile), None)
        if profile is None:  # the peer does not speak SRTP
            self._set_state(State.FAILED)
            return
        length = srtp.keying_length(profile)
        material = cast("SSL.Connection", self._ssl).export_keying_material(b"EXTRACTOR-dtls_srtp", length)
        self.keys = srtp.contexts(profile, material, server=self._role == "server", repeats=self.repeats)

    @property
    def profile(self) -> str:
        """Returns the IANA name of the negotiated SRTP protection profile."""
        name: bytes = cast("SSL.Connection", self._ssl).get_selected_srtp_profile()
        return name.decode()

    async def end(self) -> None:
        """Sends close_notify if the peer can hear it, and waits for the task that reads records."""
        task = self._task
        await self.stop()
        if self.state == "failed" and self.encrypted:  # the peer thinks that it is connected
            with contextlib.suppress(SSL.Error):
                cast("SSL.Connection", self._ssl).shutdown()
            await self._write_ssl()
        if task is not None:
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # aiortc has logged it

    async def _recv_next(self) -> None:
        await super()._recv_next()
        # aiortc notices close_notify alone; after a fatal alert too the peer is gone (RFC 5246 section 7.2.2).
        if cast("SSL.Connection", self._ssl).get_shutdown() & SSL.RECEIVED_SHUTDOWN:
            raise ConnectionError("the peer ended DTLS")
