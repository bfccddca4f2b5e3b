"""DTLS: who says hello, which keys and ciphers are good enough, and the certificate that is shown."""

from __future__ import annotations

from typing import Any, Literal, cast

import pytest
from aiortc.rtcdtlstransport import RTCCertificate, SRTPProtectionProfile, generate_certificate
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

from sfu.rtc import dtls
from sfu.rtc.dtls import Certificate
from tests.helpers import transports
from tests.helpers.transports import (
    CLIENT,
    SERVER,
    Endpoint,
    association,
    client_end,
    exchange,
    introduce,
    ports,
    server_end,
)
from tests.helpers.waiting import until


def introduced(end: Endpoint, other: Endpoint, certificate: Certificate, role: Literal["server", "client"]) -> None:
    remote = other.agent
    prints = [("sha-256", certificate.fingerprint)]
    end.transport.start(ufrag=remote.ufrag, pwd=remote.pwd, lite=remote.lite, fingerprints=prints, role=role)
    for candidate in remote.candidates():
        end.agent.add_candidate(candidate)


@pytest.mark.parametrize("full", [False, True], ids=["lite", "full"])
async def test_a_peer_that_waits_for_the_hello_gets_it(full: bool) -> None:
    async with ports() as (server_port, client_port):
        server, client = server_end(server_port, full=full), client_end(client_port)
        await server.agent.gather()
        await client.agent.gather()
        introduced(server, client, CLIENT, "client")
        introduced(client, server, SERVER, "server")
        await until(lambda: server.up and client.up)
        assert server.transport.profile == "SRTP_AEAD_AES_128_GCM"
        await exchange(server, client)
        await client.transport.close()
        await server.transport.close()


class AnyKey(RTCCertificate):
    """A certificate with a key that OpenSSL would not show by itself."""

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256:@SECLEVEL=0")
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        context.use_certificate(self._cert)
        context.use_privatekey(self._key)
        context.set_tlsext_use_srtp(b":".join(profile.openssl_profile for profile in srtp_profiles))
        return context


@pytest.mark.parametrize(("bits", "accepted"), [(1024, False), (2048, True)])
async def test_a_certificate_with_a_short_rsa_key_is_refused(
    bits: int, accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = rsa.generate_private_key(65537, bits)
    weak = Certificate(AnyKey(key=cast("Any", key), cert=generate_certificate(cast("Any", key))))
    monkeypatch.setattr(transports, "CLIENT", weak)
    async with ports() as (server_port, client_port):
        server, client = server_end(server_port), client_end(client_port)
        await introduce(server, client)
        await until(lambda: server.up if accepted else server.closed)
        assert server.closed == ([] if accepted else ["fingerprint"])
        await client.transport.close()
        await server.transport.close()


@pytest.mark.parametrize("cipher", [b"ECDHE-ECDSA-AES128-SHA", b"ECDHE-ECDSA-AES256-SHA"])
async def test_ciphers_without_aead_are_refused(cipher: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with association() as (server, client):  # the server's OpenSSL context is made here
        assert server.up
    monkeypatch.setattr(dtls, "CIPHERS", cipher)
    monkeypatch.setattr(transports, "CLIENT", Certificate.generate())
    async with ports() as (server_port, client_port):
        server, client = server_end(server_port), client_end(client_port)
        await introduce(server, client)
        await until(lambda: server.closed and client.closed)
        assert (server.closed, client.closed) == (["dtls"], ["dtls"])
        await client.transport.close()
        await server.transport.close()


def test_a_certificate_is_shown_for_a_week_and_then_another() -> None:
    now = 0.0
    certificates = dtls.Certificates(lambda: now)
    first = certificates.current()
    now = 6.9 * 86_400
    assert certificates.current() is first
    now = 7.1 * 86_400
    second = certificates.current()
    assert second.fingerprint != first.fingerprint
    assert certificates.current() is second
