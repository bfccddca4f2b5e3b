"""One ICE and DTLS association, and the SRTP keys that it yields (RFC 5763, RFC 5764).

Owns the way of each datagram to DTLS or SRTP, and the order in which an association ends. Media takes no task, no queue
and no await here: datagrams become decrypted packets in the call that read them from the socket. Never parses the
packets that it decrypts.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, Literal, Protocol

from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters

from sfu.rtc.dtls import Certificate, Dtls, RecordPipe
from sfu.rtc.ice.agent import AgentListener, IceAgent
from sfu.rtc.net import srtp
from sfu.rtc.net.receive import MIN_SRTP_BYTES, Arrived, Datagrams, unknown_arrival

_MAX_EARLY: Final = 64
"""SRTP datagrams that wait for the keys: the peer has its keys one flight earlier (RFC 5764 section 5.1.2)."""


class TransportState(StrEnum):
    """The state of an association, which never goes back."""

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"


class MediaReceiver(Protocol):
    """The receiver of a transport's RTP packets: an uplink."""

    def receive(self, packets: Sequence[bytes], now: float, arrived: Arrived) -> None:
        """Takes decrypted RTP packets that came together, at least one, in the call that read them from the socket.

        They were read at `now` (seconds of the loop's clock); `arrived` returns the time at which each of them came.
        """


class TransportListener(Protocol):
    """The participant or client that owns a transport."""

    def on_connected(self) -> None:
        """Notes that media can flow."""

    def on_route(self) -> None:
        """Notes that packets take another path from now on, are encrypted with other keys, or go nowhere."""

    def on_moved(self) -> None:
        """Notes that the peer is reached by another path than before."""

    def on_rtcp(self, data: bytes) -> None:
        """Takes one decrypted RTCP compound."""

    def on_closed(self, reason: str) -> None:
        """Notes that the transport has ended by itself; it releases itself then, and `close` only waits for that.

        Reasons: "timeout", "silent", "ice", "dtls", "fingerprint", "srtp" (no profile in common) or "internal".
        """

    def on_bug(self) -> None:
        """Ends the owner after an exception in the handling of media, which is the exception of the present call."""


