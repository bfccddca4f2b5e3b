"""One attempt of a peer to be connected: one session, one transport, one end.

Owns the session's id, ICE credentials and offers. Never retries (that is `client`) and never knows the broker.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sfu.rtc.ice.full import FullAgent
from sfu.rtc.net.port import UdpPort, host_addresses
from sfu.rtc.net.receive import Arrived
from sfu.rtc.sdp.description import Description, Local, OfferSection, SdpError
from sfu.rtc.sdp.parse import parse_description
from sfu.rtc.sdp.write import write_offer
from sfu.rtc.transport import Certificate, Transport, TransportState
from sfu.signaling.bodies import Answer, Body, Bye, ErrorCode, ErrorNotice, Tracks

_HOPELESS = frozenset(
    (ErrorCode.UNAUTHORIZED, ErrorCode.BAD_REQUEST, ErrorCode.PRODUCER_EXISTS, ErrorCode.CODEC, ErrorCode.TOO_LARGE)
)
"""Codes that the same offer would only get again."""


_LAST_WORDS = 1.0
"""Seconds from a transport's end until nothing more is expected to be said about it."""


class PeerListener(Protocol):
    """Who a peer works for. All are called on the event loop, must return at once and must not raise."""

    def on_answer(self, answer: Description) -> None:
        """The server's answer to a new session, before any media, and again to each further offer."""

    def on_up(self) -> None:
        """Media can flow."""

    def on_down(self, reason: str) -> None:
        """A session ended, or never came up; the next attempt follows by itself."""

    def on_rtp(self, data: bytes) -> None:
        """A decrypted RTP packet."""

    def on_rtcp(self, data: bytes) -> None:
        """A decrypted RTCP compound."""

    def on_tracks(self, tracks: Tracks) -> None:
        """What each slot shows now."""


@dataclass(frozen=True, slots=True)
class Host:
    """What all peers of a process have in common: the certificate, and the addresses that candidates name."""

    certificate: Certificate
    announce: tuple[str, ...]

    @classmethod
    def new(cls, *, announce: Sequence[str] = ()) -> Host:
        """A fresh certificate; `announce` are the machine's own addresses unless given."""
        return cls(Certificate.generate(), tuple(announce) or host_addresses())


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """How an attempt ended. `code`: the error code or reason when another attempt would end the same way."""

    reason: str
    retry_after: float | None = None
    code: str | None = None
    told: bool = False
    """The server said so itself: it needs no bye."""


class Attempt:
    """From the first offer to the end. `settled`: the offer needs no repeating; `over`: how it ended.

    Each has a UDP port of its own: a server with one port tells its peers apart by their addresses alone.
    """

    def __init__(self, host: Host, port: UdpPort, sections: Sequence[OfferSection], listener: PeerListener) -> None:
        loop = asyncio.get_running_loop()
        self.session = secrets.token_hex(16)
        self.settled = asyncio.Event()
        self.over: asyncio.Future[AttemptEnd] = loop.create_future()
        self.up_since: float | None = None
        self._answered = False
        self._id = secrets.randbits(62)
        self._version = 0
        self._fingerprint = host.certificate.fingerprint
        self._port = port
        self._sections = sections
        self._listener = listener
        agent = FullAgent(
            port,
            ufrag=secrets.token_hex(4),
            pwd=secrets.token_hex(16),
            announce=host.announce,
            controlling=True,
            clock=loop.time,
        )
        self.transport = Transport(agent, host.certificate, role="client")
        self.transport.on_connected = self._on_connected
        self.transport.on_closed = self._on_closed
        self.transport.on_rtp = self._on_rtp
        self.transport.on_rtcp = listener.on_rtcp

    def _on_rtp(self, packets: Sequence[bytes], _: Arrived) -> None:
        for packet in packets:
            self._listener.on_rtp(packet)

    @classmethod
    async def open(cls, host: Host, sections: Sequence[OfferSection], listener: PeerListener) -> Attempt:
        """With a free UDP port. OSError when there is none."""
        return cls(host, await UdpPort.open(), sections, listener)

    @property
    def up(self) -> bool:
        """Whether media can flow."""
        return self.transport.state is TransportState.CONNECTED

    async def offer(self) -> str:
        """The complete offer: whatever candidates there are, none follow."""
        agent = self.transport.agent
        if not self._version:
            await agent.gather()
        self._version += 1
        local = Local(agent.ufrag, agent.pwd, self._fingerprint, agent.candidates(), agent.lite)
        return write_offer(self._sections, local, session_id=self._id, version=self._version)

    def renegotiate(self, sections: Sequence[OfferSection]) -> None:
        """The next offer has these sections, and is to be answered too; those there are stay in front."""
        self._sections = sections
        if not self.over.done():
            self.settled.clear()

    def hear(self, body: Body) -> None:
        """A message of this session from the server."""
        match body:
            case Answer():
                self._take_answer(body.sdp)
            case Tracks():
                self._listener.on_tracks(body)
            case Bye(reason):
                # whoever has taken our place would be thrown out by our coming back, and so on for ever
                self.end(AttemptEnd(f"bye: {reason}", code="replaced" if reason == "replaced" else None, told=True))
            case ErrorNotice() if not self.up:
                code = body.code if body.code in _HOPELESS else None
                self.end(AttemptEnd(f"{body.code}: {body.message}", body.retry_after, code, told=True))
            case _:
                return

    def end(self, end: AttemptEnd) -> None:
        """Ends the attempt, unless it has ended."""
        if not self.over.done():
            self.over.set_result(end)
            self.settled.set()

    async def close(self) -> None:
        """Ends transport and port."""
        await self.transport.close()
        self._port.close()

    def _take_answer(self, text: str) -> None:
        if self.settled.is_set():
            return
        try:
            answer = parse_description(text)
        except SdpError as error:
            self.end(AttemptEnd(f"answer not understood: {error.message}"))
            return
        if self._answered and len(answer.sections) < len(self._sections):
            return  # to an earlier offer, which was sent twice
        self.settled.set()
        self._listener.on_answer(answer)
        if self._answered:
            return
        self._answered = True
        self.transport.start(ufrag=answer.ufrag, pwd=answer.pwd, lite=answer.ice_lite, fingerprints=answer.fingerprints)
        for candidate in answer.candidates:
            self.transport.agent.add_candidate(candidate)
        if answer.end_of_candidates:
            self.transport.agent.add_candidate(None)

    def _on_closed(self, reason: str) -> None:
        """The server's own words on why, if there are any, come by the broker and may take longer than DTLS's."""
        end = AttemptEnd(f"transport closed: {reason}")
        asyncio.get_running_loop().call_later(_LAST_WORDS, self.end, end)

    def _on_connected(self) -> None:
        self.up_since = asyncio.get_running_loop().time()
        self._listener.on_up()
