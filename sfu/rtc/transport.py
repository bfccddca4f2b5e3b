"""One ICE and DTLS association, and the SRTP keys it yields (RFC 5763, RFC 5764).

Owns the handshake, the way of each datagram to DTLS or SRTP, and the order in which all of it ends. Media takes no
task, no queue and no await here: datagrams become decrypted packets in the call that read them from the socket.
The handshake itself is aiortc's, which is shown a pipe where it expects its own ICE transport. Never parses what it
decrypts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final, Literal, cast

from aiortc.rtcdtlstransport import (
    SRTP_PROFILES,
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    SRTPProtectionProfile,
    State,
)
from aiortc.rtcicetransport import RTCIceTransport
from OpenSSL import SSL

from sfu.rtc.ice.agent import IceAgent
from sfu.rtc.net import srtp
from sfu.rtc.net.receive import MIN_SRTP_BYTES, Arrived, Datagrams, unknown_arrival

_MAX_RECORDS: Final = 64
"""Datagrams with DTLS records that wait for the handshake: a flight has fewer than ten."""
_MAX_EARLY: Final = 64
"""SRTP datagrams that wait for the keys: the peer has them a flight earlier and may send at once (RFC 5764 5.1.2)."""
_PREFERENCE: Final = [profile.name.encode() for profile in srtp.PROFILES]


class TransportState(StrEnum):
    """Where the association is; it never goes back."""

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"


class _Shown(RTCCertificate):
    """aiortc's certificate with one OpenSSL context for all its connections: a fresh one costs 0.3 ms each time."""

    def __init__(self, key: Any, cert: Any) -> None:
        super().__init__(key=key, cert=cert)
        self._contexts: dict[tuple[bytes, ...], SSL.Context] = {}

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        names = tuple(profile.openssl_profile for profile in srtp_profiles)
        context = self._contexts.get(names)
        if context is None:
            context = self._contexts[names] = super()._create_ssl_context(srtp_profiles)
            context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # nobody resumes, and it would keep every peer
            context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # DTLS is silent once SRTP has its keys
        return context


class Certificate:
    """The self-signed certificate that a process shows to all its peers."""

    def __init__(self, certificate: RTCCertificate) -> None:
        self.rtc = certificate
        fingerprints = certificate.getFingerprints()
        self.fingerprint: str = next(f.value for f in fingerprints if f.algorithm == "sha-256")
        """SHA-256, as in SDP behind `a=fingerprint:sha-256`."""

    @classmethod
    def generate(cls) -> Certificate:
        """A fresh P-256 key and certificate, good for 30 days."""
        return cls(_Shown.generateCertificate())


class _Pipe:
    """What aiortc's DTLS needs of an ICE transport: its records in, its records out."""

    role = "controlled"
    state = "completed"

    def __init__(self, agent: IceAgent) -> None:
        self._agent = agent
        self._records: asyncio.Queue[bytes] = asyncio.Queue(_MAX_RECORDS)

    def put(self, data: bytes) -> bool:
        try:
            self._records.put_nowait(data)
        except asyncio.QueueFull:
            return False
        return True

    async def _recv(self) -> bytes:
        return await self._records.get()

    async def _send(self, data: bytes) -> None:
        self._agent.send(data)


class _Dtls(RTCDtlsTransport):
    """aiortc's DTLS with the role given, our order of SRTP profiles, and fatal alerts noticed."""

    def __init__(self, pipe: _Pipe, certificate: Certificate, role: str) -> None:
        super().__init__(cast("RTCIceTransport", pipe), [certificate.rtc])
        self._set_role(role)
        self.repeats = True
        # The DTLS server chooses, by the order of its own list (RFC 5764 section 4.1.1 leaves it to the server).
        self._srtp_profiles = sorted(SRTP_PROFILES, key=lambda p: _PREFERENCE.index(p.openssl_profile))

    def _setup_srtp(self) -> None:
        """In aiortc's place, whose sessions copy each packet."""
        profile = next((each for each in srtp.PROFILES if each.name == self.profile), None)
        if profile is None:  # the peer does not speak SRTP
            self._set_state(State.FAILED)
            return
        length = srtp.keying_length(profile)
        material = cast("SSL.Connection", self._ssl).export_keying_material(b"EXTRACTOR-dtls_srtp", length)
        self.keys = srtp.contexts(profile, material, server=self._role == "server", repeats=self.repeats)

    @property
    def profile(self) -> str:
        """The SRTP protection profile that was agreed on, by its IANA name."""
        name: bytes = cast("SSL.Connection", self._ssl).get_selected_srtp_profile()
        return name.decode()

    async def end(self) -> None:
        """Says close_notify when there is somebody to say it to, and waits for the task that read records."""
        task = self._task
        await self.stop()
        if self.state == "failed" and self.encrypted:  # by what it agreed on: only to us is it over
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


