"""A WebRTC peer whose every signalling message the test writes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sfu.clients.attempt import PeerListener
from sfu.rtc.ice.full import FullAgent
from sfu.rtc.net.port import UdpPort
from sfu.rtc.net.receive import Arrived
from sfu.rtc.sdp.description import Local, OfferSection
from sfu.rtc.sdp.parse import parse_description
from sfu.rtc.sdp.write import write_offer
from sfu.rtc.transport import Transport, TransportState
from sfu.signaling import messages
from sfu.signaling.bodies import Answer, Body, ErrorCode, ErrorNotice, SignalError, Tracks
from sfu.signaling.topics import Leaf
from tests.helpers.mqtt_client import MqttClient
from tests.helpers.peers import HOST, PeerViewer
from tests.helpers.waiting import until


class RawPeer:
    """A peer that sends only the signalling messages of the test; its media is a `PeerCamera` or `PeerViewer`."""

    def __init__(
        self,
        on: MqttClient,
        leaf: str,
        port: UdpPort,
        listener: PeerListener | None = None,
        *,
        sections: Sequence[OfferSection] | None = None,
        session: str | None = "",
        base: str = "sfu",
    ) -> None:
        """`session`: None for a legacy peer, "" for a new session id."""
        self.leaf = Leaf.parse(leaf)
        self.topic = f"{base}/{leaf}"
        self.session = secrets.token_hex(8) if session == "" else session
        self.messages: list[Body] = []
        self.answers: list[str] = []
        self.version = 0
        self.offer = ""
        self._wire = on
        self.port = port
        self._listener = listener or PeerViewer()
        self.sections = list(getattr(self._listener, "sections", ()) if sections is None else sections)
        self._fingerprint = HOST.certificate.fingerprint
        self._sdp_session = secrets.randbits(62)
        make_agent = functools.partial(
            FullAgent,
            port,
            ufrag=secrets.token_hex(4),
            pwd=secrets.token_hex(16),
            announce=HOST.addresses.current,
            controlling=True,
            clock=asyncio.get_running_loop().time,
        )
        self.transport = Transport(make_agent, HOST.certificate, role="client", listener=self, media=self)
        self.closed: list[str] = []
        on.listeners[self.topic] = self._take

    @property
    def up(self) -> bool:
        return self.transport.state is TransportState.CONNECTED

    @property
    def errors(self) -> list[ErrorCode]:
        return [body.code for body in self.messages if isinstance(body, ErrorNotice)]

    def receive(self, packets: Sequence[bytes], now: float, arrived: Arrived) -> None:
        for packet in packets:
            self._listener.on_rtp(packet)

    def on_rtcp(self, data: bytes) -> None:
        self._listener.on_rtcp(data)

    def on_connected(self) -> None:
        """`connect` waits for `up`."""

    def on_route(self) -> None:
        """Batches nothing."""

    def on_moved(self) -> None:
        """Does not mind."""

    def on_closed(self, reason: str) -> None:
        self.closed.append(reason)

    def on_bug(self) -> None:
        raise AssertionError("an exception in a fake peer's media handling")

    def send_rtp(self, packet: bytes) -> None:
        self.transport.send_rtp(packet)

    def send(self, kind: str, data: object, **fields: object) -> None:
        """Publishes one message of our session; `fields` replace or add fields."""
        message = {"command": "signal", "clientid": self.leaf.peer, "type": kind, "data": data}
        if self.session is not None:
            message |= {"v": 2, "session": self.session}
        self._wire.publish(self.topic, json.dumps(message | fields))

    async def make_offer(self, sections: Sequence[OfferSection] | None = None) -> str:
        """Returns a complete offer of `sections`; from the second call on a re-offer."""
        self.sections = list(self.sections if sections is None else sections)
        agent = self.transport.agent
        if not self.version:
            await agent.gather()
        self.version += 1
        local = Local(agent.ufrag, agent.pwd, self._fingerprint, agent.candidates(), agent.lite)
        self.offer = write_offer(self.sections, local, session_id=self._sdp_session, version=self.version)
        return self.offer

    async def connect(self, sections: Sequence[OfferSection] | None = None) -> str:
        """Sends an offer, applies the answer, and returns it once connected."""
        answers = len(self.answers)
        self.send("offer", await self.make_offer(sections))
        await until(lambda: len(self.answers) > answers or self.errors)
        assert not self.errors, self.messages
        answer = parse_description(self.answers[-1])
        self._listener.on_answer(answer)
        self.transport.start(ufrag=answer.ufrag, pwd=answer.pwd, lite=answer.ice_lite, fingerprints=answer.fingerprints)
        for candidate in answer.candidates:
            self.transport.agent.add_candidate(candidate)
        await until(lambda: self.up)
        return self.answers[-1]

    async def close(self) -> None:
        """Leaves without a message on the broker; DTLS sends close_notify if it is up."""
        self._wire.listeners.pop(self.topic, None)
        await self.transport.close()
        self.port.close()

    def _take(self, payload: bytes) -> None:
        with contextlib.suppress(SignalError):
            envelope = messages.parse(payload)
            if envelope is None or envelope.clientid == self.leaf.peer or envelope.session not in (self.session, None):
                return
            self.messages.append(envelope.body)
            if isinstance(envelope.body, Answer):
                self.answers.append(envelope.body.sdp)
            elif isinstance(envelope.body, Tracks):
                self._listener.on_tracks(envelope.body)


@contextlib.asynccontextmanager
async def raw_peer(on: MqttClient, leaf: str, *args: Any, **options: Any) -> AsyncIterator[RawPeer]:
    """Runs a `RawPeer` on a port of its own; closes it at the end without a bye."""
    peer = RawPeer(on, leaf, await UdpPort.open(bind=HOST.addresses.current()), *args, **options)
    try:
        yield peer
    finally:
        await peer.close()
