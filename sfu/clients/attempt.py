"""One attempt of a peer to connect: one session on one transport, from the first offer to the end.

Owns the session's id, ICE credentials and offers, and repeats an offer that is not answered. Never starts another
attempt (`peer` does) and never knows the broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sfu.rtc.dtls import Certificate
from sfu.rtc.ice.agent import AgentListener
from sfu.rtc.ice.full import FullAgent
from sfu.rtc.net.addresses import OwnAddresses
from sfu.rtc.net.port import UdpPort
from sfu.rtc.net.receive import Arrived
from sfu.rtc.sdp.description import Description, Local, OfferSection, SdpError
from sfu.rtc.sdp.parse import parse_description
from sfu.rtc.sdp.write import write_offer
from sfu.rtc.transport import Transport, TransportState
from sfu.signaling.bodies import Answer, Body, Bye, ErrorCode, ErrorNotice, Offer, Tracks

_log = logging.getLogger(__name__)

_PERMANENT = frozenset(
    (ErrorCode.UNAUTHORIZED, ErrorCode.BAD_REQUEST, ErrorCode.PRODUCER_EXISTS, ErrorCode.CODEC, ErrorCode.TOO_LARGE)
)
"""Error codes that the same offer would get again."""

REPLACED_S = (30.0, 60.0)
"""Shortest and longest wait of a peer whose id another peer has taken: coming back takes the id from that one."""

_REASON_WAIT_S = 1.0
"""Time after a transport's end in which the broker may still deliver the server's reason for it."""


class PeerListener(Protocol):
    """Receiver of a peer's events. Methods run on the event loop, must return at once and must not raise."""

    def on_answer(self, answer: Description) -> None:
        """Takes the server's answer: the first one before any media, then one for each further offer."""

    def on_up(self) -> None:
        """Learns that media can flow."""

    def on_down(self, reason: str) -> None:
        """Learns that a session ended or did not connect. The peer tries again by itself."""

    def on_rtp(self, data: bytes) -> None:
        """Takes one decrypted RTP packet."""

    def on_rtcp(self, data: bytes) -> None:
        """Takes one decrypted RTCP compound packet."""

    def on_tracks(self, tracks: Tracks) -> None:
        """Takes the list of sources that the slots show now."""


@dataclass(frozen=True, slots=True)
class Host:
    """Properties that all peers of a process share: the certificate, and the IP addresses in ICE candidates."""

    certificate: Certificate
    addresses: OwnAddresses

    @classmethod
    def new(cls, *, announce: Sequence[str] = ()) -> Host:
        """Makes a certificate. `announce`: IP addresses for candidates, by default those of this machine."""
        return cls(Certificate.generate(), OwnAddresses(announce))


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """End of an attempt. `code`: error code if another attempt would end the same way, else None."""

    reason: str
    retry_after: float | None = None
    """Seconds to wait before another attempt, at least."""
    code: str | None = None
    by_server: bool = False
    """True if the server itself ended the session, so that it needs no bye."""