def _ignore(*_: Any) -> None:
    """What a callback is until somebody sets it."""


class Transport:
    """An association with one peer over one ICE agent, which it owns and closes.

    `role` is DTLS's: a server waits for the ClientHello ("passive" in SDP), a client sends it ("active").
    """

    def __init__(self, agent: IceAgent, certificate: Certificate, *, role: Literal["server", "client"]) -> None:
        self.agent = agent
        self.fingerprint = certificate.fingerprint
        """Of our certificate, for our SDP."""
        self.state = TransportState.NEW
        self.sender: srtp.SrtpContext | None = None
        """Encrypts; None before the handshake is done and after the end."""
        self.receiver: srtp.SrtpContext | None = None
        """Decrypts; None as `sender`."""
        self.drops: Counter[str] = Counter()
        self.on_connected: Callable[[], None] = _ignore
        self.on_route: Callable[[], None] = _ignore
        """What is sent from now on goes another way, under other keys, or nowhere."""
        self.on_rtp: Callable[[Sequence[bytes], Arrived], None] = _ignore
        """Packets that came together, at least one, and what tells when each of them came."""
        self.on_rtcp: Callable[[bytes], None] = _ignore
        self.on_closed: Callable[[str], None] = _ignore
        """It happened to us, and why: "timeout", "silent", "ice", "dtls", "fingerprint", "srtp" (no profile in common)
        or "internal". Once it has been called the transport releases itself; `close` then only waits for that."""
        self._pipe = _Pipe(agent)
        self._dtls = _Dtls(self._pipe, certificate, role)
        self._fingerprints: list[RTCDtlsFingerprint] = []
        self._deadline = 0.0
        self._early: list[bytes] = []
        self._handshake: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        agent.on_connected = self._on_ice_connected
        agent.on_path = self._on_path
        agent.on_datagram = self._on_datagram
        agent.on_srtp = self._on_srtp
        agent.on_closed = self._end
        self._dtls.on("statechange", self._on_dtls_state)

    @property
    def profile(self) -> str | None:
        """The SRTP protection profile in use, by its IANA name."""
        return self._dtls.profile if self.state == TransportState.CONNECTED else None

    def start(
        self, *, ufrag: str, pwd: str, lite: bool, fingerprints: Sequence[tuple[str, str]], repeats: bool = True
    ) -> None:
        """The peer's parameters; fingerprints as (hash name, value); `repeats` as in `srtp`. Connects from now on."""
        if self.state != TransportState.NEW:
            return
        self.state = TransportState.CONNECTING
        self._deadline = asyncio.get_running_loop().time() + self.agent.limits.half_open
        self._dtls.repeats = repeats
        self._fingerprints = [RTCDtlsFingerprint(algorithm=name, value=value) for name, value in fingerprints]
        self.agent.start(ufrag=ufrag, pwd=pwd, lite=lite)

    def restart(self, *, ufrag: str, pwd: str, lite: bool) -> None:
        """The peer's new ICE credentials; DTLS and SRTP stay. For new local ones call `agent.restart` first."""
        if self.state in (TransportState.CONNECTING, TransportState.CONNECTED):
            self.agent.start(ufrag=ufrag, pwd=pwd, lite=lite)

    def send_rtp(self, packet: bytes) -> None:
        """Encrypts and sends one RTP packet."""
        if self.sender is None:
            self.drops["unkeyed_out"] += 1
        elif (data := self.sender.protect(packet)) is None:
            self.drops["protect"] += 1
        else:
            self.agent.send(data)

    def send_rtcp(self, packet: bytes) -> None:
        """Encrypts and sends one RTCP compound."""
        if self.sender is None:
            self.drops["unkeyed_out"] += 1
        elif (data := self.sender.protect_rtcp(packet)) is None:
            self.drops["protect"] += 1
        else:
            self.agent.send(data)

    async def close(self) -> None:
        """Says close_notify, leaves the port, then lets go of the SRTP keys. `on_closed` is not called."""
        self.state = TransportState.CLOSED
        await self._release()

    def _on_srtp(self, datagrams: Datagrams) -> None:
        """The way of nearly all that comes."""
        receiver = self.receiver
        if receiver is None:
            for data in datagrams.copies():
                self._keep_early(data)
            return
        packets = datagrams.decrypted(receiver)
        if len(packets) < len(datagrams.places):
            self.drops["srtp"] += len(datagrams.places) - len(packets)
        if packets:
            self.on_rtp(packets, datagrams.arrived if len(packets) == len(datagrams.places) else unknown_arrival)

    def _on_datagram(self, data: bytes) -> None:
        first = data[0]
        if 128 <= first < 192:  # RFC 7983 section 7
            self._on_protected(data)
        elif 20 <= first < 64:
            if not self._pipe.put(data):
                self.drops["records_full"] += 1
        else:
            self.drops["unknown"] += 1

    def _on_protected(self, data: bytes) -> None:
        """SRTP or SRTCP, alone."""
        receiver = self.receiver
        if receiver is None:
            self._keep_early(data)
        elif len(data) < MIN_SRTP_BYTES:
            self.drops["short"] += 1
        elif 192 <= data[1] < 224:  # RFC 5761 section 4
            if (packet := receiver.unprotect_rtcp(data)) is None:
                self.drops["srtcp"] += 1
            else:
                self.on_rtcp(packet)
        elif (packet := receiver.unprotect(data)) is None:
            self.drops["srtp"] += 1
        else:
            self.on_rtp((packet,), unknown_arrival)

    def _keep_early(self, data: bytes) -> None:
        if self.state == TransportState.CONNECTING and len(self._early) < _MAX_EARLY:
            self._early.append(data)
        else:
            self.drops["unkeyed"] += 1

    def _on_path(self) -> None:
        self.on_route()

    def _on_ice_connected(self) -> None:
        if self._handshake is None and self.state == TransportState.CONNECTING:
            self._handshake = asyncio.create_task(self._shake_hands(), name="dtls handshake")
            self._handshake.add_done_callback(self._on_handshake_over)

    async def _shake_hands(self) -> None:
        try:
            async with asyncio.timeout_at(self._deadline):
                await self._dtls.start(RTCDtlsParameters(fingerprints=self._fingerprints))
        except TimeoutError:
            self._end("timeout")
            return
        if self._dtls.state == "connected" and self.state == TransportState.CONNECTING:
            self.receiver, self.sender = self._dtls.keys
            self.state = TransportState.CONNECTED
            self.on_route()
            self.on_connected()
            early, self._early = self._early, []
            for data in early:
                self._on_datagram(data)

    def _on_handshake_over(self, task: asyncio.Task[None]) -> None:
        """A bug in here or in `on_connected` ends this transport and nothing else."""
        if not task.cancelled() and (error := task.exception()) is not None:
            task.get_loop().call_exception_handler({"message": "DTLS handshake failed", "exception": error})
            self._end("internal")

    def _on_dtls_state(self) -> None:
        match self._dtls.state:
            case "failed":
                self._end("dtls" if not self._dtls.encrypted else "fingerprint" if self._dtls.profile else "srtp")
            case "closed":
                self._end("dtls")

    def _end(self, reason: str) -> None:
        if self.state == TransportState.CLOSED:
            return
        self.state = TransportState.CLOSED
        try:
            self.on_closed(reason)
        finally:
            self._begin_release()

    def _begin_release(self) -> asyncio.Task[None]:
        if self._ending is None:
            self._ending = asyncio.create_task(self._take_apart(), name="transport end")
        return self._ending

    async def _release(self) -> None:
        await asyncio.shield(self._begin_release())

    async def _take_apart(self) -> None:
        """From the outside in: no keys are dropped while the port or a task could still use them."""
        handshake = self._handshake
        if handshake is not None and not handshake.done():
            handshake.cancel()
            await asyncio.wait([handshake])
        await self._dtls.end()
        await self.agent.close()
        self._dtls.remove_all_listeners()
        self.sender = self.receiver = None
        self.on_route()