class Transport:
    """An association with one peer over one ICE agent, which it makes, owns and closes.

    `role` is the DTLS role: a server waits for the ClientHello ("passive" in SDP), a client sends it ("active").
    """

    def __init__(
        self,
        make_agent: Callable[[AgentListener], IceAgent],
        certificate: Certificate,
        *,
        role: Literal["server", "client"],
        listener: TransportListener,
        media: MediaReceiver,
    ) -> None:
        self.agent = agent = make_agent(self)
        self.fingerprint = certificate.fingerprint
        """Fingerprint of our certificate, for our SDP."""
        self.state = TransportState.NEW
        self.sender: srtp.SrtpContext | None = None
        """Keys for encryption; None before the handshake is done and after the end."""
        self.receiver: srtp.SrtpContext | None = None
        """Keys for decryption; None when `sender` is."""
        self.drops: Counter[str] = Counter()
        self._listener = listener
        self._media = media
        self._pipe = RecordPipe(agent)
        self._dtls = Dtls(self._pipe, certificate, role)
        self._fingerprints: list[RTCDtlsFingerprint] = []
        self._deadline = 0.0
        self._early: list[bytes] = []
        self._handshake: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._dtls.on("statechange", self._on_dtls_state)

    @property
    def profile(self) -> str | None:
        """Returns the IANA name of the SRTP protection profile in use; None before and after."""
        return self._dtls.profile if self.state == TransportState.CONNECTED else None

    def start(
        self,
        *,
        ufrag: str,
        pwd: str,
        lite: bool,
        fingerprints: Sequence[tuple[str, str]],
        repeats: bool = True,
        role: Literal["server", "client"] | None = None,
    ) -> None:
        """Connects to the peer with these parameters; fingerprints are (hash, value), `repeats` is as in `srtp`.

        `role` replaces the DTLS role, for a peer that takes only one.
        """
        if self.state != TransportState.NEW:
            return
        if role is not None:
            self._dtls.take_role(role)
        self.state = TransportState.CONNECTING
        self._deadline = asyncio.get_running_loop().time() + self.agent.limits.half_open
        self._dtls.repeats = repeats
        self._fingerprints = [RTCDtlsFingerprint(algorithm=name, value=value) for name, value in fingerprints]
        self.agent.start(ufrag=ufrag, pwd=pwd, lite=lite)

    def restart(self, *, ufrag: str, pwd: str, lite: bool) -> None:
        """Takes the peer's new ICE credentials; DTLS and SRTP stay. For new local ones call `agent.restart` first."""
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
        """Sends close_notify, leaves the port, then releases the SRTP keys. `on_closed` is not called."""
        self.state = TransportState.CLOSED
        await self._release()

    # --- what comes in

    def on_srtp(self, datagrams: Datagrams, now: float) -> None:
        """See `AgentListener`: nearly all datagrams come this way."""
        receiver = self.receiver
        if receiver is None:
            for data in datagrams.copies():
                self._keep_early(data)
            return
        packets = datagrams.decrypted(receiver)
        if len(packets) < len(datagrams.places):
            self.drops["srtp"] += len(datagrams.places) - len(packets)
        if packets:
            self._hand_on(packets, now, datagrams.arrived if len(packets) == len(datagrams.places) else unknown_arrival)

    def _hand_on(self, packets: Sequence[bytes], now: float, arrived: Arrived) -> None:
        try:
            self._media.receive(packets, now, arrived)
        except Exception:  # noqa: BLE001  # the task boundary of one participant's media
            self._listener.on_bug()

    def on_datagram(self, data: bytes) -> None:
        """See `AgentListener`."""
        first = data[0]
        if 128 <= first < 192:  # RFC 7983 section 7
            self._on_protected(data)
        elif 20 <= first < 64:
            if not self._pipe.put(data):
                self.drops["records_full"] += 1
        else:
            self.drops["unknown"] += 1

    def _on_protected(self, data: bytes) -> None:
        """Decrypts one SRTP or SRTCP packet."""
        receiver = self.receiver
        if receiver is None:
            self._keep_early(data)
        elif len(data) < MIN_SRTP_BYTES:
            self.drops["short"] += 1
        elif 192 <= data[1] < 224:  # RFC 5761 section 4
            if (packet := receiver.unprotect_rtcp(data)) is None:
                self.drops["srtcp"] += 1
            else:
                self._on_rtcp(packet)
        elif (packet := receiver.unprotect(data)) is None:
            self.drops["srtp"] += 1
        else:
            self._hand_on((packet,), self.agent.heard_at, unknown_arrival)

    def _on_rtcp(self, packet: bytes) -> None:
        try:
            self._listener.on_rtcp(packet)
        except Exception:  # noqa: BLE001  # as in `_hand_on`
            self._listener.on_bug()

    def _keep_early(self, data: bytes) -> None:
        if self.state == TransportState.CONNECTING and len(self._early) < _MAX_EARLY:
            self._early.append(data)
        else:
            self.drops["unkeyed"] += 1

    # --- how it connects and ends

    def on_path(self) -> None:
        """See `AgentListener`."""
        self._listener.on_route()

    def on_moved(self) -> None:
        """See `AgentListener`."""
        self._listener.on_moved()

    def on_ice_closed(self, reason: str) -> None:
        """See `AgentListener`."""
        self._end(reason)

    def on_ice_connected(self) -> None:
        """See `AgentListener`."""
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
            self.agent.on_secured()
            self._listener.on_route()
            self._listener.on_connected()
            early, self._early = self._early, []
            for data in early:
                self.on_datagram(data)

    def _on_handshake_over(self, task: asyncio.Task[None]) -> None:
        """Ends this transport, and nothing else, after an exception in the handshake or in `on_connected`."""
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
            self._listener.on_closed(reason)
        finally:
            self._begin_release()

    def _begin_release(self) -> asyncio.Task[None]:
        if self._ending is None:
            self._ending = asyncio.create_task(self._take_apart(), name="transport end")
        return self._ending

    async def _release(self) -> None:
        await asyncio.shield(self._begin_release())

    async def _take_apart(self) -> None:
        """Ends all parts from the outside in: no keys are released while the port or a task could still use them."""
        handshake = self._handshake
        if handshake is not None and not handshake.done():
            handshake.cancel()
            await asyncio.wait([handshake])
        await self._dtls.end()
        await self.agent.close()
        self._dtls.remove_all_listeners()
        self.sender = self.receiver = None
        self._listener.on_route()