class Attempt:
    """One session with its transport. `over` is its end.

    Each has a UDP port of its own, since a server with a single port recognises its peers by their addresses.
    """

    def __init__(self, host: Host, port: UdpPort, sections: Sequence[OfferSection], listener: PeerListener) -> None:
        loop = asyncio.get_running_loop()
        self.session = secrets.token_hex(16)
        self.over: asyncio.Future[AttemptEnd] = loop.create_future()
        self.up_since: float | None = None
        """Loop time of the connection; None before."""
        self.unanswered: Offer | None = None
        """The offer that waits for its answer."""
        self._settled = asyncio.Event()
        """Set while the latest offer needs no further copy."""
        self._remote: frozenset[tuple[str, str]] = frozenset()
        """Fingerprints of the server in its first answer; empty before."""
        self._id = secrets.randbits(62)
        self._version = 0
        self._fingerprint = host.certificate.fingerprint
        self.port = port
        self._sections = sections
        self._listener = listener

        def make_agent(transport: AgentListener) -> FullAgent:
            return FullAgent(
                port,
                transport,
                ufrag=secrets.token_hex(4),
                pwd=secrets.token_hex(16),
                announce=host.addresses.current,
                controlling=True,
                clock=loop.time,
            )

        self.transport = Transport(make_agent, host.certificate, role="client", listener=self, media=self)

    # --- events of the transport

    def receive(self, packets: Sequence[bytes], now: float, arrived: Arrived) -> None:  # noqa: ARG002
        """See `MediaReceiver`."""
        for packet in packets:
            self._listener.on_rtp(packet)

    def on_rtcp(self, data: bytes) -> None:
        """See `TransportListener`."""
        self._listener.on_rtcp(data)

    def on_route(self) -> None:
        """See `TransportListener`: nothing is batched here."""

    def on_moved(self) -> None:
        """See `TransportListener`."""

    def on_bug(self) -> None:
        """See `TransportListener`: ends this attempt."""
        _log.exception("internal error while media was handled, the session ends")
        self.end(AttemptEnd("internal"))

    @classmethod
    async def open(cls, host: Host, sections: Sequence[OfferSection], listener: PeerListener) -> Attempt:
        """Makes an attempt on a free UDP port. Raises OSError if there is none."""
        return cls(host, await UdpPort.open(), sections, listener)

    @property
    def up(self) -> bool:
        """Returns True if media can flow."""
        return self.transport.state is TransportState.CONNECTED

    @property
    def settled(self) -> bool:
        """Returns True if the latest offer was answered, or the attempt is over."""
        return self._settled.is_set()

    async def negotiate(self, send: Callable[[Offer], None], waits: Sequence[float]) -> bool:
        """Sends an offer through `send`, again after each of `waits` (seconds); returns False if nobody answers.

        Returns True as soon as the offer is answered or the attempt is over.
        """
        self.unanswered = offer = Offer(await self._offer())
        for wait in waits:
            send(offer)
            if await self.answered_within(wait):
                return True
        return False

    async def answered_within(self, seconds: float) -> bool:
        """Returns True as soon as the latest offer is answered, or the attempt is over; False if that takes longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._settled.wait()
                return True
        return False

    async def _offer(self) -> str:
        """Returns an SDP offer with all candidates: none are trickled later."""
        agent = self.transport.agent
        if not self._version:
            await agent.gather()
        self._version += 1
        local = Local(agent.ufrag, agent.pwd, self._fingerprint, agent.candidates(), agent.lite)
        return write_offer(self._sections, local, session_id=self._id, version=self._version)

    def renegotiate(self, sections: Sequence[OfferSection]) -> None:
        """Puts these sections into the next offer. The sections of the session so far must come first."""
        self._sections = sections
        if not self.over.done():
            self._settled.clear()

    def on_message(self, body: Body) -> None:
        """Handles one message of this session from the server."""
        match body:
            case Answer():
                self._take_answer(body.sdp)
            case Tracks():
                self._listener.on_tracks(body)
            case Bye("replaced"):
                wait_s = random.uniform(*REPLACED_S)
                text = f"another peer uses this id now; trying again in {wait_s:.0f} s"
                self.end(AttemptEnd(text, retry_after=wait_s, by_server=True))
            case Bye(reason):
                self.end(AttemptEnd(f"bye: {reason}", by_server=True))
            case ErrorNotice() if not self.up:
                code = body.code if body.code in _PERMANENT else None
                self.end(AttemptEnd(f"{body.code}: {body.message}", body.retry_after, code, by_server=True))
            case _:
                return

    def end(self, end: AttemptEnd) -> None:
        """Ends the attempt, unless it has ended."""
        if not self.over.done():
            self.over.set_result(end)
            self._settle()

    async def close(self) -> None:
        """Closes the transport and the port."""
        await self.transport.close()
        self.port.close()

    def _settle(self) -> None:
        self.unanswered = None
        self._settled.set()

    def _take_answer(self, text: str) -> None:
        if self._settled.is_set():
            return
        try:
            answer = parse_description(text)
        except SdpError as error:
            if not self._remote:
                self.end(AttemptEnd(f"invalid answer: {error.message}"))
            return
        if self._remote and not self._continues(answer):
            return
        self._settle()
        self._listener.on_answer(answer)
        if self._remote:
            return
        self._remote = frozenset(answer.fingerprints)
        self.transport.start(ufrag=answer.ufrag, pwd=answer.pwd, lite=answer.ice_lite, fingerprints=answer.fingerprints)
        for candidate in answer.candidates:
            self.transport.agent.add_candidate(candidate)
        if answer.end_of_candidates:
            self.transport.agent.add_candidate(None)

    def _continues(self, answer: Description) -> bool:
        """Returns True unless this answers an earlier offer, of which two copies were sent, or is another server's."""
        return len(answer.sections) >= len(self._sections) and not self._remote.isdisjoint(answer.fingerprints)

    def on_closed(self, reason: str) -> None:
        """See `TransportListener`: waits a moment, since the server's own reason may come later, by the broker."""
        end = AttemptEnd(f"transport closed: {reason}")
        asyncio.get_running_loop().call_later(_REASON_WAIT_S, self.end, end)

    def on_connected(self) -> None:
        """See `TransportListener`."""
        self.up_since = asyncio.get_running_loop().time()
        self._listener.on_up()
